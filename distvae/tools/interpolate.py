"""`distvae interpolate`: a path between images, through what the model learned.

Legend: N stops, D coordinates, T frames of a part, S the axes of an example, A attributes.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from distvae.data.encoded import pictures
from distvae.data.sources.refused import ending
from distvae.domains import Images
from distvae.drawings import write_rows
from distvae.errors import DistvaeError
from distvae.flags import Positional
from distvae.images import grid
from distvae.labels import Labels
from distvae.ranges import check_seed
from distvae.terminal import say
from distvae.text import counted
from distvae.tools.examples import Examples, open_examples
from distvae.tools.gif import save_gif
from distvae.tools.given import rows_of_text, words_of
from distvae.tools.outputs import Outputs
from distvae.tools.paths import Interpolation, drawn_stops, encoded_stops, through
from distvae.tools.spaces import space_of
from distvae.tools.trained import DECODER, Trained, open_trained
from distvae.values import Count, FileName, LabelNames, PathName, RunName


@dataclass(frozen=True)
class InterpolateConfig:
    """Draw a path between images, or between draws of the model.

    The path is even in the space in which the prior is: a line, or an arc that keeps as far from
    its middle as its ends are. Where the labels of both ends differ, the first holds until half
    way.
    """

    EXAMPLES = (
        "distvae interpolate runs/mnist-cvae a.png b.png c.png --label 7",
        "distvae interpolate runs/mnist-cvae --label 3,8",
        "distvae interpolate runs/photos --seeds 0,1,2 --path linear",
        "distvae interpolate runs/photos/onnx a.png b.png",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or its folder of ONNX files, which needs no PyTorch; left out: the newest run."""
    images: Annotated[tuple[FileName, ...], Positional] = ()
    """Pictures, two or more; or one folder, table or array file of so many examples."""
    label: LabelNames | None = None
    """What a conditional model is given: one for all, or one for each stop; left out: of images the label under which the bound is largest, of draws the first."""
    seeds: tuple[int, ...] = ()
    """Between draws of the prior with these seeds in place of images; one for all labels, or one for each."""
    steps: Count = 10
    """Pictures of each part of the path, both ends among them."""
    path: Literal["spherical", "linear"] = "spherical"
    """An arc or a line, in the space in which the prior is even."""
    output: PathName | None = None
    """A folder, or a file that ends in .png, .gif, .npz or, of tables, .csv; left out: RUN/interpolate."""
    seed: int = 0
    """Seed of the noise that finds unknown labels."""


def interpolate(
    model: Any,
    images: Any = None,
    labels: Labels | None = None,
    *,
    seeds: Sequence[int] = (),
    steps: int = 10,
    path: Literal["spherical", "linear"] = "spherical",
) -> Interpolation:
    """A path through images, or through draws of the prior.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run, a checkpoint or a folder of ONNX files.
        images: two or more, as :func:`distvae.tools.embed.embed` takes them; None for draws.
        labels: of the stops: one for all or one for each.
        seeds: of the draws: one for all labels or one for each.
        steps: frames of each part.
        path: an arc or a line.

    Raises:
        DistvaeError: there are not at least two stops, or they do not fit the model.
    """
    trained = Trained.of(model, onnx=DECODER)
    space = space_of(trained)
    if images is None:
        stops = drawn_stops(trained, space, labels, seeds)
    else:
        data = images if labels is None else (images, labels)
        stops = encoded_stops(space, open_examples(trained, data, tell=False), 0)
    return through(trained, space, stops, steps, path)


def write_interpolation(config: InterpolateConfig) -> None:
    """Draw and write what ``distvae interpolate`` was asked for.

    Raises:
        DistvaeError: no such run or image, fewer than two stops, or an output that cannot be
            written.
    """
    check_seed(config.seed)
    config = _with_images(config)
    if config.steps < 2:
        raise DistvaeError(f"--steps is {config.steps}", "expected at least 2, the two ends")
    trained = open_trained(config.run, onnx=DECODER)
    endings = (".png", ".gif") if isinstance(trained.domain, Images) else (".csv",)
    outputs = Outputs(trained, "interpolate", config.output, (*endings, ".npz"))
    space = space_of(trained)
    if config.images:
        stops = encoded_stops(space, _examples(trained, config), config.seed)
    else:
        labels = None if config.label is None else rows_of_text(config.label, trained.attributes)
        stops = drawn_stops(trained, space, labels, config.seeds)
        if labels is None and trained.conditional:
            assert stops.given is not None
            say(f"no --label: all are given {words_of(stops.given[:1], trained.attributes)}")
    found = through(trained, space, stops, config.steps, config.path)
    _write(outputs, trained, found)
    parts = len(found.frames)
    if len(set(found.labels)) > 1:
        say(f"the label changes half way between two stops: {', '.join(found.labels)}")
    outputs.tell(
        f"{counted(parts, 'parts')} of {config.steps} steps, {config.path}, in {found.space}",
        found.smoothness.line,
    )


def _with_images(config: InterpolateConfig) -> InterpolateConfig:
    """Where RUN was left out, what stands in its place is the first image."""
    if config.run is not None and ending(config.run) in pictures():
        images = (config.run, *config.images)
        return dataclasses.replace(config, run=None, images=images)
    return config


def _examples(trained: Trained, config: InterpolateConfig) -> Examples:
    """The images of a command line."""
    plain = all(ending(name) in pictures() for name in config.images)
    if not plain and len(config.images) > 1:
        wrong = next(name for name in config.images if ending(name) not in pictures())
        raise DistvaeError(
            f"{wrong} is no picture", "expected pictures, or one folder, table or array file"
        )
    data = list(config.images) if plain else config.images[0]
    return open_examples(trained, data, label=config.label)


def _write(outputs: Outputs, trained: Trained, found: Interpolation) -> None:
    if outputs.wants(".npz"):
        _write_npz(outputs, found)
    if not isinstance(trained.domain, Images):
        if outputs.wants(".csv"):
            _write_rows(outputs, trained, found)
        return
    if outputs.wants(".png"):
        found.sheet().write(outputs.path("interpolation.png"))
    if outputs.wants(".gif"):
        whole = np.concatenate([*found.fine[:, :-1], found.fine[-1][-1:]])
        save_gif(
            outputs.path("interpolation.gif"),
            [grid(found.pictures(frame[None]), 1) for frame in whole],
        )


def _write_rows(outputs: Outputs, trained: Trained, found: Interpolation) -> None:
    rows = found.frames.reshape(-1, *found.frames.shape[2:])
    parts, steps = found.frames.shape[:2]
    part = [name for name in found.parts for _ in range(steps)]
    times = [f"{step / (steps - 1):.4g}" for _ in range(parts) for step in range(steps)]
    header = [*trained.domain.names, "part", "time"]
    write_rows(outputs.path("interpolation.csv"), header, [(rows, [part, times])])


def _write_npz(outputs: Outputs, found: Interpolation) -> None:
    from distvae.files import replacing_file

    arrays: dict[str, Any] = {"frames": found.frames, "names": np.array(found.names)}
    if found.stops is not None:
        arrays["stops"] = found.stops
    with (
        replacing_file(outputs.path("interpolation.npz")) as temporary,
        temporary.open("wb") as file,
    ):
        np.savez_compressed(file, **arrays)
