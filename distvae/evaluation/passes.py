"""One way through a split: which images, what the model sees of them, by which random numbers.

Legend: B batch, K draws for an image, N images, Z latent dimensions.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.blocks import in_blocks
from distvae.conditions import Conditions
from distvae.data.batches import ResidentImages
from distvae.domains import Domain
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.latents import LatentSpace

Result = TypeVar("Result")
BLOCK = 500
"""Images together on a CPU."""
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

    def rows(self, total: int, size: int) -> range:
        """Those of so many rows that this process takes: whole blocks of this size, one by one."""
        blocks = -(-total // size)
        start, stop = (blocks * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return range(start * size, min(stop * size, total))


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


class Pass:
    """A way through images; any part of it can be looked at by itself.

    The random numbers of an image depend on its place in the pass alone: neither on the number of
    processes nor on the size of a block.

    Args:
        model: on the device of ``images``.
        images: the split.
        seed: of all random numbers.
        stream: of them.
        rows: which images, and in which order ``[N]``; left out, all.
        noise_dim: numbers for an image; left out, its latents.
    """

    def __init__(
        self,
        model: Seeing,
        images: ResidentImages,
        seed: int,
        stream: Stream = Stream.EVALUATION,
        rows: Tensor | None = None,
        noise_dim: int | None = None,
    ) -> None:
        self.images, self.conditional = images, model.conditional
        dim = noise_dim or model.latents.infer_dim
        self.noise = NoiseSource(seed, stream, dim, model.domain.uniforms_shape, images.device)
        rows = torch.arange(len(images)) if rows is None else rows
        self.rows = rows.to(images.stored.device)

    def at(self, part: slice) -> Block:
        """The images in these places."""
        rows = self.rows[part]
        stored, *known = self.images.gather(rows)
        given = Conditions.of_examples(*known) if self.conditional else None
        return Block(rows, known[0], Batch(stored, given, *self.noise.draw(0, part)))


def through(
    compute: Callable[[Block], Result],
    way: Pass,
    *,
    size: int = BLOCK,
    share: Share = ALONE,
    advance: Advance = unwatched,
) -> Iterator[Result]:
    """What is computed of the blocks of a pass, whose size is a matter of memory and speed alone.

    Args:
        compute: takes a block and leaves its results on the device; see :func:`in_blocks`.
        way: the pass.
        size: of a block on a CPU.
        share: of this process.
        advance: told the number of images done.
    """
    rows = share.rows(len(way.rows), size)
    device = way.images.device
    yield from in_blocks(lambda part: compute(way.at(part)), rows, size, device, advance)


def gathered(parts: Iterable[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    """Each of the results of all blocks as one tensor, read back from the device at once."""
    for each in zip(*parts, strict=True):
        yield torch.cat(each).cpu()
