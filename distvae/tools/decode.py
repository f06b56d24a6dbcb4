"""`distvae decode`: images and volumes of any size from latents, in tiles.

Legend: N images, C channels of an image, Z of the latents, H height, W width, A attributes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.domains import Images
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.files import replacing_file
from distvae.flags import Positional
from distvae.images import save_png
from distvae.labels import Labels
from distvae.memory import check_memory
from distvae.terminal import progress_bar, say
from distvae.text import counted
from distvae.tools.decoded_volumes import write_decoded_volumes
from distvae.tools.given import given_or_first, row_of, rows_of_labels
from distvae.tools.large import Large, large_of
from distvae.tools.latent_maps import files_of, is_latents, read_maps, scaling, shape_of
from distvae.tools.outputs import Outputs
from distvae.tools.trained import LATENT_DECODER, Trained, open_trained
from distvae.values import Count, LabelNames, PathName, RunName

Floats = NDArray[np.float32]
LATENTS = "latents"
"""The folder of a run in which `distvae latents` writes."""


@dataclass(frozen=True)
class DecodeConfig:
    """Make images of latents that lie at every place of them, of any size.

    A large image is made in tiles, so that memory does not grow with it. Where tiles overlap by as
    much as the network sees, the result is that of the whole; less is blended, and told. Volumes
    are written with the type of numbers and the spacing of their files.
    """

    EXAMPLES = (
        "distvae decode runs/photos",
        "distvae decode runs/photos --data large.jpg --tile 1024",
        "distvae decode runs/photos/onnx --data large.jpg",
        "distvae decode runs/photos --data latents.npy --tile 256 --overlap 32 --output a.png",
        "distvae decode runs/scans --data scan.nii.gz --output again.nii.gz",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or an ONNX file, which needs no PyTorch; left out: the newest run."""
    data: PathName | None = None
    """Latents in a .npy, .npz or .safetensors file or a folder of `distvae latents`, `[N, Z, H, W]`, of volumes `[N, Z, D, H, W]`; or a picture or volume, which is encoded first. Left out: RUN/latents."""
    label: LabelNames | None = None
    """What a conditional model is given, for all images or for each; left out: the first label."""
    scaled: bool = False
    """The latents are as a diffusion model has them: shifted and scaled by what latents.json beside them says, or that of the run."""
    tile: Count | None = None
    """Longest side of a tile, in pixels; left out: 512, of volumes 128, or more where the network sees further."""
    overlap: Count | None = None
    """By how many pixels tiles overlap; left out: as many as make the result that of the whole, or a quarter of a tile where attention sees all."""
    output: PathName | None = None
    """A folder, or a file that ends in .png or .npy, of a volume in .nii.gz, .nii, .tif or .npy; left out: RUN/decode."""


def decode(
    model: Any,
    latents: NDArray[Any],
    labels: Labels | None = None,
    *,
    tile: int | None = None,
    overlap: int | None = None,
) -> NDArray[Any]:
    """Images of latents of any size.

    Args:
        model: a :class:`distvae.VAE` of spatial latents, or the name of a run, or of a folder of
            exported files, which need no torch.
        latents: floating point ``[N, Z, *S]``, S height and width, of volumes after a depth.
        labels: of a conditional model, one for all or one for each.
        tile: longest side of a tile, in pixels; None: 512, or more where the network sees further.
        overlap: of tiles, in pixels; None: as many as make the result that of the whole.

    Returns:
        Levels ``[N, C, *F * S]``, of images uint8, F the factor of the model.

    Raises:
        DistvaeError: the model has other latents, or something does not fit it.
    """
    trained = Trained.of(model, LATENT_DECODER)
    large = large_of(trained, tile, overlap, "decode")
    maps, axes = np.asarray(latents), len(large.domain.shape) + 1
    fits = maps.ndim == axes and maps.shape[1] == large.channels and 0 not in maps.shape[2:]
    if not fits or maps.dtype.kind != "f":
        raise DistvaeError(
            f"latents are {maps.dtype} of the shape {list(maps.shape)}",
            f"expected floating point numbers [N, {large.channels}, {'D, ' * (axes - 4)}H, W]",
        )
    given = rows_of_labels(labels, trained.attributes)
    sides = (large.factor * side for side in maps.shape[2:])
    images = np.empty((len(maps), large.domain.shape[0], *sides), large.domain.dtype)
    for number, one in enumerate(maps):
        row = row_of(given, number, len(maps))
        large.image(one.astype(np.float32), row, images[number])
    return images


def write_decoded(config: DecodeConfig) -> None:
    """Decode and write what ``distvae decode`` was asked for.

    Raises:
        DistvaeError: no such run or latents, or an output that cannot be written.
    """
    trained = open_trained(config.run, LATENT_DECODER)
    if isinstance(trained.domain, Volumes):
        sizes = config.tile, config.overlap
        asked = config.data, config.label, config.scaled, sizes, config.output
        return write_decoded_volumes(trained, *asked, LATENTS)
    outputs = Outputs(trained, "decode", config.output, (".png", ".npy"))
    given = given_or_first(config.label, trained.attributes, "images")
    large = large_of(trained, config.tile, config.overlap, "distvae decode")
    source = _source(config, trained, large, given)
    ending = "" if outputs.only is None else outputs.only.suffix
    if ending == ".png" and source.count != 1:
        raise DistvaeError(
            f"--output {outputs.only} is one picture",
            f"there are latents of {source.count:,}",
            "Name a folder, or a file that ends in .npy.",
        )
    if source.largest(large) > 1 and large.decoding.told:
        say(large.decoding.told)
    images = _images(source, large, given)
    if ending == ".npy":
        _write_array(outputs.path(""), images, source, large)
    else:
        for number, image in enumerate(images):
            save_png(outputs.path(f"{number:05d}.png"), image)
        if source.count > 1:
            outputs.written[:] = [outputs.folder / "*.png"]
    outputs.tell(f"{counted(source.count, 'images')} decoded")


