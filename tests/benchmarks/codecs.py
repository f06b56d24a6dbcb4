"""What JPEG and principal components make of a run's test images for as many bits a pixel.

    distvae evaluate runs/photos-f8 --metrics elbo,reconstruction
    python tests/benchmarks/codecs.py runs/photos-f8

The run is one of `--latents spatial`; its bits are its rate, the KL term. JPEG is Pillow's, with
Huffman tables of each image's own; the bits are those of the scan alone, so that the header, which
is longer than the scan of a small crop, does not count. The components are of patches as large as
what a place of the latents stands for, fitted on training images; they are rounded to whole
multiples of one step, and their bits are the entropy of what comes of it, component by component,
as an ideal coder that knows the frequencies would need. Both are given the benefit: no model is
told beforehand how often each value comes.
"""

import argparse
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distvae.data.provenance import open_recorded
from distvae.evaluation.reconstruction import PICTURES
from distvae.evaluation.similarity import psnr, ssim
from distvae.models import VAE
from distvae.places import evenly
from distvae.runs import find_run

SCAN = b"\xff\xda"
"""How the scan of a JPEG begins."""
STEPS = 40
"""Of the search for a step of rounding."""
Images = NDArray[np.uint8]


class Row(NamedTuple):
    """A line of the table."""

    name: str
    bits: float
    """For each pixel, of all channels together."""
    psnr: float
    ssim: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run")
    asked = parser.parse_args().run
    run = find_run(asked)
    figures = json.loads((Path(run.folder) / "evaluation.json").read_text(encoding="utf-8"))
    model, data = VAE.from_pretrained(run.model), open_recorded(run, None)
    channels, height, _ = model.latents.levels[0].shape
    patch = data.image_shape[1] // height
    bits = figures["rate_bits_per_pixel"]
    test = data.test.images[evenly(len(data.test), PICTURES)]
    print(f"{len(test):,} test images of {'x'.join(map(str, data.image_shape))}")
    rows = [
        Row("the model", bits, figures["psnr"], figures["ssim"]),
        jpeg(test, bits),
        *components(np.asarray(data.train.images), test, patch, channels, bits),
    ]
    print("| | bits a pixel | PSNR, dB | SSIM |\n| --- | ---: | ---: | ---: |")
    for name, *values in rows:
        told = (f"{value:.{digits}f}" for value, digits in zip(values, (3, 2, 3), strict=True))
        print(f"| {name} | {' | '.join(told)} |")


def jpeg(images: Images, bits: float) -> Row:
    """The best quality that takes no more bits, or the lowest."""
    low, high = 1, 96
    while high - low > 1:
        quality = (low + high) // 2
        low, high = (quality, high) if _coded(images, quality)[1] <= bits else (low, quality)
    decoded, found = _coded(images, low)
    return _row(f"JPEG, quality {low}, without headers", found, images, decoded)


def _coded(images: Images, quality: int) -> tuple[Images, float]:
    """What comes back of images, and bits a pixel."""
    decoded, size = np.empty_like(images), 0
    for index, image in enumerate(images):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=quality, optimize=True)
        content = file.getvalue()
        size += len(content) - content.index(SCAN)
        back = np.asarray(Image.open(io.BytesIO(content)))
        decoded[index] = back[None] if back.ndim == 2 else back.transpose(2, 0, 1)
    return decoded, 8 * size / (len(images) * math.prod(images.shape[2:]))


def components(train: Images, test: Images, side: int, count: int, bits: float) -> Iterator[Row]:
    """As many components as the latents of a place, not rounded; all, rounded to so many bits."""
    known = _patches(train, side)
    mean = known.mean(0)
    _, _, axes = np.linalg.svd(np.cov((known - mean).T))
    values = (_patches(test, side) - mean) @ axes.T
    few = values * (np.arange(values.shape[1]) < count)
    decoded = _images(few @ axes + mean, test.shape, side)
    yield _row(
        f"PCA, {count} numbers for {side} x {side} pixels, not rounded", math.inf, test, decoded
    )
    low, high = 0.01, 10_000.0
    for _ in range(STEPS):
        step = math.sqrt(low * high)
        low, high = (low, step) if _entropy(values, step) / side**2 <= bits else (step, high)
    rounded = np.rint(values / high) * high
    decoded = _images(rounded @ axes + mean, test.shape, side)
    yield _row("PCA, rounded", _entropy(values, high) / side**2, test, decoded)


def _entropy(values: NDArray[np.float64], step: float) -> float:
    """Bits for a row of values that are rounded to multiples of a step."""
    total = 0.0
    for column in np.rint(values / step).T:
        _, counts = np.unique(column, return_counts=True)
        shares = counts / counts.sum()
        total -= float((shares * np.log2(shares)).sum())
    return total


def _patches(images: Images, side: int) -> NDArray[np.float64]:
    count, channels, height, width = images.shape
    cut = images.reshape(count, channels, height // side, side, width // side, side)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, channels * side**2).astype(np.float64)


def _images(patches: NDArray[np.float64], shape: tuple[int, ...], side: int) -> Images:
    count, channels, height, width = shape
    cut = patches.reshape(count, height // side, width // side, channels, side, side)
    whole = cut.transpose(0, 3, 1, 4, 2, 5).reshape(shape)
    return whole.round().clip(0, 255).astype(np.uint8)


def _row(name: str, bits: float, first: Any, second: Any) -> Row:
    return Row(name, bits, float(psnr(first, second).mean()), float(ssim(first, second).mean()))


if __name__ == "__main__":
    main()
