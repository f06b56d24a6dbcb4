"""What the examples of a split are, and what they are like on average.

Legend: S the axes of an example.
"""

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.image_data import ImageData
from distvae.domains import Domain

MOST = 10_000
TOGETHER = 256
"""Examples that are summed up at once: in 64 bits they may take eight times the memory."""


def domain_of_data(data: ImageData, binarize: str = "none") -> Domain:
    """What the examples of opened data are."""
    return data.domain_class.of(data.columns, data.train.stored, binarize, **data.facts)


def mean_input(domain: Domain, images: ResidentImages) -> Tensor:
    """What a model sees of examples on average, of at most ``MOST``, taken evenly ``[*S]``."""
    rows = torch.arange(0, len(images), max(1, len(images) // MOST))
    parts = (images.gather(part)[0] for part in torch.split(rows, TOGETHER))
    return domain.mean_values(parts, len(rows))
