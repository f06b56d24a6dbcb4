"""Denoises a brain by a model that saw another one, beside non-local means.

    python tests/benchmarks/volumes.py prepare brains
    python tests/benchmarks/volumes.py train brains --percent 10  # and any flag of distvae train
    python tests/benchmarks/volumes.py denoise brains --percent 10

``prepare`` takes Colin27 of Debian's mricron-data and MNI152 of the wheel of nilearn, both without
the skull, cuts off what lies around the head and adds Rician noise, whose deviation is 5 and 10 %
of the 99.5th percentile within the head. ``train`` runs the recipe brain-patches on the noisy
Colin27: no clean voxel is seen, the noise is the sigma of the likelihood. ``denoise`` writes what
the run makes of the noisy MNI152, measures the PSNR within the head against the clean one, and
draws slices. Beside stand non-local means of scikit-image, by the sigma that it estimates and by
the true one, and a Gaussian filter, with the strength that is best in the middle of Colin27. Rician
noise lifts a voxel by about half its variance over the voxel, which is taken off again for every
method. A measurement of pictures, with no clinical claim.

Needs nibabel, scikit-image and PyWavelets. ``prepare`` needs apt-get and pip.
"""

# nibabel and scikit-image leave functions untyped
# mypy: disable-error-code="no-untyped-call, attr-defined"

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float64]
COLIN, MNI = "colin27", "mni152"
IN_PACKAGES = {
    COLIN: "usr/share/mricron/templates/ch2bet.nii.gz",
    MNI: "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
}
UNIT = 1000
"""Of a file, for the 99.5th percentile within the head."""
PERCENTS = (5, 10)
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)
"""Of non-local means: h in sigmas."""
WIDTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of a Gaussian filter, in voxels."""


def main() -> None:
    """One of the three steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("step", choices=("prepare", "train", "denoise"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--percent", type=int, choices=PERCENTS, default=10)
    given, flags = parser.parse_known_args()
    if given.step == "prepare":
        prepare(given.folder)
    elif given.step == "train":
        train(given.folder, given.percent, flags)
    else:
        denoise(given.folder, given.percent)


def prepare(folder: Path) -> None:
    """Write clean and noisy volumes, int16 in units of :data:`UNIT`."""
    import nibabel

    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        there = Path(scratch)
        fetch(there)
        for seed, (name, place) in enumerate(IN_PACKAGES.items()):
            image = nibabel.as_closest_canonical(nibabel.load(there / place))
            values = np.asarray(image.dataobj).astype(np.float64)
            box = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(values))
            affine = image.affine.copy()
            affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
            clean = values[box] / np.percentile(values[values > 0], 99.5)
            write(folder / f"{name}.nii.gz", clean, affine)
            for percent in PERCENTS:
                noisy = rician(clean, percent / 100, np.random.default_rng(seed))
                write(folder / f"{name}-noisy-{percent}.nii.gz", noisy, affine)


def fetch(scratch: Path) -> None:
    """Unpack both packages."""
    subprocess.run(["apt-get", "download", "mricron-data"], cwd=scratch, check=True)
    (archive,) = scratch.glob("mricron-data_*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, scratch], check=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "nilearn"]
    subprocess.run(pip, cwd=scratch, check=True)
    (wheel,) = scratch.glob("nilearn-*.whl")
    with zipfile.ZipFile(wheel) as unpacked:
        unpacked.extract(IN_PACKAGES[MNI], scratch)


def rician(clean: Volume, sigma: float, rng: np.random.Generator) -> Volume:
    """The length of a complex number whose parts have normal noise."""
    real, imaginary = rng.standard_normal((2, *clean.shape))
    found: Volume = np.hypot(clean + sigma * real, sigma * imaginary)
    return found


def write(path: Path, values: Volume, affine: Volume) -> None:
    """As int16."""
    import nibabel

    nibabel.Nifti1Image(np.rint(UNIT * values).astype(np.int16), affine).to_filename(path)


def read(path: Path) -> Volume:
    """In the unit of the noise."""
    import nibabel

    return np.asarray(nibabel.load(path).dataobj).astype(np.float64) / UNIT


def train(folder: Path, percent: int, flags: list[str]) -> None:
    """A run of the recipe on the noisy Colin27."""
    data = folder / f"{COLIN}-noisy-{percent}.nii.gz"
    bits = round(UNIT * read(data).max()).bit_length()
    sigma = UNIT * percent / 100 / (2**bits - 1)  # a model sees values from 0 to 1
    run = ["--config", "brain-patches", "--data", str(data), "--sigma", f"{sigma:.6g}"]
    run += ["--output", str(folder / f"run-{percent}"), *flags]
    subprocess.run(["distvae", "train", *run], check=True)


def denoise(folder: Path, percent: int) -> None:
    """Figures of MNI152, and slices."""
    from scipy.ndimage import gaussian_filter
    from skimage.restoration import estimate_sigma

    run, noisy_path = folder / f"run-{percent}", folder / f"{MNI}-noisy-{percent}.nii.gz"
    path = folder / f"{MNI}-denoised-{percent}.nii.gz"
    path.unlink(missing_ok=True)
    command = ["distvae", "reconstruct", str(run), "--data", str(noisy_path), "--output", str(path)]
    subprocess.run(command, check=True)
    clean, noisy, sigma = read(folder / f"{MNI}.nii.gz"), read(noisy_path), percent / 100
    head = clean > 0
    found = {"noisy": noisy, "model": without_bias(read(path), sigma)}
    block = tuple(slice(side // 2 - 32, side // 2 + 32) for side in clean.shape)
    other = [
        read(folder / f"{COLIN}{ending}.nii.gz")[block] for ending in ("", f"-noisy-{percent}")
    ]
    for name, each in (("estimated", float(estimate_sigma(noisy))), ("true", sigma)):
        tried = {
            h: psnr(without_bias(non_local_means(other[1], each, h), sigma), other[0], other[0] > 0)
            for h in STRENGTHS
        }
        best = max(tried, key=lambda h: tried[h])
        means = non_local_means(noisy, each, best)
        found[f"nlm, {name} sigma {each:.4f}, h {best} of it"] = without_bias(means, sigma)
    smooth = {width: gaussian_filter(noisy, width) for width in WIDTHS}
    other_smooth = {
        width: psnr(without_bias(gaussian_filter(other[1], width), sigma), other[0], other[0] > 0)
        for width in WIDTHS
    }
    width = max(other_smooth, key=lambda each: other_smooth[each])
    found[f"gaussian filter of {width} voxels"] = without_bias(smooth[width], sigma)
    figures = {name: round(psnr(one, clean, head), 2) for name, one in found.items()}
    (folder / f"figures-{percent}.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))
    draw(folder / f"slices-{percent}.png", [clean, *list(found.values())[:3]])


def non_local_means(noisy: Volume, sigma: float, strength: float) -> Volume:
    """Of patches of 3 voxels a side, 11 x 11 x 11 of them."""
    from skimage.restoration import denoise_nl_means

    found: Volume = denoise_nl_means(
        noisy, patch_size=3, patch_distance=5, h=strength * sigma, sigma=sigma, fast_mode=True
    )
    return found


def without_bias(means: Volume, sigma: float) -> Volume:
    """Signals of means of Rician noise, to the first order."""
    found: Volume = np.sqrt(np.maximum(means**2 - sigma**2, 0.0))
    return found


def psnr(found: Volume, clean: Volume, head: NDArray[np.bool_]) -> float:
    """Within the head, for a signal of 1."""
    return float(-10.0 * np.log10(np.square(found - clean)[head].mean()))


def draw(path: Path, volumes: list[Volume]) -> None:
    """The three middle slices of volumes, a column each."""
    from PIL import Image

    rows = []
    for axis in range(3):
        slices = [np.rot90(one.take(one.shape[axis] // 2, axis)) for one in volumes]
        rows.append(np.concatenate(slices, 1))
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]))) for row in rows])
    Image.fromarray((255 * sheet.clip(0, 1)).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
