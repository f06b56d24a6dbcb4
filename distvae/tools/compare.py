"""`distvae compare`: runs side by side, and whether their numbers differ on the same images.

Legend: R runs, N test examples.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from distvae.card import OF_THE_MACHINE, measured
from distvae.domains import images_of
from distvae.errors import DistvaeError
from distvae.files import write_text
from distvae.flags import Positional
from distvae.ranges import check_seed
from distvae.runs import find_run
from distvae.terminal import make_console, progress_bar, table
from distvae.text import counted, markdown_table
from distvae.tools.batches import batches
from distvae.tools.comparison import Comparison, as_rows, differences, said, tables
from distvae.tools.examples import open_examples
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.trained import Trained, open_trained
from distvae.values import DataName, PathName, RunName

if TYPE_CHECKING:
    from distvae.models import VAE

FIGURES = ("elbo", "distortion", "rate")
"""Nats per example."""
LOOKED_AT = 10
"""Examples in a row of the sheet."""


@dataclass(frozen=True)
class CompareConfig:
    """Set runs side by side: settings that differ, numbers, and whether these differ.

    The runs are measured on the same test images with one draw of the posterior each. A difference
    to the first run is a mean over images of paired differences, with its standard error; a paired
    t-test with Holm's correction says whether it could be chance. That is the chance of test images:
    how much another training seed changes is not in it.
    """

    EXAMPLES = (
        "distvae compare runs/a runs/b",
        "distvae compare runs/a runs/b runs/c --data photos --output compared",
    )

    runs: Annotated[tuple[RunName, ...], Positional] = ()
    """Two or more run folders; the others are compared with the first."""
    data: DataName | None = None
    """What to measure them on; left out: their test split, which must be the same."""
    output: PathName | None = None
    """A folder, or a file that ends in .md, .csv or .png; left out: compare/ in the first run."""
    seed: int = 0
    """Seed of the posterior draws and of what is generated for the sheet."""


def compare(runs: Sequence[Any], data: Any = None, seed: int = 0) -> Comparison:
    """Settings that differ and paired differences of runs.

    Args:
        runs: names or folders of two or more; the others are compared with the first.
        data: what all are measured on, as for ``distvae embed``; None is their test split.
        seed: of the posterior draws.

    Raises:
        DistvaeError: fewer than two, no such run, or data that does not fit.
    """
    return _compared([open_trained(str(name)) for name in runs], data, seed)


def _compared(found: Sequence[Trained], data: Any, seed: int) -> Comparison:
    names = _short([each.folder for each in found])
    if len(found) < 2:
        raise DistvaeError(
            f"{counted(len(found), 'runs')} cannot be compared",
            "expected two or more",
            "Name their folders: distvae compare runs/a runs/b",
        )
    why = _why_not(found, data)
    nats: dict[str, NDArray[np.float64]] = {}
    if not why:
        each = [_nats(trained, data, seed) for trained in found]
        nats = {name: np.stack([one[name] for one in each]) for name in FIGURES}
    numbers = [measured(each.folder) for each in found]
    known = [name for name in dict.fromkeys(itertools.chain(*numbers)) if "/" not in name]
    return Comparison(
        names,
        _settings(found),
        {name: tuple(one.get(name) for one in numbers) for name in known},
        nats,
        tuple(differences(names, nats)),
        why,
        found[0].domain.examples,
    )


def _short(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names of runs, by as much of their paths as tells them apart."""
    names = [folder.resolve().name for folder in folders]
    return tuple(map(str, folders)) if len(set(names)) < len(names) else tuple(names)


def _why_not(found: Sequence[Trained], data: Any) -> str:
    """Why nats of these runs are no numbers of one thing; empty where they are."""
    shapes = {each.domain.told for each in found}
    if len(shapes) > 1:
        return f"they are models of {' and of '.join(sorted(shapes))}"
    records = [find_run(each.folder).record() for each in found]
    for name in ("likelihood", "binarize"):
        values = dict.fromkeys(str(record.settings.get(name)) for record in records)
        if len(values) > 1:
            return f"their nats are of different things: {name} {' and '.join(values)}"
    tests = {record.data.digests.get("test images") for record in records}
    if data is None and (len(tests) > 1 or None in tests):
        return "their test images are not the same; --data names some for all of them"
    return ""


