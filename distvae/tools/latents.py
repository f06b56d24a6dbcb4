"""`distvae latents`: latents at every place of images, for whoever trains a diffusion model on them.

Legend: N images, Z channels, H height and W width of the latents.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.arrays import write_arrays
from distvae.data.identity import combined
from distvae.domains import Images
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.files import write_json
from distvae.flags import Positional
from distvae.ranges import check_seed, refuse_odd_sides
from distvae.terminal import progress_bar, say
from distvae.text import counted
from distvae.tools.examples import Examples, open_examples
from distvae.tools.large import Large, large_of
from distvae.tools.latent_maps import FACTS, NAME
from distvae.tools.moments import Moments
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.parts import Parts
from distvae.tools.trained import LATENT_ENCODER, Trained, open_trained, weights_of
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName, Within

TOOL, ENDING = "latents", ".safetensors"
PIXELS = 2**20
"""Of the images that are encoded together."""
LARGEST_HALF = float(np.finfo(np.float16).max)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class LatentsConfig:
    """Write the latents of images as a diffusion model is trained on them.

    The folder gets parts of safetensors (`latents` [N, Z, H, W], `labels`, `rows`), index.csv with
    what each row is, and latents.json with the factor that makes their deviation 1 and the mean and
    deviation of each channel. A command that was killed goes on after the last part.
    """

    EXAMPLES = (
        "distvae latents runs/photos --data photos --image-size 512",
        "distvae latents --precision fp16 --draw",
        "distvae latents runs/photos/onnx --data photos",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or an ONNX file, which needs no PyTorch; left out: the newest run."""
    data: DataName | None = None
    """What to encode: a folder, file, table, array file, Hub id, bundled set or picture; left out: the training split of the run."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """Of which split; left out: `train` of the run's own data, `all` of other data."""
    image_size: Annotated[int, Within(1, 2**16)] | None = None
    """Side in pixels to which images of --data are scaled and cut; left out: that of the run."""
    label: LabelNames | None = None
    """What a conditional model is given of every image; left out: the labels of the data."""
    label_column: Name | None = None
    """Column of the labels, where it is not found."""
    draw: bool = False
    """Write a draw of each posterior in place of its mean."""
    variances: bool = False
    """Write `log_variance` beside the latents, so that a trainer can draw anew in every epoch."""
    precision: Literal["fp32", "fp16"] = "fp32"
    """Of the numbers in the files."""
    tile: Count | None = None
    """Longest side of a tile, in pixels; left out: 512, or more where the network sees further."""
    overlap: Count | None = None
    """By how many pixels tiles overlap; left out: as many as make the latents those of the whole."""
    part_images: Count = 2_000
    """Images of a part."""
    output: PathName | None = None
    """A folder; left out: RUN/latents."""
    seed: int = 0
    """Of --draw, and of the noise that finds unknown labels."""


def write_latents(config: LatentsConfig) -> None:
    """Encode and write what ``distvae latents`` was asked for.

    Raises:
        DistvaeError: no such run or data, a model of other latents, or, once all else is done,
            images that could not be read.
    """
    check_seed(config.seed)
    trained = _sized(open_trained(config.run, LATENT_ENCODER), config)
    outputs = Outputs(trained, TOOL, config.output, ())
    large = _large(trained, config)
    split = config.split or ("train" if config.data is None else None)
    examples = open_examples(
        trained, config.data, split, config.label, label_column=config.label_column
    )
    _refuse_unknown_labels(examples, trained)
    folder = outputs.path("part-*.safetensors").parent
    facts = _what(trained, config)
    key = combined([weights_of(trained), examples.identity, len(examples), *facts.values()])
    parts = Parts(folder, ENDING, key)
    examples.pieces[0].lost.extend(parts.lost)
    start = parts.next
    if start:
        say(f"going on after {start:,} of {len(examples):,} images")
    with progress_bar("encoding", len(examples)) as advance, parts.telling_how_to_go_on():
        advance(start)
        for arrays, stop in _parts(trained, large, examples, config, start, advance):
            parts.write(functools.partial(write_arrays, arrays=arrays), stop, examples.lost)
    parts.finish()
    examples.refuse_none()
    rows, moments = _gathered(parts.paths)
    _write_index(outputs.path("index.csv"), examples, rows)
    found = moments.facts()
    write_json(outputs.path(FACTS), {**found, **facts, "images": len(rows)})
    sides = " x ".join(map(str, moments.shape))
    outputs.tell(
        f"{counted(len(rows), 'images')}, latents of {sides} each; "
        f"scaling_factor {found['scaling_factor']:.5g}"
    )
    examples.refuse_lost()


def _sized(trained: Trained, config: LatentsConfig) -> Trained:
    """The model as of images of the side that was asked for."""
    if config.image_size is None or not isinstance(trained.domain, Images):
        return trained
    shape = (trained.domain.shape[0], config.image_size, config.image_size)
    if shape == trained.domain.shape:
        return trained
    if config.data is None:
        raise DistvaeError(
            f"--image-size {config.image_size} is for images that are read anew",
            f"those of the run are kept at {trained.domain.shape[1]} x {trained.domain.shape[2]}",
            "Name the data by --data.",
        )
    built = trained.model if trained.onnx is None else None
    domain = dataclasses.replace(trained.domain, shape=shape)
    return dataclasses.replace(trained, domain=domain, built=built)


