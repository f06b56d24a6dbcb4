"""`distvae resample`: what each level of the latents decides, drawn anew one level at a time.

Legend: L levels, K draws, D coordinates, S the axes of an example.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.domains import Images
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.flags import Positional
from distvae.labels import Labels
from distvae.tools.given import rows_of_labels, rows_of_text
from distvae.tools.outputs import Outputs
from distvae.tools.planes import Base
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.space import Space
from distvae.tools.spaces import space_of
from distvae.tools.trained import DECODER, Trained, open_trained
from distvae.values import Count, FileName, LabelNames, PathName, RunName


@dataclass(frozen=True)
class ResampleConfig:
    """Draw one level of the latents anew, the others kept: a row of pictures for each level.

    The first picture of a row is the one that is changed. A level is kept by its noise, so that
    what lies below a level follows it.
    """

    EXAMPLES = (
        "distvae resample runs/mnist-ladder",
        "distvae resample runs/mnist-ladder --label 7 --count 16",
        "distvae resample runs/photos --image a.png --output levels.png",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or its folder of ONNX files, which needs no PyTorch; left out: the newest run."""
    image: FileName | None = None
    """What is changed; left out: a draw of --seed."""
    count: Count = 10
    """Draws of each level."""
    label: LabelNames | None = None
    """What a conditional model is given; left out: of a picture the label under which its bound is largest, else the first label."""
    seed: int = 0
    """Of the draws."""
    output: PathName | None = None
    """A folder, or a file that ends in .png or .npz; left out: RUN/resample."""


@dataclass(frozen=True, eq=False)
class Resampled(Pictured):
    """Examples of which one level was drawn anew."""

    frames: NDArray[Any]
    """``[L, 1 + K, *S]``, as examples are stored: first what is changed, then the draws."""
    levels: tuple[str, ...]
    """Their names, L, the one nearest to the noise first."""
    changes: NDArray[np.float64]
    """By how much the draws of a level differ from what is changed: root mean square ``[L]``."""
    given: str
    """What the model is given, in words."""

    @property
    def examples(self) -> NDArray[Any]:
        """``[L, 1 + K, *S]``."""
        return self.frames

    def sheet(self) -> Sheet:
        """A level in a row."""
        names = [
            f"{name}: {change:.1f} grey levels"
            for name, change in zip(self.levels, self.changes, strict=True)
        ]
        caption = f"one level drawn anew in a row, {self.given}; on the left what is changed"
        images = self.frames.reshape(-1, *self.frames.shape[2:])
        return Sheet(self.pictures(images), self.frames.shape[1], names, caption)


def resample(
    model: Any,
    image: Any = None,
    label: Labels | None = None,
    *,
    count: int = 10,
    seed: int = 0,
) -> Resampled:
    """Examples of which one level of the latents is drawn anew from its prior, the others kept.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run, a checkpoint or a folder of ONNX files.
        image: what is changed, as :func:`distvae.tools.embed.embed` takes images; None is a draw.
        label: what a conditional model is given.
        count: draws of each level.
        seed: of the draws.

    Raises:
        DistvaeError: the latents have one level, or something does not fit the model.
    """
    trained = Trained.of(model, onnx=DECODER)
    values = None if label is None else rows_of_labels(label, trained.attributes)
    return _resampled(trained, image, values, count, seed)


def write_resampled(config: ResampleConfig) -> None:
    """Draw and write what ``distvae resample`` was asked for.

    Raises:
        DistvaeError: no such run or image, latents of one level, or an output that cannot be
            written.
    """
    trained = open_trained(config.run, onnx=DECODER)
    pictures = isinstance(trained.domain, Images)
    outputs = Outputs(
        trained, "resample", config.output, (".png", ".npz") if pictures else (".npz",)
    )
    values = None
    if config.label is not None:
        values = rows_of_text(config.label, trained.attributes)
    found = _resampled(trained, config.image, values, config.count, config.seed)
    if pictures and outputs.wants(".png"):
        found.sheet().write(outputs.path("levels.png"))
    if outputs.wants(".npz"):
        _write_npz(outputs, found)
    told = ", ".join(
        f"{name} {change:.1f}" for name, change in zip(found.levels, found.changes, strict=True)
    )
    outputs.tell(f"how much a level changes what is drawn, root mean square: {told}")


def _resampled(
    trained: Trained, image: Any, given: Values | None, count: int, seed: int
) -> Resampled:
    space = space_of(trained)
    levels = levels_of(space)
    base = Base.of(trained, space, image, given)
    if image is None:
        noise = standard_normal(seed, 0, 1, space.noise_dim)
        base = replace(
            base, point=space.of_noise(noise, base.given), where=f"draw 0 of seed {seed}"
        )
    fresh = space.of_noise(standard_normal(seed, 1, count, space.noise_dim), base.given)
    rows = [base.point]
    for places in levels.values():
        changed = base.point.repeat(count, 0)
        changed[:, places] = fresh[:, places]
        rows.append(changed)
    stored = space.made(np.concatenate(rows), base.given).stored
    kept, drawn = stored[:1], stored[1:].reshape(len(levels), count, *stored.shape[1:])
    frames = np.concatenate([np.broadcast_to(kept, (len(levels), *kept.shape)), drawn], 1)
    off = drawn.astype(np.float64) - kept
    changes = np.sqrt(np.square(off).reshape(len(levels), -1).mean(1))
    return Resampled(frames, tuple(levels), changes, base.told, depth=trained.domain.levels)


def levels_of(space: Space) -> dict[str, NDArray[np.int64]]:
    """Coordinates of each level by its name.

    Raises:
        DistvaeError: there is one level, or coordinates that belong to none.
    """
    names = [name.rpartition(".")[0] for name in space.names]
    first = next(filter(None, names), "")  # what its prior chooses by has no name of a level
    each = np.array([name or first for name in names])
    found = {name: np.flatnonzero(each == name) for name in dict.fromkeys(each.tolist())}
    if len(found) < 2:
        raise DistvaeError(
            "this model has one level of latents",
            "one level at a time is drawn anew where there are several",
            "Take traverse, or a model of --latents ladder.",
        )
    return found


def _write_npz(outputs: Outputs, found: Resampled) -> None:
    from distvae.files import replacing_file

    with replacing_file(outputs.path("levels.npz")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, frames=found.frames, levels=np.array(found.levels), changes=found.changes
        )
