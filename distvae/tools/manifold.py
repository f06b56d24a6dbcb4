"""`distvae manifold`: what a model draws over a plane of its latents.

Legend: n pictures a side, D coordinates, S the axes of an example, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.attributes import main_label
from distvae.domains import Images
from distvae.drawings import write_rows
from distvae.errors import DistvaeError
from distvae.flags import Positional
from distvae.labels import Labels
from distvae.terminal import progress_bar, say
from distvae.text import file_name
from distvae.tools.given import rows_of_labels, rows_of_text
from distvae.tools.outputs import Outputs
from distvae.tools.planes import Base, plane_of, strengths_of
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.spaces import space_of
from distvae.tools.trained import DECODER, Trained, open_trained
from distvae.values import Count, DataName, LabelNames, PathName, RunName

MOST_LABELS = 20
"""Of which sheets are drawn where no label is named."""
ENDS = 0.02, 0.98
"""Of the prior, from one edge of the plane to the other."""


@dataclass(frozen=True)
class ManifoldConfig:
    """Draw what the model makes of a plane of its latents, as a sheet of pictures.

    Both axes go through the quantiles of the prior. A conditional model has a sheet for each label.
    """

    EXAMPLES = (
        "distvae manifold runs/mnist-tutorial",
        "distvae manifold runs/mnist-cvae --label 7 --plane principal",
        "distvae manifold runs/photos --latent 3,5 --size 12",
        "distvae manifold runs/mnist-vae/onnx",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or its folder of ONNX files, which needs no PyTorch; left out: the newest run."""
    plane: Literal["latents", "principal"] = "latents"
    """That of the two latents of the greatest rates, or that of the two principal directions of the means of examples, in the space in which the prior is even."""
    latent: tuple[int, ...] = ()
    """The two latents, by number, in place of those of the greatest rates."""
    size: Count = 20
    """Pictures a side."""
    label: LabelNames | None = None
    """What a conditional model is given, one or several; left out: every label, a sheet each."""
    data: DataName | None = None
    """What rates and directions are measured on; left out: the test split of the run, where it is at hand."""
    output: PathName | None = None
    """A folder, or, of one label, a file that ends in .png, .npz or, of tables, .csv; left out: RUN/manifold."""


@dataclass(frozen=True, eq=False)
class Manifold(Pictured):
    """Examples over a plane."""

    frames: NDArray[Any]
    """``[n, n, *S]``, as examples are stored: the first axis of the plane from left to right, the
    second from below to above."""
    quantiles: NDArray[np.float64]
    """Shares of the prior below each step of an axis ``[n]``."""
    axes: NDArray[np.float64]
    """Directions of both axes in the space in which the prior is even ``[2, D]``."""
    told: tuple[str, str]
    """What both axes are."""
    given: str
    """What the model is given, in words; empty of one that is given nothing."""
    space: str

    @property
    def examples(self) -> NDArray[Any]:
        """``[n, n, *S]``."""
        return self.frames

    def sheet(self) -> Sheet:
        """The plane, the second axis upwards."""
        images = self.frames[::-1].reshape(-1, *self.frames.shape[2:])
        given = f"{self.given}; " if self.given else ""
        low, high = (f"{100 * end:g}" for end in ENDS)
        caption = (
            f"{given}to the right {self.told[0]}, up {self.told[1]}, from {low} to {high} % of "
            f"the prior; {self.space}"
        )
        return Sheet(self.pictures(images), len(self.quantiles), caption=caption)


def manifold(
    model: Any,
    label: Labels | None = None,
    *,
    size: int = 20,
    plane: Literal["latents", "principal"] = "latents",
    latents: Sequence[int] = (),
    data: Any = None,
) -> Manifold:
    """Examples over a plane of latents, at even quantiles of the prior.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run, a checkpoint or a folder of ONNX files.
        label: what a conditional model is given; None takes the first.
        size: examples a side.
        plane: of two latents, or of two principal directions of posterior means.
        latents: the two latents; empty takes those of the greatest rates.
        data: what rates and directions are measured on; None is the run's test split, where it is
            at hand.

    Raises:
        DistvaeError: there are no two such latents, or something does not fit the model.
    """
    trained = Trained.of(model, onnx=DECODER)
    rows = rows_of_labels(label, trained.attributes)
    (found,) = _drawn(trained, rows, size, plane, latents, data, tell=False)
    return found


