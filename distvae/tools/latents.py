"""`distvae latents`: latents at every place of images or volumes, for who trains a diffusion model.

Legend: N images, Z channels, H height and W width of the latents, of volumes after a depth.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from distvae.arrays import write_arrays
from distvae.data.identity import combined
from distvae.domains import Images
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.files import write_json
from distvae.flags import Positional
from distvae.ranges import check_seed, refuse_odd_sides
from distvae.terminal import progress_bar, say
from distvae.text import counted
from distvae.tools.encodable import Encodable, of_images, of_volumes
from distvae.tools.examples import Examples, open_examples
from distvae.tools.large import Large, large_of
from distvae.tools.latent_maps import FACTS, NAME
from distvae.tools.latent_parts import Arrays, gathered, joined, narrowed, noise, write_index
from distvae.tools.moments import Moments
from distvae.tools.outputs import Outputs
from distvae.tools.parts import Parts
from distvae.tools.trained import LATENT_ENCODER, Trained, open_trained, weights_of
from distvae.tools.wholes import Wholes, open_wholes
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName, Within

TOOL, ENDING = "latents", ".safetensors"
PIXELS = 2**20
"""Of the images that are encoded together."""


@dataclass(frozen=True)
class LatentsConfig:
    """Write the latents of images as a diffusion model is trained on them.

    The folder gets parts of safetensors (`latents` [N, Z, H, W], `labels`, `rows`), index.csv with
    what each row is, and latents.json with the factor that makes their deviation 1 and the mean and
    deviation of each channel. A command that was killed goes on after the last part.

    Volumes are encoded whole, each into a part of its own: `latents` [1, Z, D, H, W], with its
    `sides` in voxels and the `affine` of its file, so that distvae decode writes it back.
    """

    EXAMPLES = (
        "distvae latents runs/photos --data photos --image-size 512",
        "distvae latents --precision fp16 --draw",
        "distvae latents runs/photos/onnx --data photos",
        "distvae latents runs/scans --data scan.nii.gz",
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
    """Longest side of a tile, in pixels; left out: 512, of volumes 128, or more where the network sees further."""
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
    wholes, examples = _opened(trained, config)
    folder = outputs.path("part-*.safetensors").parent
    facts = _what(trained, config)
    key = combined([weights_of(trained), examples.identity, len(examples), *facts.values()])
    parts = Parts(folder, ENDING, key)
    examples.pieces[0].lost.extend(parts.lost)
    start = parts.next
    if start:
        say(f"going on after {start:,} of {counted(len(examples), large.whole)}")
    with parts.telling_how_to_go_on():
        for arrays, stop in _parts(large, wholes, examples, config, start):
            parts.write(functools.partial(write_arrays, arrays=arrays), stop, examples.lost)
    parts.finish()
    examples.refuse_none()
    rows, moments = gathered(parts.paths)
    write_index(outputs.path("index.csv"), examples, rows)
    found = moments.facts()
    write_json(outputs.path(FACTS), {**found, **facts, large.whole: len(rows)})
    sides = " x ".join(map(str, moments.shape)) or "different sides"
    each = f"{sides} each" if len(rows) > 1 else sides
    outputs.tell(
        f"{counted(len(rows), large.whole)}, latents of {each}; "
        f"scaling_factor {found['scaling_factor']:.5g}"
    )
    examples.refuse_lost()


def _opened(trained: Trained, config: LatentsConfig) -> tuple[Wholes | None, Examples]:
    """What is encoded, and its volumes where it is some."""
    split = config.split or ("train" if config.data is None else None)
    if isinstance(trained.domain, Volumes):
        wholes = open_wholes(trained, config.data, split, config.label, config.label_column)
        return wholes, wholes.examples
    examples = open_examples(
        trained, config.data, split, config.label, label_column=config.label_column
    )
    _refuse_unknown_labels(examples, trained)
    return None, examples


def _sized(trained: Trained, config: LatentsConfig) -> Trained:
    """The model as of images of the side that was asked for."""
    if config.image_size is None:
        return trained
    if not isinstance(trained.domain, Images):
        raise DistvaeError(
            f"--image-size {config.image_size} does not fit {trained.domain.told}",
            "it is for images; volumes are encoded at their own size",
            "Leave it out.",
        )
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
    if isinstance(trained.domain, Volumes):
        several = True  # as a rule: how large each is shows when it is read
    else:
        _, *pixels = trained.domain.shape
        refuse_odd_sides(pixels, large.factor)
        several = large.tiles(large.encoding, [side // large.factor for side in pixels]) > 1
    if several and large.encoding.told:
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
    domain = trained.domain
    of: dict[str, Any] = {"image_size": list(domain.shape[1:])}
    if isinstance(domain, Volumes):
        of = {"spacing": list(domain.spacing)}
    return {
        **of,
        "draw": config.draw,
        "variances": config.variances,
        "precision": config.precision,
        "tile": config.tile,
        "overlap": config.overlap,
        "seed": config.seed,
        "part_images": config.part_images,
    }


def _parts(
    large: Large,
    wholes: Wholes | None,
    examples: Examples,
    config: LatentsConfig,
    start: int,
) -> Iterator[tuple[Arrays, int]]:
    """The arrays of each part, and the number of the image after them; a volume is a part."""
    if wholes is not None:
        for one in of_volumes(wholes, large, start):
            yield _arrays(one, large, examples, config) | one.beside, one.stop
        return
    pixels = math.prod(examples.domain.shape[1:])
    size = max(1, min(PIXELS // pixels, config.part_images))
    collected: list[Arrays] = []
    begin = start
    with progress_bar("encoding", len(examples)) as advance:
        advance(start)
        for one in of_images(examples, large, config.seed, size, start, advance):
            collected.append(_arrays(one, large, examples, config))
            if one.stop - begin >= config.part_images:
                yield joined(collected), one.stop
                begin, collected = one.stop, []
        if collected:
            yield joined(collected), len(examples)


def _arrays(one: Encodable, large: Large, examples: Examples, config: LatentsConfig) -> Arrays:
    """What is written of some examples."""
    mean, log_variance = one.encode(large)
    latents = mean
    if config.draw:
        drawn = noise(config.seed, one.rows, mean.shape)
        latents = mean + np.exp(np.float32(0.5) * log_variance) * drawn
    arrays = {
        NAME: narrowed(latents, config.precision),
        "rows": one.rows,
        "moments": Moments.of(mean, log_variance).sums,
    }
    if config.variances:
        arrays["log_variance"] = narrowed(log_variance, config.precision)
    if examples.label_names:
        arrays["labels"] = examples.labels[one.rows]
    return arrays
