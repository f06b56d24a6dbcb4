"""`distvae traverse`: what each latent changes, one at a time.

Legend: L latents that are shown, Q quantiles, D coordinates, S the axes of an example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from distvae.domains import Images
from distvae.drawings import write_rows
from distvae.errors import DistvaeError
from distvae.flags import Positional
from distvae.images import grid
from distvae.labels import Labels
from distvae.terminal import say
from distvae.tools.gif import save_gif
from distvae.tools.given import rows_of_labels, rows_of_text
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.planes import NATS, Base, Strengths, strengths_of
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.spaces import space_of
from distvae.tools.trained import DECODER, Trained, open_trained
from distvae.values import Count, DataName, FileName, LabelNames, PathName, RunName

USUAL = 10
"""Latents that are shown, those of the greatest rates."""
ENDS = 0.01, 0.99
"""Of the prior, from one to the other."""


@dataclass(frozen=True)
class TraverseConfig:
    """Move one latent at a time through the quantiles of the prior, the others kept where they are.

    Rows are sorted by rate: how many nats of an image the latent carries. It is measured on the
    test split, or on --data. Without any data they are sorted by how much they change an image.
    """

    EXAMPLES = (
        "distvae traverse",
        "distvae traverse runs/mnist-cvae --label 7",
        "distvae traverse runs/photos --image a.png --latent 3,5 --steps 15",
        "distvae traverse runs/mnist-vae/onnx",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or its folder of ONNX files, which needs no PyTorch; left out: the newest run."""
    image: FileName | None = None
    """Where the other latents are kept: at those of this picture; left out: at the middle of the prior."""
    latent: tuple[int, ...] = ()
    """Which latents, by number; left out: those of the greatest rates."""
    count: Count = USUAL
    """How many latents, where none are named."""
    steps: Count = 11
    """Pictures of each latent, from 1 to 99 % of the prior."""
    label: LabelNames | None = None
    """What a conditional model is given; left out: of a picture the label under which its bound is largest, else the first label."""
    data: DataName | None = None
    """What rates are measured on; left out: the test split of the run, where it is at hand."""
    output: PathName | None = None
    """A folder, or a file that ends in .png, .gif, .npz or, of tables, .csv; left out: RUN/traverse."""


@dataclass(frozen=True, eq=False)
class Traversal(Pictured):
    """Examples along some latents."""

    frames: NDArray[Any]
    """``[L, Q, *S]``, as examples are stored."""
    latents: tuple[str, ...]
    """Their names, L."""
    strengths: Strengths
    """Of all D coordinates."""
    quantiles: NDArray[np.float64]
    """Shares of the prior below each step ``[Q]``."""
    values: NDArray[np.float64]
    """Of the coordinates ``[L, Q]``."""
    names: tuple[str, ...]
    """Of all coordinates, D."""
    chosen: NDArray[np.int64]
    """Numbers of the L among the D."""
    space: str
    """In which one coordinate changes at a time."""
    given: str
    """What the model is given, in words."""

    @property
    def all_rates(self) -> NDArray[np.float64]:
        """Nats of an example that each coordinate carries ``[D]``; NaN where no data say it."""
        known, unit = self.strengths.values, self.strengths.unit
        return known if unit == NATS else np.full(len(known), np.nan)

    @property
    def rates(self) -> NDArray[np.float64]:
        """The same of the latents that are shown ``[L]``."""
        return self.all_rates[self.chosen]

    @property
    def examples(self) -> NDArray[Any]:
        """``[L, Q, *S]``."""
        return self.frames

    def sheet(self) -> Sheet:
        """A latent in a row."""
        caption = (
            f"one latent in a row, {self.given}: from {100 * ENDS[0]:g} to {100 * ENDS[1]:g} % of "
            f"the prior; {self.space}"
        )
        images = self.frames.reshape(-1, *self.frames.shape[2:])
        pairs = zip(self.latents, self.chosen.tolist(), strict=True)
        names = [f"z{name}: {self.strengths.of(place)}" for name, place in pairs]
        return Sheet(self.pictures(images), len(self.quantiles), names, caption)


def traverse(
    model: Any,
    image: Any = None,
    label: Labels | None = None,
    *,
    latents: Sequence[int] = (),
    count: int = USUAL,
    steps: int = 11,
    data: Any = None,
) -> Traversal:
    """Examples along one latent at a time, at even quantiles of the prior.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run, a checkpoint or a folder of ONNX files.
        image: where the other latents are kept, as :func:`distvae.tools.embed.embed` takes images;
            None is the middle of the prior.
        label: what a conditional model is given.
        latents: which, by number; empty takes those of the greatest rates.
        count: how many, where none are named.
        steps: examples of each.
        data: what rates are measured on; None is the run's test split, where it is at hand.

    Raises:
        DistvaeError: there is no such latent, or something does not fit the model.
    """
    trained = Trained.of(model, onnx=DECODER)
    values = None if label is None else rows_of_labels(label, trained.attributes)
    return _traversed(trained, image, values, latents, count, steps, data, tell=False)