@dataclass(frozen=True)
class _Source:
    """Latents of some images, read when they are asked for."""

    shapes: list[tuple[int, ...]]
    """``[N, Z, H, W]`` of each file."""
    read: Callable[[int], Floats]
    """Of a file by its number."""
    sides: tuple[int, int] | None = None
    """Height and width to which an image is cut; None: it is whole."""

    @property
    def count(self) -> int:
        return sum(shape[0] for shape in self.shapes)

    def largest(self, large: Large) -> int:
        """The most tiles that an image has."""
        return max(large.tiles(large.decoding, shape[2:]) for shape in self.shapes)

    def tiles(self, large: Large) -> int:
        """Those of all."""
        return sum(shape[0] * large.tiles(large.decoding, shape[2:]) for shape in self.shapes)


def _source(config: DecodeConfig, trained: Trained, large: Large, given: Values | None) -> _Source:
    data = trained.folder / LATENTS if config.data is None else Path(config.data)
    if config.data is not None and not is_latents(data):
        return _of_picture(data, large, row_of(given, 0, 1))
    files = files_of(data)
    own = trained.folder / LATENTS
    factor, shift = scaling(data, own) if config.scaled else (1.0, 0.0)

    def read(number: int) -> Floats:
        return read_maps(files[number], large.channels) / np.float32(factor) + np.float32(shift)

    return _Source([shape_of(file, large.channels) for file in files], read)


def _of_picture(path: Path, large: Large, given: Values | None) -> _Source:
    """Latents of a picture; where its sides are no multiples its last pixels are repeated."""
    assert isinstance(large.domain, Images)
    pixels = read_picture(path, large.domain)
    _, height, width = pixels.shape
    more = [(0, 0), *((0, -side % large.factor) for side in (height, width))]
    if any(after for _, after in more):
        say(f"{path}: the last row or column is repeated up to a multiple of {large.factor}")
        pixels = np.pad(pixels, more, "edge")
    sides = pixels.shape[1] // large.factor, pixels.shape[2] // large.factor
    tiles = large.tiles(large.encoding, sides)
    if tiles > 1 and large.encoding.told:
        say(f"encoding: {large.encoding.told}")
    with progress_bar("encoding", tiles) as advance:
        mean, _ = large.encode(pixels[None], given, advance)
    return _Source([mean.shape], lambda _: mean, (height, width))


def read_picture(path: Path, domain: Images) -> NDArray[Any]:
    """A picture at its own size, in the levels of a model ``[C, H, W]``; what changed is said.

    Raises:
        DistvaeError: there is none, or it cannot be read.
    """
    from distvae.config import DataConfig
    from distvae.data.encoded import decode_image
    from distvae.data.pixels import Reading
    from distvae.data.pixels import read_picture as read
    from distvae.data.seen import NOTHING, Seen, count_channels
    from distvae.tools.pieces import colours_told

    encoded, channels = {"bytes": None, "path": str(path)}, domain.shape[0]
    try:
        image = decode_image(encoded)
    except OSError as error:
        raise DistvaeError(
            f"{path} cannot be read", f"{error}", "Name a picture, or a file of latents."
        ) from error
    seen = Seen.of(image, NOTHING)
    reading = Reading.of(seen, DataConfig(channels=1 if channels == 1 else 3), domain.levels)
    found = read(lambda _, size: image, encoded, str(path), reading, settled=True)
    told = *reading.notes(), *colours_told({count_channels(image)}, channels)
    for note in (*found.remarks, *told):
        say(f"{path}: {note}")
    return np.array(found.pixels)


def _images(source: _Source, large: Large, given: Values | None) -> Iterator[NDArray[Any]]:
    """One after the other."""
    factor, channels, number = large.factor, large.domain.shape[0], 0
    with progress_bar("decoding", source.tiles(large)) as advance:
        for file, (_, _, height, width) in enumerate(source.shapes):
            shape = channels, factor * height, factor * width
            check_memory(math.prod(shape), f"an image of {shape[1]} x {shape[2]}")
            for one in source.read(file):
                image = np.empty(shape, large.domain.dtype)
                large.image(one, row_of(given, number, source.count), image, advance)
                high, wide = source.sides or shape[1:]
                yield image[:, :high, :wide]
                number += 1


def _write_array(path: Path, images: Iterator[NDArray[Any]], source: _Source, large: Large) -> None:
    """All images as one array, which is never in memory as a whole."""
    sides = {shape[2:] for shape in source.shapes}
    if len(sides) != 1:
        told = ", ".join(f"{height} x {width}" for height, width in sorted(sides))
        raise DistvaeError(
            f"--output {path} is one array", f"the latents have the sides {told}", "Name a folder."
        )
    ((height, width),) = sides
    high, wide = source.sides or (large.factor * height, large.factor * width)
    shape = source.count, large.domain.shape[0], high, wide
    with replacing_file(path) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", np.dtype(large.domain.dtype), shape)
        for number, image in enumerate(images):
            array[number] = image
        array.flush()
        del array
