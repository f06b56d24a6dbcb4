"""Whole volumes through a model of patches, which are blended where they overlap.

Legend: B patches, D depth, H height, W width, P voxels a side of a patch.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.patches import corners
from distvae.data.sources.raw import Notes
from distvae.data.sources.scans import Scan
from distvae.data.sources.volume_files import scans_in
from distvae.data.sources.volumes import ALIKE
from distvae.domains.volume_files import is_nifti, write_volume
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.files import new_folder
from distvae.terminal import progress_bar, say
from distvae.tools.trained import DECODER, ENCODER, Trained

TOGETHER = 16
"""Patches that are decoded together."""
Decode = Callable[[NDArray[Any]], NDArray[Any]]
"""Levels ``[B, 1, D, H, W]`` to what the model makes of them, in levels, perhaps between them."""


def window(sides: Sequence[int]) -> NDArray[np.float64]:
    """Weights of a patch ``[D, H, W]``: 1 in the middle, falling to every face, nowhere 0."""
    axes = [np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)) for side in sides]
    ramps = [axis / axis.max() for axis in axes]
    weights: NDArray[np.float64] = np.einsum("i,j,k->ijk", *ramps)
    return weights


def blended(
    levels: NDArray[Any], patch: int, decode: Decode, advance: Callable[[int], None]
) -> NDArray[np.float64]:
    """What a model makes of a volume ``[D, H, W]``, patch by patch, each overlapping by half."""
    places = corners(levels.shape, patch, max(1, patch // 2))
    total, weights = np.zeros(levels.shape), np.zeros(levels.shape)
    weight = window((patch, patch, patch))
    for start in range(0, len(places), TOGETHER):
        cuts = [
            tuple(slice(at, at + patch) for at in corner)
            for corner in places[start : start + TOGETHER]
        ]
        found = decode(np.stack([levels[cut] for cut in cuts])[:, None])
        for cut, one in zip(cuts, found[:, 0], strict=True):
            total[cut] += weight * one
            weights[cut] += weight
        advance(len(cuts))
    result: NDArray[np.float64] = total / weights
    return result


def write_whole(trained: Trained, data: str, output: str | None) -> None:
    """Reconstruct every volume of a file or folder and write it as its file was.

    Args:
        trained: a model of volumes.
        data: the file or folder.
        output: a folder, or a file for one volume; None is RUN/reconstruct.

    Raises:
        DistvaeError: there are none, they do not fit the model, the output is there, or the model
            is conditional.
    """
    domain, path = trained.domain, Path(data).expanduser()
    assert isinstance(domain, Volumes)
    if trained.conditional:
        raise DistvaeError(
            f"{trained.name} is conditional, and whole volumes are reconstructed without labels",
            "expected a model that is given none",
            "Train one by --model vae.",
        )
    if not path.exists():
        raise DistvaeError(f"there are no volumes {data}", "expected a file or folder")
    notes: Notes = []
    scans = scans_in(path, notes)
    for note in notes:
        say(f"data: {note}")
    target = trained.folder / "reconstruct" if output is None else Path(output)
    one_file = is_nifti(target) or target.suffix == ".npy"
    if not scans or (one_file and len(scans) > 1):
        raise DistvaeError(
            f"{data} holds {len(scans)} volumes", "expected one for one file, and some for a folder"
        )
    decode = _decoder(trained)
    if one_file:
        target.parent.mkdir(parents=True, exist_ok=True)
        say(_write_one(domain, decode, scans[0].read(), scans[0].name, target))
        return
    with new_folder(target) as folder:
        for number, one in enumerate(scans):
            scan, stem = one.read(), one.path.name.split(".")[0]
            name = f"{number:03d}-{stem}{'.npy' if one.path.suffix == '.npy' else '.nii.gz'}"
            say(_write_one(domain, decode, scan, one.name, folder / name))
    say(f"written to {target}")


def _write_one(domain: Volumes, decode: Decode, scan: Scan, name: str, path: Path) -> str:
    patch, shape = domain.shape[1], scan.values.shape
    apart = [abs(a - b) > ALIKE * b for a, b in zip(scan.spacing, domain.spacing, strict=True)]
    if any(apart) or min(shape) < patch:
        spacing = " x ".join(f"{each:.3g}" for each in scan.spacing)
        own = " x ".join(f"{each:.3g}" for each in domain.spacing)
        raise DistvaeError(
            f"{name} is {' x '.join(map(str, shape))} voxels of {spacing} mm",
            f"the model takes voxels of {own} mm, and at least {patch} a side",
            "Resample it.",
        )
    levels = domain.grid.levels(scan.values, domain.levels)
    count = len(corners(shape, patch, max(1, patch // 2)))
    with progress_bar(f"reconstructing {name}", count) as advance:
        found = blended(levels, patch, decode, advance)
    write_volume(path, domain.grid.values(found), domain.grid, scan.affine)
    squared = float(np.square(found - levels).mean())
    told = 10.0 * math.log10((domain.levels - 1) ** 2 / squared) if squared else math.inf
    return f"{name}: PSNR {told:.2f} dB over the whole volume"


def _decoder(trained: Trained) -> Decode:
    """By weights, or by exported files without torch."""
    if trained.onnx is not None:
        from distvae.export.encoder import Encoder
        from distvae.export.sampler import Sampler

        encoder, decoder = Encoder(trained.file(ENCODER)), Sampler(trained.file(DECODER))
        return lambda levels: decoder.decode(encoder.noise(levels))
    import torch

    model, white = trained.model, float((trained.domain.levels or 2) - 1)

    def decode(levels: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            inputs = model.domain.to_expected_input(torch.from_numpy(levels).to(model.device))
            mean = model.render(model.means(inputs))
        return mean.cpu().numpy() * white

    return decode
