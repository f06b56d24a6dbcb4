"""`distvae repair`: what may be behind noisy or hidden pixels.

Legend: N pictures, K draws for each, C channels, H height, W width.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.flags import Positional
from distvae.labels import Labels
from distvae.memory import check_memory
from distvae.places import evenly
from distvae.ranges import check_seed
from distvae.terminal import say
from distvae.tools.corruption import Noise, mask_of, noise_of
from distvae.tools.examples import Examples, open_examples
from distvae.tools.noise_level import noise_level as found_level
from distvae.tools.outputs import Outputs
from distvae.tools.repaired import ANSWERS, Asked, Repair, joined, repaired
from distvae.tools.trained import Trained, open_trained
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName, Within

SUMMED = "it is summed over"
OWN = 100
"""Pictures of the run's own data, where nobody says how many."""


@dataclass(frozen=True)
class RepairConfig:
    """Find the pictures behind noisy or hidden pixels: a mean, the likeliest, and several draws.

    The prior's draws are carried to the posterior of the latents given the pixels that are seen, by
    annealed importance resampling with Langevin steps; the answer is the mean over draws of the
    pixels expected behind what is seen. With --noise the pictures are spoilt first and are the
    truth. A label that is not known is summed over. docs/tools.md says how it is done.
    """

    EXAMPLES = (
        "distvae repair --noise gaussian:0.3",
        "distvae repair runs/photos --data noisy-photos",
        "distvae repair --mask left --draws 32",
        "distvae repair runs/photos --data a.png --mask scratches.png --output repaired.png",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    data: DataName | None = None
    """What to repair: a folder, file, table, array file, Hub id, bundled set or picture; left out: the test split of the run."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """Of which split; left out: `test` of the run's own data, `all` of other data."""
    label: LabelNames | None = None
    """What a conditional model is given of every picture; left out: the labels of the data."""
    label_column: Name | None = None
    """Column of the labels, where it is not found."""
    labels: Literal["given", "unknown"] = "given"
    """`unknown` does not tell the model the labels of the data: they are summed over."""
    mask: PathName | None = None
    """What is hidden: a picture whose bright pixels are, or `left`, `right`, `top`, `bottom`, `box`, `scattered`."""
    resize_mask: bool = False
    """Scale a mask of another size to that of the run's pictures."""
    noise: Name | None = None
    """Spoil the pictures first: `gaussian:0.3` (deviation), `salt-pepper:0.2` (share of pixels); pixels reach from 0 to 1."""
    noise_level: Annotated[float, Within(0.0, 10.0)] | None = None
    """Deviation of the noise that is on the pictures already; left out: estimated, or none with --mask."""
    draws: Count = 16
    """Draws of the latents for each picture."""
    judge: bool = False
    """Ask the judges of `distvae evaluate` whether answers have the label of their picture; they are trained where there are none yet."""
    count: Count | None = None
    """Pictures to repair, taken evenly from all; left out: 100 of the run's own data, all of other data."""
    part_rows: Count | None = None
    """Pictures of a part of `answers`; left out: as many as take 64 MB. A command that was killed goes on after the last part."""
    output: PathName | None = None
    """A folder, or a file that ends in .png, .csv or .npz; left out: RUN/repair."""
    seed: int = 0
    """Seed of the noise and the draws."""


def repair(
    model: Any,
    images: Any = None,
    labels: Labels | None = None,
    *,
    mask: Any = None,
    noise: str | None = None,
    noise_level: float | None = None,
    unknown: bool = False,
    draws: int = 16,
    seed: int = 0,
) -> Repair:
    """What may be behind noisy or hidden pixels.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run or a checkpoint.
        images: as :func:`distvae.tools.embed.embed` takes them; None is the run's test split.
        labels: of the images, where they are not in the data: one for all or one for each.
        mask: which pixels are hidden: bool ``[H, W]``, a picture whose bright pixels are, or a
            word such as ``left``.
        noise: to spoil the images with first, such as ``gaussian:0.3``.
        noise_level: deviation of the noise that is on them already, of a range of 1; None
            estimates it, unless there is a mask.
        unknown: do not tell the model the labels of the data.
        draws: K.
        seed: of the noise and the draws.

    Raises:
        DistvaeError: the images or the mask do not fit the model, or cannot be read.
    """
    trained = Trained.of(model)
    data = images if labels is None or images is None else (images, labels)
    examples = open_examples(trained, data, unknown=SUMMED, summed=True, tell=False)
    rows = np.arange(len(examples))
    hidden = _hidden(trained, mask, False)
    asked = _asked(trained, examples, rows, noise, noise_level, hidden, unknown, draws, seed)
    found = [part for _, part in repaired(trained, examples, rows, asked) if part is not None]
    if not found:
        examples.refuse_lost("none is left")
    return joined(found)


def write_repaired(config: RepairConfig) -> None:
    """Repair and write what ``distvae repair`` was asked for.

    Raises:
        DistvaeError: no such run or data, a mask that does not fit, an output that cannot be
            written, or, once all else is done, images that could not be read.
    """
    from distvae.tools.repair_figures import Tally
    from distvae.tools.repair_files import write_answers, write_one, write_summary

    check_seed(config.seed)
    trained = open_trained(config.run)
    outputs = Outputs(trained, "repair", config.output, (".png", ".csv", ".npz"))
    hidden = _hidden(trained, config.mask, config.resize_mask)
    if config.noise is not None:
        noise_of(config.noise)
    examples = open_examples(
        *(trained, config.data, config.split, config.label),
        label_column=config.label_column,
        unknown=SUMMED,
        summed=True,
    )
    count = config.count or (OWN if config.data is None else len(examples))
    rows = evenly(len(examples), count)
    if len(rows) < len(examples):
        say(f"{len(rows):,} of {len(examples):,} {trained.domain.examples}, taken evenly")
    unknown = config.labels == "unknown"
    level = config.noise_level
    asked = _asked(
        *(trained, examples, rows, config.noise, level, hidden, unknown, config.draws, config.seed),
        tell=True,
    )
    tally = Tally(trained, asked, len(rows), config.judge)
    if config.judge and not examples.label_names:
        raise DistvaeError(
            "--judge needs labels of the pictures",
            f"{examples.name} has none",
            "Leave it out, or name their column: --label-column.",
        )
    if outputs.only is None:
        write_answers(trained, examples, rows, asked, outputs, tally, config.part_rows)
    else:
        if outputs.wants(".npz"):
            _check_room(trained, len(rows), config.draws)
        write_one(repaired(trained, examples, rows, asked), outputs, tally)
    if not tally.count:
        examples.refuse_lost("none is left")
    lines = tally.lines()
    write_summary(outputs, tally, lines)
    outputs.tell(*lines)
    examples.refuse_lost()


def _check_room(trained: Trained, count: int, draws: int) -> None:
    check_memory(
        4 * count * (draws + ANSWERS) * math.prod(trained.domain.shape),
        f"{count:,} pictures with {draws} draws each",
        "Take fewer (--count, --draws), or a folder for --output, which is written in parts.",
    )


def _hidden(trained: Trained, mask: Any, resize: bool) -> NDArray[np.bool_] | None:
    """Which pixels are hidden ``[H, W]``."""
    domain = trained.domain
    if not isinstance(domain, Images):
        raise DistvaeError(
            f"{trained.name} is a model of {domain.examples}", "distvae repair is for pictures"
        )
    if mask is None:
        return None
    if isinstance(mask, str | Path):
        return mask_of(str(mask), domain.shape, resize)
    found = np.asarray(mask)
    if found.shape != domain.shape[1:] or found.dtype != np.bool_:
        raise DistvaeError(
            f"the mask is {found.dtype} of shape {found.shape}",
            f"expected bool of shape {domain.shape[1:]}, True where a pixel is hidden",
        )
    return found


def _asked(
    trained: Trained,
    examples: Examples,
    rows: NDArray[np.int64],
    noise: str | None,
    level: float | None,
    hidden: NDArray[np.bool_] | None,
    unknown: bool,
    draws: int,
    seed: int,
    tell: bool = False,
) -> Asked:
    """What is done; where pictures are noisy already, how much is estimated.

    Raises:
        DistvaeError: the noise is asked for twice, or there is none and nothing is hidden.
    """
    if noise is not None:
        if level is not None:
            raise DistvaeError(
                "--noise-level does not go with --noise",
                "--noise spoils the pictures, and its amount is known",
                "Leave one out.",
            )
        return Asked(noise_of(noise), True, hidden, unknown, draws, seed)
    if level is None and hidden is None:
        level = found_level(trained, examples, rows, unknown, seed)
        if tell:
            say(f"noise of deviation {level:.3f} (estimated), of a range of 1")
    known = Noise("gaussian", level, clipped=True) if level else None
    if known is None and hidden is None:
        raise DistvaeError(
            "--noise-level 0 leaves nothing to repair", "expected noise or a mask", "Add --mask."
        )
    return Asked(known, False, hidden, unknown, draws, seed)