def _settings(found: Sequence[Trained]) -> dict[str, tuple[Any, ...]]:
    flat = [each.run.settings().to_flat() for each in found if each.run is not None]
    return {
        name: tuple(one[name] for one in flat)
        for name in flat[0]
        if name not in OF_THE_MACHINE and len({repr(one[name]) for one in flat}) > 1
    }


def _nats(trained: Trained, data: Any, seed: int) -> dict[str, NDArray[np.float64]]:
    """Figures of each example by name ``[N]``."""
    import torch

    examples, parts = open_examples(trained, data, tell=False), []
    with progress_bar(f"measuring {trained.folder.name}", len(examples)) as advance:
        for seen in batches(trained, examples, seed, advance=advance):
            with torch.no_grad():
                terms = trained.model.terms(seen.batch)
            pair = -terms.log_likelihood.double(), terms.rate.double().sum(1)
            parts.append(torch.stack(pair).cpu().numpy())
    examples.refuse_lost()
    distortion, rate = np.concatenate(parts, 1)
    return {"elbo": -(distortion + rate), "distortion": distortion, "rate": rate}


def write_comparison(config: CompareConfig) -> None:
    """Compare and write what ``distvae compare`` was asked for.

    Raises:
        DistvaeError: fewer than two runs, one that is not there, or an output that cannot be
            written.
    """
    check_seed(config.seed)
    found = [open_trained(name) for name in config.runs]
    comparison = _compared(found, config.data, config.seed)
    outputs = Outputs(found[0], "compare", config.output, (".md", ".csv", ".png"))
    told = list(tables(comparison))
    console = make_console()
    for title, rows in told:
        console.print(table(title, rows, header=True))
    if outputs.wants(".md"):
        parts = (f"## {title}\n\n{markdown_table(rows[0], rows[1:])}" for title, rows in told)
        text = "\n".join(parts)
        write_text(outputs.path("compare.md"), f"# {' and '.join(comparison.runs)}\n\n{text}")
    if outputs.wants(".csv"):
        write_csv(outputs.path("compare.csv"), *as_rows(comparison))
    if outputs.wants(".png") and not comparison.why_not and "pictures" in _traits(found[0]):
        _write_sheet(outputs.path("compare.png"), found, comparison.runs, config)
    outputs.tell(*said(comparison))


def _traits(trained: Trained) -> Sequence[str]:
    return trained.domain.part.traits


def _write_sheet(
    path: Path, found: Sequence[Trained], names: Sequence[str], config: CompareConfig
) -> None:
    """The first test images, then of each run what it makes of them and what it draws."""
    from distvae.images import save_grid

    examples = open_examples(found[0], config.data, tell=False)
    part = next(iter(examples.parts(LOOKED_AT, 0)))
    rows, told = [part.stored], ["test images"]
    for trained, name in zip(found, names, strict=True):
        rows += [_decoded(trained, config), _drawn(trained.model, len(part.stored), config.seed)]
        told += [f"{name}: decoded", f"{name}: drawn"]
    caption = "the first test images, and of each run what it makes of them and draws"
    save_grid(
        path,
        images_of(found[0].domain).pictures(np.concatenate(rows)),
        len(part.stored),
        told,
        caption,
    )


def _decoded(trained: Trained, config: CompareConfig) -> NDArray[Any]:
    import torch

    examples = open_examples(trained, config.data, tell=False)
    seen = next(iter(batches(trained, examples, config.seed, size=LOOKED_AT)))
    model = trained.model
    with torch.no_grad():
        values = model.render(model.means(seen.expected, seen.context), seen.context)
    return model.domain.to_stored(values).cpu().numpy()


def _drawn(model: "VAE", count: int, seed: int) -> NDArray[Any]:
    return model.domain.to_stored(model.sample(n=count, seed=seed)).cpu().numpy()