def write_traversal(config: TraverseConfig) -> None:
    """Draw and write what ``distvae traverse`` was asked for.

    Raises:
        DistvaeError: no such run, image or latent, or an output that cannot be written.
    """
    trained = open_trained(config.run, onnx=DECODER)
    endings = (".png", ".gif") if isinstance(trained.domain, Images) else (".csv",)
    outputs = Outputs(trained, "traverse", config.output, (*endings, ".npz"))
    values = None
    if config.label is not None:
        values = rows_of_text(config.label, trained.attributes)
    found = _traversed(
        *(trained, config.image, values, config.latent, config.count, config.steps, config.data)
    )
    _write(outputs, trained, found)
    measured = found.strengths
    shown = [
        f"z{name} {measured.values[place]:.2f}"
        for name, place in zip(found.latents[:8], found.chosen, strict=False)
    ]
    lines = [f"{measured.unit} of those shown: {', '.join(shown)}"]
    if measured.unit == NATS:
        alive = int((found.all_rates > 0.1).sum())
        lines[:0] = [
            f"{alive} of {len(found.names)} latents carry more than 0.1 nats, "
            f"{found.all_rates.sum():.2f} in all ({measured.told})"
        ]
    outputs.tell(*lines)


def _traversed(
    trained: Trained,
    image: Any,
    given: Any,
    latents: Sequence[int],
    count: int,
    steps: int,
    data: Any,
    tell: bool = True,
) -> Traversal:
    if steps < 2:
        raise DistvaeError(f"--steps is {steps}", "expected at least 2")
    space = space_of(trained)
    wrong = [number for number in latents if not 0 <= number < len(space.names)]
    if wrong:
        raise DistvaeError(
            f"--latent {wrong[0]} is not there", f"this model has 0..{len(space.names) - 1}"
        )
    base = Base.of(trained, space, image, given)
    if tell and given is None and base.known:
        say(f"no --label: the model is given {base.known}")
    measured = strengths_of(trained, space, data, base, tell)
    chosen = np.array([*latents] or measured.order[:count], np.int64)
    shares = np.linspace(*ENDS, steps)
    table = space.quantiles(shares.tolist(), base.given)
    points = base.point.repeat(len(chosen) * steps, 0)
    at = np.repeat(chosen, steps)
    points[np.arange(len(points)), at] = table[np.tile(np.arange(steps), len(chosen)), at]
    frames = space.made(points, base.given).stored
    return Traversal(
        frames.reshape(len(chosen), steps, *frames.shape[1:]),
        tuple(space.names[place] for place in chosen),
        measured,
        shares,
        table[:, chosen].T,
        space.names,
        chosen,
        space.told,
        base.told,
        depth=trained.domain.levels,
    )


def _write(outputs: Outputs, trained: Trained, found: Traversal) -> None:
    if outputs.wants(".npz"):
        _write_npz(outputs, found)
    if outputs.only is None:
        measured = found.strengths
        rows = [(found.names[at], f"{measured.values[at]:.6g}") for at in measured.order]
        write_csv(outputs.path("rates.csv"), ("latent", measured.unit), rows)
    if not isinstance(trained.domain, Images):
        if outputs.wants(".csv"):
            _write_rows(outputs, trained, found)
        return
    if outputs.wants(".png"):
        found.sheet().write(outputs.path("traversal.png"))
    if outputs.wants(".gif"):
        across = max(1, round(len(found.latents) ** 0.5))
        shown = found.pictures(found.frames)
        frames = [grid(shown[:, step], across) for step in range(len(found.quantiles))]
        save_gif(outputs.path("traversal.gif"), frames)


def _write_rows(outputs: Outputs, trained: Trained, found: Traversal) -> None:
    steps = len(found.quantiles)
    rows = found.frames.reshape(-1, *found.frames.shape[2:])
    latents = [name for name in found.latents for _ in range(steps)]
    shares = [f"{share:.4g}" for _ in found.latents for share in found.quantiles]
    header = [*trained.domain.names, "latent", "quantile"]
    write_rows(outputs.path("traversal.csv"), header, [(rows, [latents, shares])])


def _write_npz(outputs: Outputs, found: Traversal) -> None:
    from distvae.files import replacing_file

    arrays: dict[str, Any] = {
        "frames": found.frames,
        "latents": np.array(found.latents),
        found.strengths.unit.replace(" ", "_"): found.strengths.values[found.chosen],
        "quantiles": found.quantiles,
        "values": found.values,
    }
    with replacing_file(outputs.path("traversal.npz")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
