"""How sharp samples and reconstructions are, beside the images of the test split.

    python tests/benchmarks/sharpness.py runs/without runs/with-critic

Sharpness is the variance of the Laplacian (a pixel less the mean of its four neighbours), the mean
over images; pixels are from 0 to 1. Grey is the share of pixels between 0.1 and 0.9. Samples are
drawn without labels, or with all in turn.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.store import open_data
from distvae.models import VAE
from distvae.runs import Run

PART = 500


def sharpness(images: Tensor) -> float:
    """Of images ``[N, C, H, W]``."""
    kernel = torch.tensor([[0.0, -0.25, 0.0], [-0.25, 1.0, -0.25], [0.0, -0.25, 0.0]])
    edges = F.conv2d(images.flatten(0, 1)[:, None], kernel[None, None])
    return float(edges.flatten(1).var(1).mean())


def grey(images: Tensor) -> float:
    """Share of pixels that are neither black nor white."""
    return float(((images > 0.1) & (images < 0.9)).float().mean())


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| | sharpness | grey |\n| --- | ---: | ---: |")
    for number, folder in enumerate(given.runs):
        model = VAE.from_pretrained(folder)
        test = ResidentImages.from_split(open_data(Run(folder, folder).config().data).test)
        stored, *_ = test.gather(torch.arange(min(given.images, len(test))))
        images = model.domain.to_values(stored)
        if not number:
            print(f"| test images | {sharpness(images):.4f} | {grey(images):.3f} |")
        sets = {"samples": model.sample(n=given.images, seed=given.seed)}
        if not model.conditional:
            parts = [model.render(model.means(part)) for part in torch.split(images, PART)]
            sets["reconstructions"] = torch.cat(parts)
        for name, drawn in sets.items():
            print(f"| {folder.name}, {name} | {sharpness(drawn):.4f} | {grey(drawn):.3f} |")


if __name__ == "__main__":
    main()
