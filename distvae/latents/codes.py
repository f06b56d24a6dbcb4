"""What all spaces of codes do: vectors of an encoder become codes of a book, and codes values.

An encoder gives one answer, so a code is no draw: q(z|x) is 1 for it and 0 for all others. The rate
is -log p(codes), and distortion plus rate an upper bound of -log p(x) as of any other space: it
counts one way to the example of many.

Legend: B batch, K draws for an example, T codes of an example, C codes of the book, D numbers of a
code, R rows: B, or B * K of several draws; S the axes of the values of all codes of an example.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.distributions import LOG_SCALE, DiagonalGaussian, full_precision, wide
from distvae.errors import DistvaeError
from distvae.latents.base import Draw, Features, Latents, LatentSpace, Level, SecondStage
from distvae.latents.heads import FlatHead, MapHead
from distvae.networks.layers import Convolution, convolution_along
from distvae.parts import Need, Part
from distvae.posteriors import Posterior
from distvae.priors import Prior
from distvae.priors.codes import CodesPrior


@dataclass(frozen=True)
class CodeSpacePart(Part):
    """What spaces of codes share."""

    needs: ClassVar[tuple[Need, ...]] = (
        Need("prior", (None, "codes"), "it has codes, of which other priors know nothing"),
        Need(
            "objective",
            ("elbo", "obedience"),
            "a code is no draw: there is one, and no density around it",
        ),
        Need("posterior", ("gaussian",), "a code has no posterior to carry further"),
        Need("importance_samples", (1, None), "all draws of a code are the same"),
        Need("early_stopping", (None,), "the prior is trained when the rest of the run is done"),
    )
    traits: ClassVar[tuple[str, ...]] = ("codes", "one_level", "places")

    code_layout: Literal["map", "vector"] | None = None
    """A `map` of codes, one for each place of the network's coarsest maps, or a `vector` of
    --latent-dim codes that each see the whole example; left out: a map where the network gives
    maps."""


class Quantized(NamedTuple):
    """Vectors and the codes nearest to them."""

    codes: Tensor
    """int64 ``[B, T]``."""
    values: Tensor
    """Of the codes ``[B, T, D]``; gradients pass to the vectors."""
    penalty: Tensor | None = None
    """What the encoder is to pay beside the bound, nats ``[B]``."""


class CodeSpace(LatentSpace):
    """Codes of a book: a map of them, or a vector of which each sees the whole example.

    Args:
        config: of the model.
        shapes: of the encoder's features, without the batch.
        given: what contexts hold.
        prior: of codes.
        codes: C.
        width: D.

    Raises:
        DistvaeError: a map of codes is asked for of a network that gives none, or the prior does
            not know codes.
    """

    invertible = False

    def __init__(
        self,
        config: ModelConfig,
        shapes: tuple[tuple[int, ...], ...],
        given: ContextShape,
        prior: Prior,
        codes: int,
        width: int,
    ) -> None:
        super().__init__()
        assert isinstance(prior, CodesPrior)
        shape, self.codes, self.width = shapes[-1], codes, width
        layout = config.of(CodeSpacePart).code_layout
        self.as_map = len(shape) > 1 if layout is None else layout == "map"
        if self.as_map and len(shape) == 1:
            raise DistvaeError(
                f"--code-layout map does not fit --network {config.network}",
                "it gives one vector, not maps",
                "Take --network conv, or --code-layout vector.",
            )
        if self.as_map:
            self.head: MapHead | FlatHead = MapHead(config, shape, given)
            self.length = math.prod(shape[1:])
            self.to_vectors: Convolution | nn.Linear = convolution_along(shape[1:])(
                self.head.out_channels, width, 1
            )
            values: tuple[int, ...] = (width, *shape[1:])
        else:
            self.head = FlatHead(config, shape, given)
            self.length = config.latent_dim
            self.to_vectors = nn.Linear(self.head.out_features, self.length * width)
            values = (self.length * width,)
        self.levels = (Level("z", values, "code", codes),)
        self.prior = prior
        prior.over(self.grid, codes)

    @abstractmethod
    def quantize(self, vectors: Tensor, noise: Tensor | None = None) -> Quantized:
        """The codes of ``vectors [B, T, D]``.

        Args:
            vectors: of the encoder.
            noise: of the examples ``[B, 1]``, where a book may learn from them.
        """

    @abstractmethod
    def values_of(self, codes: Tensor) -> Tensor:
        """``[B, T, D]`` of codes int64 ``[B, T]``."""

    @property
    def grid(self) -> tuple[int, ...]:
        """How the T codes of an example lie: height and width, or T."""
        return self.levels[0].shape[1:] if self.as_map else (self.length,)

    @property
    def noise_dim(self) -> int:
        """T * C."""
        return self.prior.noise_dim

    @property
    def infer_dim(self) -> int:
        """One: a code is no draw, but a book that learns chooses by it."""
        return 1

    @property
    def second_stage(self) -> SecondStage:
        """The prior, which is trained when the codes no longer change."""
        return SecondStage(self.prior, self.prior.share, self.prior.learning_rate)

    def begin(self, second: bool) -> None:
        """In the first stage the prior is as it began, and takes no time."""
        self.prior.idle = not second

    def infer(
        self,
        features: Features,
        noise: Tensor,
        context: Context | None,
        draws: int | None = None,
        densities: bool = False,
    ) -> tuple[Draw, ...]:
        """The codes; all draws are the same."""
        each = noise if draws is None else noise[:, 0]
        found = self._found(features, context, each)
        with full_precision(noise.device.type):
            log_p = self.prior.log_prob(found.codes, context)
        z = self._laid_out(found.values)
        rows, rate = z, -log_p.unsqueeze(1)
        if draws is not None:
            rows = z.repeat_interleave(draws, 0)
            z = rows.unflatten(0, (-1, draws))  # type: ignore[no-untyped-call]
            log_p = log_p.unsqueeze(1).expand(-1, draws)
        log_q = torch.zeros_like(log_p)
        return (Draw("z", z, rows, rate, None, log_p, log_q, found.codes, found.penalty),)

    def codes_of(self, features: Features, context: Context | None) -> Tensor:
        """Codes int64 ``[B, T]``; of a map row by row."""
        return self._found(features, context).codes

    def draw(self, noise: Tensor, context: Context | None) -> Latents:
        """Values of codes of the prior."""
        return self._latents_of(self.prior.transform(noise, context))

    def scored(self, noise: Tensor, context: Context | None) -> tuple[Latents, Tensor]:
        """The same, and their nats: codes have no gradient."""
        with torch.no_grad():
            codes = self.prior.transform(noise, context)
            latents = self._latents_of(codes)
        with full_precision(noise.device.type):
            return latents, self.prior.log_prob(codes, context)

    def posteriors(self, features: Features, context: Context | None) -> tuple[Posterior, ...]:
        """The values of the codes, each a Gaussian as narrow as there is: it stands for a point."""
        return self._points(self._found(features, context).values)

    def posteriors_of(self, codes: Tensor) -> tuple[Posterior, ...]:
        """The same of codes int64 ``[B, T]``."""
        return self._points(self.values_of(codes))

    @property
    def book_values(self) -> Tensor:
        """What each code stands for ``[C, D]``."""
        every = torch.arange(self.codes, device=self.to_vectors.weight.device)
        return self.values_of(every.unsqueeze(1)).squeeze(1)

    def prepare(self, images: ResidentImages) -> None:
        """Refuse a book that the training images can never fill.

        Raises:
            DistvaeError: it has more codes than they have vectors.
        """
        vectors = len(images) * self.length
        if 0 < vectors < self.codes:
            raise DistvaeError(
                f"the code book has {self.codes:,} codes",
                f"the training examples have {vectors:,} in all: {len(images):,} x {self.length}",
                "Take a smaller code book.",
            )

    def _found(
        self, features: Features, context: Context | None, noise: Tensor | None = None
    ) -> Quantized:
        found = wide(self.to_vectors(self.head(features[-1], context)))
        if self.as_map:
            vectors = found.flatten(2).transpose(1, 2)
        else:
            vectors = found.unflatten(1, (self.length, self.width))  # type: ignore[no-untyped-call]
        with full_precision(found.device.type):
            return self.quantize(vectors, noise)

    def _latents_of(self, codes: Tensor) -> Latents:
        return (self._laid_out(self.values_of(codes)),)

    def _points(self, values: Tensor) -> tuple[Posterior, ...]:
        laid_out = self._laid_out(values)
        return (DiagonalGaussian(laid_out, torch.full_like(laid_out, -2.0 * LOG_SCALE)),)

    def _laid_out(self, values: Tensor) -> Tensor:
        """``[B, T, D]`` to ``[B, *S]``."""
        if not self.as_map:
            return values.flatten(1)
        maps: Tensor = values.transpose(1, 2).unflatten(2, self.levels[0].shape[1:])  # type: ignore[no-untyped-call]
        return maps
