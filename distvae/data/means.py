"""What the images of a split are like on average.

Legend: C channels, H height, W width.
"""

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.domains import in_unit_range

MOST = 10_000
TOGETHER = 256
"""Images that are summed up at once: as whole numbers they take eight times the memory."""


def mean_image(images: ResidentImages) -> Tensor:
    """Mean of at most ``MOST`` images, taken evenly: ``[C, H, W]`` in [0, 1]."""
    rows = torch.arange(0, len(images), max(1, len(images) // MOST))
    parts = torch.split(rows, TOGETHER)
    sums = [images.gather(part)[0].sum(0, dtype=torch.float64) for part in parts]  # exact
    return in_unit_range(torch.stack(sums).sum(0).div(len(rows))).float()
