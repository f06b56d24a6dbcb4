"""One way through a split: which images, what the model sees of them, by which random numbers.

Legend: B batch, K draws for an image, N images, Z latent dimensions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.conditions import Conditions
from distvae.data.batches import ResidentImages
from distvae.domains import Domain
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.latents import LatentSpace

BLOCK = 500
Advance = Callable[[int], None]
"""Told the number of images done."""


def unwatched(count: int) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class Share:
    """What this process does of what is measured by several."""

    rank: int = 0
    world_size: int = 1
    reduce: Callable[[Tensor], Tensor] = lambda values: values
    """Sums a tensor over processes."""


ALONE = Share()


class Seeing(Protocol):
    """What a pass asks of a model; see :class:`distvae.models.VAE`."""

    @property
    def latents(self) -> LatentSpace:
        """It tells how much noise a draw of the posterior takes."""

    @property
    def domain(self) -> Domain:
        """It tells what random numbers the inputs take."""

    @property
    def conditional(self) -> bool:
        """Whether it takes labels."""


class Block(NamedTuple):
    """Some images of a split."""

    rows: Tensor
    """Their numbers ``[B]``."""
    labels: Tensor | None
    """Those of the images ``[B]``, whether the model takes them or not; -1 where unknown."""
    batch: Batch
    """What the model takes."""


def blocks(
    model: Seeing,
    images: ResidentImages,
    seed: int,
    stream: Stream = Stream.EVALUATION,
    *,
    rows: Tensor | None = None,
    size: int = BLOCK,
    noise_dim: int | None = None,
    share: Share = ALONE,
    advance: Advance = unwatched,
) -> Iterator[Block]:
    """Go through images once, block by block.

    The random numbers of an image depend on its place in the pass alone: neither on the number of
    processes, which take blocks in turn, nor on the size of a block.

    Args:
        model: on the device of ``images``.
        images: the split.
        seed: of all random numbers.
        stream: of them.
        rows: which images, and in which order ``[N]``; left out, all.
        size: of a block.
        noise_dim: numbers for an image; left out, its latents.
        share: of this process.
        advance: told whenever a block is done.
    """
    noise_dim = noise_dim or model.latents.infer_dim
    source = NoiseSource(seed, stream, noise_dim, model.domain.uniforms_shape, images.device)
    parts = torch.split(torch.arange(len(images)) if rows is None else rows, size)
    for number in range(share.rank, len(parts), share.world_size):
        part = parts[number]
        stored, *known = images.gather(part)
        noise = source.draw(0, slice(number * size, number * size + len(part)))
        given = Conditions.of_examples(*known) if model.conditional else None
        yield Block(part, known[0], Batch(stored, given, *noise))
        advance(len(part))
