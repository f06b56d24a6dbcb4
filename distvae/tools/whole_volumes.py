"""Whole volumes through a model of patches, which are blended where they overlap.

Legend: A attributes of the model, D depth, H height, W width, P voxels a side of a patch.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.data.sources.scans import Leveled
from distvae.domains.volume_files import TIFF, is_nifti, volume_writer
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.files import new_folder
from distvae.terminal import progress_bar, say
from distvae.tools.encoding import labels_of
from distvae.tools.tiling import Floats, count_of, in_tiles
from distvae.tools.trained import DECODER, ENCODER, Trained
from distvae.tools.wholes import Wholes, open_wholes

Decode = Callable[[NDArray[Any], Values | None], NDArray[Any]]
"""Levels ``[1, 1, P, P, P]`` and what the model is given ``[1, A]`` to what it makes of them, in
levels, perhaps between them."""
Strips = Iterator[tuple[int, NDArray[Any]]]
"""First slice, and levels ``[1, d, H, W]``, perhaps between them."""
FILES = ".nii.gz, .nii, .tif or .npy"


class Frame(NamedTuple):
    """What a file of a volume says beside its voxels."""

    sides: tuple[int, ...]
    """``D, H, W``."""
    spacing: tuple[float, float, float]
    """Millimetres along these."""
    affine: NDArray[np.float64] | None
    """From voxels (W, H, D) to millimetres."""

    @classmethod
    def of(cls, volume: Leveled) -> "Frame":
        """That of a volume."""
        return cls(volume.shape[1:], volume.scan.spacing, volume.scan.affine)


def blended(
    volume: Leveled, patch: int, decode: Callable[[NDArray[Any]], NDArray[Any]], advance: Any
) -> Strips:
    """What a model makes of a volume, patch by patch, each overlapping by half.

    Args:
        volume: of which no more than the patches of a strip are held.
        patch: P.
        decode: levels ``[1, 1, P, P, P]`` to others.
        advance: told of each patch.
    """

    def compute(parts: tuple[slice, ...]) -> Floats:
        return np.asarray(decode(volume[(slice(None), *parts)][None])[0], np.float32)

    return in_tiles(compute, volume.shape[1:], patch, patch - patch // 2, 1, False, advance)


def write_whole(
    trained: Trained,
    data: str | None,
    split: str | None,
    label: str | None,
    label_column: str | None,
    output: str | None,
) -> None:
    """Reconstruct every volume of a file or folder and write it as its file was.

    Args:
        trained: a model of volumes.
        data: the file or folder; None: the data of the run.
        split: of these; None: the test split of the run's own, all of others.
        label: what the volumes are given; None: what the data say.
        label_column: that of a table beside them.
        output: a folder, or a file for one volume; None is RUN/reconstruct.

    Raises:
        DistvaeError: there are none, they do not fit the model, the output is there, or something
            is not known of them that the model needs.
    """
    target = trained.folder / "reconstruct" if output is None else Path(output)
    wholes = open_wholes(trained, data, split, label, label_column)
    decode = _decoder(trained)
    names = [wholes.name(row) for row in range(len(wholes))]
    with files_of_volumes(target, names) as paths:
        for row, path in enumerate(paths):
            say(_write_one(trained, decode, wholes, row, path))
    say(f"written to {target}")


@contextlib.contextmanager
def files_of_volumes(target: Path, names: Sequence[str]) -> Iterator[list[Path]]:
    """Where volumes go: to one file, or into a folder, with the format of the files of each.

    Raises:
        DistvaeError: there are several for one file, or the output is there.
    """
    if target.suffix:
        if not is_volume_file(target):
            raise DistvaeError(
                f"--output {target} has an unknown ending", f"expected {FILES}, or a folder"
            )
        if len(names) != 1:
            raise DistvaeError(
                f"--output {target} is one volume", f"there are {len(names):,}", "Name a folder."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        yield [target]
        return
    with new_folder(target) as folder:
        yield [folder / _file_name(row, name) for row, name in enumerate(names)]


def is_volume_file(path: Path) -> bool:
    """Whether a volume is written to files that are called so."""
    return is_nifti(path) or path.suffix.lower() in (*TIFF, ".npy")


def _file_name(row: int, name: str) -> str:
    """Of a volume: as it was where that is written, else ``.nii.gz``."""
    first = Path(name.split(",")[0])
    if not first.suffix:
        return f"{first.name}.nii.gz"
    ending = first.suffix.lower() if first.suffix.lower() in (*TIFF, ".npy") else ".nii.gz"
    return f"{row:03d}-{first.name.split('.')[0]}{ending}"


def written(domain: Volumes, frame: Frame, path: Path, strips: Strips) -> Iterator[NDArray[Any]]:
    """Write levels as a file, strip by strip ``[1, d, H, W]``, each of which is given back.

    Slices beyond the volume's own sides are left out.
    """
    (depth, height, width), levels = frame.sides, domain.levels
    kind = np.dtype(domain.kind)
    with volume_writer(path, frame.sides, kind, frame.spacing, frame.affine) as add:
        for top, strip in strips:
            inside = strip[:, : max(0, depth - top), :height, :width].clip(0, levels - 1)
            add(domain.grid.values(inside[0]))
            yield inside


def _write_one(trained: Trained, decode: Decode, wholes: Wholes, row: int, path: Path) -> str:
    domain, volume, name = trained.domain, wholes.volume(row), wholes.name(row)
    assert isinstance(domain, Volumes)
    patch, given = domain.shape[1], wholes.given(row)
    squared, top = 0.0, 0
    count = count_of(volume.shape[1:], patch, patch - patch // 2)
    with progress_bar(f"reconstructing {name}", count) as advance:
        strips = blended(volume, patch, lambda levels: decode(levels, given), advance)
        for strip in written(domain, Frame.of(volume), path, strips):
            original = volume[:, top : top + strip.shape[1]]
            squared += float(np.square(strip.astype(np.float64) - original).sum())
            top += strip.shape[1]
    told = math.inf
    if squared:
        told = 10.0 * math.log10((domain.levels - 1) ** 2 * volume.size / squared)
    return f"{name}: PSNR {told:.2f} dB over the whole volume"


def _decoder(trained: Trained) -> Decode:
    """By weights, or by exported files without torch."""
    if trained.onnx is not None:
        from distvae.export.encoder import Encoder
        from distvae.export.sampler import Sampler

        encoder, decoder = Encoder(trained.file(ENCODER)), Sampler(trained.file(DECODER))

        def by_files(levels: NDArray[Any], given: Values | None) -> NDArray[Any]:
            labels = labels_of(trained, given)
            return decoder.decode(encoder.noise(levels, labels), labels)

        return by_files
    import torch

    from distvae.tools.batches import context_of

    model, white = trained.model, float((trained.domain.levels or 2) - 1)

    def by_weights(levels: NDArray[Any], given: Values | None) -> NDArray[Any]:
        with torch.no_grad():
            inputs = model.domain.to_expected_input(torch.from_numpy(levels).to(model.device))
            context = context_of(model, given, len(levels))
            mean = model.render(model.means(inputs, context), context)
        return mean.cpu().numpy() * white

    return by_weights
