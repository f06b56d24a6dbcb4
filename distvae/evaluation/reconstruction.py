"""How near an autoencoder comes to its pictures, and for how many bits.

Legend: N pictures, B of a block, C channels, H height, W width.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.evaluation.passes import Advance, Block, Pass, through, unwatched
from distvae.evaluation.similarity import psnr, ssim
from distvae.evaluation.uncertainty import estimate_metrics, mean_of
from distvae.models import VAE
from distvae.places import evenly

PICTURES = 2000
"""Looked at, evenly from a split that has more."""
NUMBERS = 2**22
"""Of the pictures of a block together, on a CPU."""


@torch.no_grad()
def reconstruction_metrics(
    model: VAE, images: ResidentImages, seed: int, advance: Advance = unwatched
) -> Iterator[tuple[str, float]]:
    """What comes back of pictures, each decoded from the mean of its posterior.

    Args:
        model: in evaluation mode, on the device of ``images``.
        images: the split.
        seed: of the draws by which the rate is told.
        advance: told the number of pictures done.

    Yields:
        ``psnr`` in dB and ``ssim``, means over pictures, of levels 0 to 255, and
        ``rate_bits_per_pixel``: the rate of one draw in bits for each place, of all channels
        together; each with its ``_standard_error``. PSNR is missing where a picture comes back
        without any error.
    """
    rows = torch.from_numpy(evenly(len(images), PICTURES))
    size = max(1, NUMBERS // math.prod(model.domain.shape))
    found: dict[str, list[np.ndarray]] = {"psnr": [], "ssim": [], "rate_bits_per_pixel": []}

    def compute(block: Block) -> tuple[Tensor, Tensor, Tensor]:
        stored, given, *_ = block.batch
        context = model.conditioner(given)
        means = model.means(model.domain.to_expected_input(stored), context)
        decoded = model.domain.to_stored(model.domain.cut(model.render(means, context)))
        return stored, decoded, model.terms(block.batch).rate.double().sum(1)

    places, white = math.prod(model.domain.shape[-2:]), float((model.domain.levels or 256) - 1)
    for stored, decoded, rate in through(
        compute, Pass(model, images, seed, rows=rows), size=size, advance=advance
    ):
        pair = stored.cpu().numpy(), decoded.cpu().numpy()
        found["psnr"].append(psnr(*pair, white))
        found["ssim"].append(ssim(*pair, white))
        found["rate_bits_per_pixel"].append((rate / (places * math.log(2.0))).cpu().numpy())
    for name, parts in found.items():
        yield from estimate_metrics(name, mean_of(torch.from_numpy(np.concatenate(parts))))
