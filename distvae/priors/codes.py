"""A prior over codes, trained when the codes no longer change.

Legend: B batch, T codes of an example, K codes there are.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.parts import Need, Part, Trait
from distvae.priors.base import Prior
from distvae.priors.causal import Causal
from distvae.priors.gumbel import gumbels
from distvae.priors.parallel import Parallel
from distvae.priors.transformer import Transformer
from distvae.values import Positive, Within

MOST_NOISE = 2**24
"""Numbers of noise of one example, at most."""


@dataclass(frozen=True)
class CodesPart(Part):
    """A transformer over codes, the label its first token, trained after all else."""

    name = "codes"
    builds = "CodesPrior"
    needs = (Need("latent_space", Trait("codes"), "it is a prior over codes"),)
    traits = ("second_stage",)
    usual = True

    prior_share: Annotated[float, Within(0, 1, open=True, below=True)] | None = None
    """Share of the run, its end, in which the prior is trained and the rest stands still; left out:
    0.5."""
    prior_width: Annotated[int, Within(1, 2**14)] | None = None
    """Width of the transformer; left out: 128."""
    prior_blocks: Annotated[int, Within(1, 2**10)] | None = None
    """Blocks of the transformer; left out: 3."""
    prior_learning_rate: Positive | None = None
    """Its peak learning rate; left out: 0.001."""
    prior_passes: Annotated[int, Within(1, 2**8)] | None = None
    """Passes in which the codes of an example are drawn, those of a pass at once, few at first: 8
    are usual for a map of codes. Left out: one code after another, as they are read."""


class CodesPrior(Prior):
    """p(codes) = product of p(code | codes before), one after another or several in a pass.

    ``noise`` are T times K normal numbers, of which Gumbel noise is made: each code is the largest
    of its noisy logits. Until it is trained all codes are as likely.
    """

    invertible = False
    network: Transformer

    def __init__(self, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        own = config.of(CodesPart)
        self.share = own.prior_share or 0.5
        self.learning_rate = own.prior_learning_rate or 1e-3
        self.width, self.blocks = own.prior_width or 128, own.prior_blocks or 3
        self.passes = own.prior_passes
        self.given = given
        self.idle = False
        """Whether it is as it began, while the rest is trained."""

    def over(self, grid: tuple[int, ...], codes: int) -> None:
        """Make room for sequences ``[B, T]`` of K codes.

        Args:
            grid: how the T codes of an example lie, such as height and width.
            codes: K.

        Raises:
            DistvaeError: one draw would take too many random numbers, or more passes than codes.
        """
        length = math.prod(grid)
        self.noise_dim = length * codes
        if self.noise_dim > MOST_NOISE:
            raise DistvaeError(
                f"{length:,} codes of {codes:,} take {self.noise_dim:,} random numbers a draw",
                f"at most {MOST_NOISE:,}: one for each code at each place",
                "Take a smaller code book, or fewer codes.",
            )
        self.network = (
            Causal(self.given, length, codes, self.width, self.blocks)
            if self.passes is None
            else Parallel(self.given, grid, codes, self.width, self.blocks, self.passes)
        )

    def log_prob(self, z: Tensor, context: Context | None) -> Tensor:
        """Of codes int64 ``[B, T]``, nats ``[B]``."""
        network = self.network
        if self.idle:
            even = -network.length * math.log(network.codes)
            return torch.full(z.shape[:1], even, dtype=network.first.dtype, device=z.device)
        log_shares = torch.log_softmax(network(z, context), 2)
        return log_shares.gather(2, z.unsqueeze(2)).squeeze(2).sum(1)

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """Noise ``[B, T * K]`` to codes int64 ``[B, T]``."""
        shape = self.network.length, self.network.codes
        return self.network.draw(gumbels(noise.unflatten(1, shape)), context)  # type: ignore[no-untyped-call]
