"""`distvae decode` of volumes: from latents at every place, or from volumes that are encoded first.

Legend: Z channels, S the sides of the latents, D depth, H height, W width, F voxels of a place.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.arrays import read_arrays
from distvae.attribute_values import Values
from distvae.data.sources.volume_files import is_volume
from distvae.domains.volume_files import TIFF
from distvae.domains.volumes import Volumes
from distvae.terminal import progress_bar, say
from distvae.text import counted
from distvae.tools.encodable import AFFINE, SIDES, of_volumes
from distvae.tools.given import given_or_first, row_of
from distvae.tools.large import Large, large_of
from distvae.tools.latent_maps import files_of, is_latents, read_maps, scaling, shape_of
from distvae.tools.trained import Trained
from distvae.tools.whole_volumes import Frame, files_of_volumes, written
from distvae.tools.wholes import open_wholes

Floats = NDArray[np.float32]
AXES = 3


class Encoded(NamedTuple):
    """The latents of a volume, read when they are asked for."""

    name: str
    latents: Callable[[], Floats]
    """``[Z, *S]``."""
    given: Values | None
    """What the model is given of it ``[1, A]``."""
    frame: Frame


def write_decoded_volumes(
    trained: Trained,
    data: str | None,
    label: str | None,
    scaled: bool,
    sizes: tuple[int | None, int | None],
    output: str | None,
    own: str,
) -> None:
    """Decode and write what ``distvae decode`` was asked for.

    Args:
        trained: a model of volumes.
        data: latents or volumes; None: the latents in the run.
        label: what all volumes are given, or each.
        scaled: whether latents are as a diffusion model has them.
        sizes: of tiles and of their overlap, in voxels.
        output: a folder, or a file for one volume; None is RUN/decode.
        own: the folder in the run that ``distvae latents`` writes.

    Raises:
        DistvaeError: no such latents or volumes, or an output that cannot be written.
    """
    large = large_of(trained, *sizes, "distvae decode")
    path = trained.folder / own if data is None else Path(data).expanduser()
    if data is not None and not _holds_latents(path):
        found = [*_of_volumes(trained, data, label, large)]
    else:
        found = [*_of_latents(trained, path, label, scaled, trained.folder / own, large)]
    if large.decoding.told:
        say(large.decoding.told)
    target = trained.folder / "decode" if output is None else Path(output)
    names = [one.name for one in found]
    with files_of_volumes(target, names) as paths:
        for one, place in zip(found, paths, strict=True):
            _write_one(large, trained.domain, one, place)
    say(f"{counted(len(found), 'volumes')} decoded")
    say(f"written to {target}")


def _write_one(large: Large, domain: object, one: Encoded, path: Path) -> None:
    assert isinstance(domain, Volumes)
    latents = one.latents()
    with progress_bar(
        f"decoding {one.name}", large.tiles(large.decoding, latents.shape[1:])
    ) as advance:
        strips = large.decode(latents, one.given, advance)
        for _ in written(domain, one.frame, path, strips):
            pass


def _holds_latents(path: Path) -> bool:
    """Whether latents lie there; an array of three axes, or of whole numbers, is a volume."""
    if path.is_dir():
        return any(is_latents(file) for file in path.glob("part-*"))
    if path.suffix == ".npy" and path.is_file():
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return bool(array.dtype.kind == "f" and array.ndim > AXES)
    return is_latents(path) and not is_volume(path) and path.suffix.lower() not in TIFF


def _of_volumes(trained: Trained, data: str, label: str | None, large: Large) -> Iterator[Encoded]:
    """Volumes, which are encoded when it is their turn."""
    wholes = open_wholes(trained, data, label=label)
    if large.encoding.told:
        say(f"encoding: {large.encoding.told}")
    for row in range(len(wholes)):

        def encoded(row: int = row) -> Floats:
            one = next(of_volumes(wholes, large, row))
            mean: Floats = one.encode(large)[0][0]
            return mean

        yield Encoded(wholes.name(row), encoded, wholes.given(row), Frame.of(wholes.volume(row)))


def _of_latents(
    trained: Trained, path: Path, label: str | None, scaled: bool, own: Path, large: Large
) -> Iterator[Encoded]:
    """Latents in files, with what `distvae latents` wrote of their volumes where it did."""
    files = files_of(path)
    factor, shift = scaling(path, own) if scaled else (1.0, 0.0)
    shapes = [shape_of(file, large.channels, AXES) for file in files]
    count = sum(shape[0] for shape in shapes)
    given = given_or_first(label, trained.attributes, "volumes")
    number = 0
    for file, (rows, _, *sides) in zip(files, shapes, strict=True):
        frame = _frame(file, [side * large.factor for side in sides], trained.domain)
        for row in range(rows):

            def read(file: Path = file, row: int = row) -> Floats:
                maps = read_maps(file, large.channels, AXES)[row]
                found: Floats = maps / np.float32(factor) + np.float32(shift)
                return found

            yield Encoded(f"{number:05d}", read, row_of(given, number, count), frame)
            number += 1


def _frame(file: Path, sides: list[int], domain: object) -> Frame:
    """The sides and the place of a volume, as they lie beside its latents."""
    assert isinstance(domain, Volumes)
    affine = None
    if file.suffix == ".safetensors":
        arrays = read_arrays(file)
        sides = arrays[SIDES].tolist() if SIDES in arrays else sides
        affine = arrays.get(AFFINE)
    return Frame(tuple(sides), domain.spacing, affine)
