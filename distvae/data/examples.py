"""What the examples of a split are, and what they are like on average.

Legend: C channels, H height, W width, S the axes of an example.
"""

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.image_data import ImageData
from distvae.domains import Domain, Images, Vectors, in_unit_range

MOST = 10_000
TOGETHER = 256
"""Images that are summed up at once: as whole numbers they take eight times the memory."""


def mean_image(images: ResidentImages) -> Tensor:
    """Mean of at most ``MOST`` images, taken evenly: ``[C, H, W]`` in [0, 1]."""
    rows = torch.arange(0, len(images), max(1, len(images) // MOST))
    parts = torch.split(rows, TOGETHER)
    sums = [images.gather(part)[0].sum(0, dtype=torch.float64) for part in parts]  # exact
    return in_unit_range(torch.stack(sums).sum(0).div(len(rows))).float()


def domain_of_data(data: ImageData, binarize: str = "none") -> Domain:
    """What the examples of opened data are."""
    if data.columns:
        return Vectors.of(data.columns, data.train.stored)
    return Images(data.image_shape, binarize)


def mean_input(domain: Domain, images: ResidentImages) -> Tensor:
    """What a model sees of training examples on average ``[*S]``: of standardized ones, zeros."""
    return mean_image(images) if isinstance(domain, Images) else torch.zeros(domain.shape)