def write_manifold(config: ManifoldConfig) -> None:
    """Draw and write what ``distvae manifold`` was asked for.

    Raises:
        DistvaeError: no such run or latent, or an output that cannot be written.
    """
    trained = open_trained(config.run, onnx=DECODER)
    pictures = isinstance(trained.domain, Images)
    endings = (".png" if pictures else ".csv", ".npz")
    outputs = Outputs(trained, "manifold", config.output, endings)
    rows = _rows(trained, config.label)
    if rows is not None and len(rows) > 1 and outputs.only is not None:
        raise DistvaeError(
            f"--output {outputs.only} is one file for {len(rows)} labels",
            "expected a folder",
            "Name one label by --label.",
        )
    found = _drawn(trained, rows, config.size, config.plane, config.latent, config.data)
    for each in found:
        known = each.given.replace(", ", "-").replace(" ", "-")
        name = f"manifold-{file_name(known)}" if known else "manifold"
        if outputs.wants(".npz"):
            _write_npz(outputs, f"{name}.npz", each)
        if pictures and outputs.wants(".png"):
            each.sheet().write(outputs.path(f"{name}.png"))
        if not pictures and outputs.wants(".csv"):
            _write_rows(outputs, f"{name}.csv", trained, each)
    first = found[0]
    outputs.tell(
        f"{config.size} x {config.size} {trained.domain.examples} from {100 * ENDS[0]:g} to "
        f"{100 * ENDS[1]:g} % of the prior; to the right {first.told[0]}, up {first.told[1]}"
    )


def _rows(trained: Trained, label: str | None) -> Values | None:
    """What sheets are drawn of ``[L, A]``; None of a model that is given nothing."""
    if label is not None:
        return rows_of_text(label, trained.attributes)
    usual = rows_of_labels(None, trained.attributes)
    main = main_label(trained.attributes)
    if usual is None or main is None:
        return usual
    names = trained.attributes[main].labels
    if len(names) > MOST_LABELS:
        say(f"sheets of the first {MOST_LABELS} of {len(names)} labels; --label names others")
    rows = np.repeat(usual, min(len(names), MOST_LABELS), 0)
    rows[:, main] = np.arange(len(rows))
    return rows


def _drawn(
    trained: Trained,
    rows: Values | None,
    size: int,
    plane: str,
    latents: Sequence[int],
    data: Any,
    tell: bool = True,
) -> list[Manifold]:
    """A plane for each row of what the model is given."""
    if size < 2:
        raise DistvaeError(f"--size is {size}", "expected at least 2")
    space = space_of(trained)
    if len(space.names) < 2:
        raise DistvaeError("this model has one latent", "a plane takes two", "Take traverse.")
    _check_latents(latents, len(space.names), plane)
    each = [None] if rows is None else [rows[row : row + 1] for row in range(len(rows))]
    bases = [Base.of(trained, space, None, given) for given in each]
    measured = strengths_of(trained, space, data, bases[0], tell)
    axes, told = plane_of(measured, space, plane, latents)
    shares = np.linspace(*ENDS, size)
    result = []
    with progress_bar("drawing", len(bases)) as advance:
        for base in bases:
            frames = space.made(space.over(axes, shares, base.given), base.given).stored
            whole = frames.reshape(size, size, *frames.shape[1:])
            told_of = (axes, told, base.known, space.told)
            result.append(Manifold(whole, shares, *told_of, depth=trained.domain.levels))
            advance(1)
    return result


def _check_latents(latents: Sequence[int], dim: int, plane: str) -> None:
    wrong = [number for number in latents if not 0 <= number < dim]
    if wrong:
        raise DistvaeError(f"--latent {wrong[0]} is not there", f"this model has 0..{dim - 1}")
    if latents and (len(latents) != 2 or latents[0] == latents[1] or plane != "latents"):
        listed = ",".join(map(str, latents))
        raise DistvaeError(f"--latent {listed}", "expected two, of --plane latents")


def _write_rows(outputs: Outputs, name: str, trained: Trained, found: Manifold) -> None:
    size = len(found.quantiles)
    rows = found.frames.reshape(-1, *found.frames.shape[2:])
    across = [f"{share:.4g}" for _ in range(size) for share in found.quantiles]
    up = [f"{share:.4g}" for share in found.quantiles for _ in range(size)]
    header = [*trained.domain.names, "quantile to the right", "quantile up"]
    write_rows(outputs.path(name), header, [(rows, [across, up])])


def _write_npz(outputs: Outputs, name: str, found: Manifold) -> None:
    from distvae.files import replacing_file

    with replacing_file(outputs.path(name)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, frames=found.frames, quantiles=found.quantiles, axes=found.axes)