def _large(trained: Trained, config: LatentsConfig) -> Large:
    """The model, whose factor must divide the sides of the images.

    Raises:
        DistvaeError: it does not, or the model is of other latents.
    """
    large = large_of(trained, config.tile, config.overlap, "distvae latents")
    _, height, width = trained.domain.shape
    refuse_odd_sides((height, width), large.factor)
    sides = height // large.factor, width // large.factor
    if large.tiles(large.encoding, sides) > 1 and large.encoding.told:
        say(large.encoding.told)
    return large


def _refuse_unknown_labels(examples: Examples, trained: Trained) -> None:
    """Labels are found by the bound, which is known of images of the run's sides alone."""
    if trained.onnx is not None:  # which refuse all that are not known
        return
    given = examples.given()
    same = examples.domain.shape == trained.model.domain.shape
    if given is None or same or not np.isnan(given).any():
        return
    raise DistvaeError(
        "some images have no label that the model knows",
        "it can be found for images of the run's sides alone",
        "Name it: --label, or leave --image-size out.",
    )


def _what(trained: Trained, config: LatentsConfig) -> dict[str, Any]:
    """What the numbers are."""
    return {
        "image_size": list(trained.domain.shape[1:]),
        "draw": config.draw,
        "variances": config.variances,
        "precision": config.precision,
        "tile": config.tile,
        "overlap": config.overlap,
        "seed": config.seed,
        "part_images": config.part_images,
    }


def _parts(
    trained: Trained,
    large: Large,
    examples: Examples,
    config: LatentsConfig,
    start: int,
    advance: Any,
) -> Iterator[tuple[Arrays, int]]:
    """The arrays of each part, and the number of the image after them."""
    pixels = examples.domain.shape[1] * examples.domain.shape[2]
    size = max(1, min(PIXELS // pixels, config.part_images))
    collected: list[Arrays] = []
    begin = stop = start
    for part in large.maps.parts(examples, config.seed, size, start, advance):
        mean, log_variance = large.encode(part.stored, part.given)
        latents = mean
        if config.draw:
            noise = _noise(config.seed, part.rows, mean.shape)
            latents = mean + np.exp(np.float32(0.5) * log_variance) * noise
        arrays = {
            NAME: _narrowed(latents, config.precision),
            "rows": part.rows,
            "moments": Moments.of(mean, log_variance).sums,
        }
        if config.variances:
            arrays["log_variance"] = _narrowed(log_variance, config.precision)
        if examples.label_names:
            arrays["labels"] = examples.labels[part.rows]
        collected.append(arrays)
        stop = part.asked.stop
        if stop - begin >= config.part_images:
            yield _joined(collected), stop
            begin, collected = stop, []
    if collected:
        yield _joined(collected), len(examples)


def _narrowed(values: NDArray[np.float32], precision: str) -> NDArray[Any]:
    """Numbers as they are stored.

    Raises:
        DistvaeError: one is too large for half floats.
    """
    if precision == "fp32":
        return values
    most = float(np.abs(values).max())
    if not most <= LARGEST_HALF:
        raise DistvaeError(
            f"a number of the latents is as large as {most:.3g}",
            f"--precision fp16 holds numbers up to {LARGEST_HALF:g}",
            "Take --precision fp32.",
        )
    return values.astype(np.float16)


def _noise(seed: int, rows: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Of each image by its number."""
    size = math.prod(shape[1:])
    each = [standard_normal(seed, int(row), 1, size) for row in rows]
    return np.concatenate(each).reshape(shape)


def _joined(parts: list[Arrays]) -> Arrays:
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    whole["moments"] = np.stack([part["moments"] for part in parts]).sum(0)
    return whole


def _gathered(paths: list[Path]) -> tuple[NDArray[np.int64], Moments]:
    """Rows and moments of all parts, read from them; the latents stay where they are."""
    from safetensors import safe_open

    rows, moments, shape = [], [], (0, 0, 0)
    for path in paths:
        with safe_open(str(path), framework="np") as file:
            rows.append(file.get_tensor("rows"))
            moments.append(file.get_tensor("moments"))
            _, *shape = file.get_slice(NAME).get_shape()
    return np.concatenate(rows), Moments(np.sum(moments, 0), tuple(shape))


def _write_index(path: Path, examples: Examples, rows: NDArray[np.int64]) -> None:
    """What each row of the parts is, in their order."""
    splits, labels = examples.splits, examples.label_names
    names = [*labels, ""]
    header = ["row", "id", "split", *(["label"] if labels else [])]
    each = zip(rows, examples.names(rows), strict=True)
    write_csv(
        path,
        header,
        (
            [row, name, splits[row], *([names[examples.labels[row]]] if labels else [])]
            for row, name in each
        ),
    )
