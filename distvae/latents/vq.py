"""Vector quantization: a code is the vector of a book that is nearest, and the book is learned.

Legend: B batch (the global one where vectors are gathered), T codes of an example, C codes of the
book, D numbers of a code, M vectors of the global batch.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.conditions import ContextShape
from distvae.config import ModelConfig
from distvae.latents.codes import CodeSpace, CodeSpacePart, Quantized
from distvae.parts import Need
from distvae.priors import Prior
from distvae.values import Decay, NotNegative, Within


@dataclass(frozen=True)
class VqPart(CodeSpacePart):
    """Codes of a learned book of vectors, each the mean of the vectors that are nearest to it."""

    name = "vq"
    builds = "Vq"
    needs = (
        *CodeSpacePart.needs,
        Need("accumulate", (1,), "the book follows the vectors of a whole batch"),
        Need("compile", ("off", "auto"), "the book changes within a step"),
    )

    vq_codes: Annotated[int, Within(2, 2**16)] | None = None
    """Codes of the book; left out: 256."""
    vq_width: Annotated[int, Within(1, 2**12)] | None = None
    """Numbers of a code; left out: 8."""
    vq_norm: bool = False
    """Put vectors and codes on the unit sphere, where the nearest is that of likest direction."""
    vq_decay: Decay | None = None
    """Decay, in a step, of what codes remember of vectors that were nearest; left out: 0.99."""
    vq_expiry: NotNegative | None = None
    """Share of even use below which a code is replaced by a vector of the batch; left out: 0.05."""
    vq_commitment: NotNegative | None = None
    """Weight of the squared distance of vectors to their codes, in nats; left out: 0.25."""


class Vq(CodeSpace):
    """VQ-VAE of van den Oord et al. 2017 (arXiv:1711.00937), its book by averages (appendix A.1).

    In each step of training a code moves to the decayed mean of the vectors nearest to it. A code
    that is hardly used takes the place of a vector of the batch, in the first step each that no
    vector is near to. Which one is told by the noise of the examples. Vectors and noise are
    gathered from all processes first, so each computes the same book.
    """

    compiles = False
    book: Tensor
    counts: Tensor

    def __init__(
        self,
        config: ModelConfig,
        shapes: tuple[tuple[int, ...], ...],
        given: ContextShape,
        prior: Prior,
    ) -> None:
        own = config.of(VqPart)
        codes, width = own.vq_codes or 256, own.vq_width or 8
        super().__init__(config, shapes, given, prior, codes, width)
        self.normed = own.vq_norm
        self.decay = 0.99 if own.vq_decay is None else own.vq_decay
        self.expiry = 0.05 if own.vq_expiry is None else own.vq_expiry
        self.commitment = 0.25 if own.vq_commitment is None else own.vq_commitment
        self.learns = True
        """Whether passes in training change the book."""
        self.register_buffer("book", self._placed(torch.randn(codes, width)))
        self.register_buffer("counts", torch.zeros(codes))

    def begin(self, second: bool) -> None:
        """In the second stage the book stands still."""
        super().begin(second)
        self.learns = not second

    def quantize(self, vectors: Tensor, noise: Tensor | None = None) -> Quantized:
        """The nearest codes ``[B, T, D]``; in training the book then follows the vectors."""
        vectors = self._placed(vectors)
        codes = self._nearest(vectors.detach())
        found = self.values_of(codes)
        if noise is not None and self.training and self.learns:
            with torch.no_grad():
                self._follow(_of_all(vectors.detach()), _of_all(noise))
        penalty = self.commitment * (vectors - found).square().sum((1, 2))
        return Quantized(codes, vectors + (found - vectors).detach(), penalty)

    def values_of(self, codes: Tensor) -> Tensor:
        """Vectors of the book ``[B, T, D]``."""
        return F.embedding(codes, self.book)

    def _placed(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.normed else vectors

    def _nearest(self, vectors: Tensor) -> Tensor:
        """By the largest of v e - e e / 2, int64 ``[B, T]``."""
        book = self.book.to(vectors.dtype)
        return (vectors @ book.T - 0.5 * book.square().sum(1)).argmax(-1)

    def _follow(self, vectors: Tensor, noise: Tensor) -> None:
        """Move the book to the vectors ``[B, T, D]`` of a global batch.

        Args:
            vectors: of all processes.
            noise: of the same examples ``[B, 1]``.
        """
        codes, flat = self._nearest(vectors).flatten(), vectors.flatten(0, 1)
        new = torch.zeros_like(self.counts).index_add_(0, codes, torch.ones_like(flat[:, 0]))
        sums = torch.zeros_like(self.book).index_add_(0, codes, flat)
        kept = self.decay * self.counts
        counts = kept + (1.0 - self.decay) * new
        total = kept[:, None] * self.book + (1.0 - self.decay) * sums
        book = self._placed(total / counts.clamp_min(1e-12)[:, None])
        even = len(flat) / self.codes
        dead = counts <= self.expiry * even
        self.book.copy_(torch.where(dead[:, None], flat[self._chosen(dead, noise, vectors)], book))
        self.counts.copy_(torch.where(dead, even, counts))

    def _chosen(self, dead: Tensor, noise: Tensor, vectors: Tensor) -> Tensor:
        """A vector for each code that is replaced, numbers int64 ``[C]`` below M.

        Examples are taken in the order of their noise, one for each code, at places in turn.
        """
        size, length, _ = vectors.shape
        order, number = noise[:, 0].argsort(stable=True), dead.cumsum(0) - 1
        place = (number + torch.div(number, size, rounding_mode="floor")) % length
        return order[number.clamp_min(0) % size] * length + place.clamp_min(0)


def _of_all(rows: Tensor) -> Tensor:
    """The rows of all processes, one after another as they are in the global batch."""
    if not torch.distributed.is_initialized():
        return rows
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
