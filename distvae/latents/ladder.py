"""A ladder of levels: one vector of latents, and below it maps at ever finer resolutions.

Legend: B batch, K draws for an example, R rows: B, or B * K of several draws; Z latents of the
vector or maps of a level, C channels, H height, W width, N numbers of noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.distributions import DiagonalGaussian, full_precision
from distvae.latents.base import Draw, Features, Latents, LatentSpace, Level
from distvae.latents.gaussian import GaussianSpace
from distvae.latents.resolutions import levels_of, size_of, spread
from distvae.latents.rungs import Ascent, Rung, by_example, drawn
from distvae.networks.stems import FlatStem
from distvae.parts import SIDES, Need, Part, Trait
from distvae.posteriors import Posterior
from distvae.priors import Prior
from distvae.values import Within

USUAL_MAPS = 4
Choose = Callable[[int, Rung, Tensor, DiagonalGaussian], Tensor]
"""(number of a level of maps, the level, the way down, its prior) -> its latents."""


@dataclass(frozen=True)
class LadderPart(Part):
    """Levels of latents, each given those before: a vector, then maps at ever finer resolutions."""

    name = "ladder"
    builds = "Ladder"
    needs = (
        SIDES,
        Need("network", Trait("maps"), "its levels take maps of features"),
        Need(
            "prior",
            Trait("without_encoder"),
            "its levels are not all made of what the encoder gives",
        ),
        Need("posterior", ("gaussian",), "its levels are Gaussian given those before"),
    )

    levels: Annotated[int, Within(2, 256)] | None = None
    """Levels of latents, 3 to 12: a vector of --latent-dim, then one or more for each resolution of
    the network; left out: 6, or as many as the resolutions ask for."""
    level_maps: Annotated[int, Within(1, 2**10)] | None = None
    """Maps of latents in each level below the vector; left out: 4."""


class Ladder(LatentSpace):
    """q(z1|x) q(z2|z1, x) ... against p(z1) p(z2|z1) ..., both on one way down.

    z1 is a vector with any prior and posterior that a space of one vector has. The decoder takes
    the way down after the last level.

    Args:
        config: of the model.
        shapes: of the encoder's features, without the batch.
        given: what contexts hold.
        prior: p(z1).

    Raises:
        DistvaeError: there are too few or too many levels for the images, or the features are no
            maps.
    """

    def __init__(
        self,
        config: ModelConfig,
        shapes: tuple[tuple[int, ...], ...],
        given: ContextShape,
        prior: Prior,
    ) -> None:
        super().__init__()
        own = config.of(LadderPart)
        sizes = [size_of(shape, config) for shape in reversed(shapes)]
        counts = spread(levels_of(own.levels, sizes, config), sizes)
        places = [size for size, count in zip(sizes, counts, strict=True) for _ in range(count)]
        maps, scale = own.level_maps or USUAL_MAPS, 1.0 / math.sqrt(len(places))
        self.top = GaussianSpace(config, shapes, given, prior)
        self.stem = FlatStem(config, config.latent_dim, sizes[0], given, nn.Identity())
        self.rungs = nn.ModuleList(
            Rung(config, size, maps, size.channels, given, scale) for size in places
        )
        self.ascents = nn.ModuleList(
            nn.Identity() if above == below else Ascent(below, above)
            for below, above in zip([sizes[0], *places], places, strict=False)
        )
        self.sources = [len(sizes) - 1 - sizes.index(size) for size in places]
        """Which of the encoder's features each level sees."""
        self.levels = (
            Level("z1", self.top.levels[0].shape),
            *(Level(f"z{number}", (maps, *size.sides)) for number, size in enumerate(places, 2)),
        )
        self.end = places[-1].shape

    @property
    def state_shape(self) -> tuple[int, ...]:
        """``[C, H, W]`` of the finest features."""
        return self.end

    @property
    def noise_dim(self) -> int:
        """N, with what the prior of the vector takes."""
        return self.top.noise_dim + self._of_maps

    @property
    def infer_dim(self) -> int:
        """N, a number for each latent."""
        return self.top.infer_dim + self._of_maps

    @property
    def _of_maps(self) -> int:
        return sum(level.size for level in self.levels[1:])

    @property
    def invertible(self) -> bool:  # type: ignore[override]
        """Whether the prior of the vector is."""
        return self.top.invertible

    @property
    def finds_noise(self) -> bool:
        """Every prior finds it."""
        return True

    def prepare(self, images: ResidentImages) -> None:
        """The beginning of the prior of the vector."""
        self.top.prepare(images)

    def descend(
        self, vector: Tensor, context: Context | None, choose: Choose
    ) -> tuple[list[Tensor], Tensor]:
        """The way down from the first level.

        Args:
            vector: its latents ``[R, Z]``.
            context: of the rows.
            choose: tells the latents ``[R, Z, H, W]`` of each level of maps.

        Returns:
            These latents, and where the way ends ``[R, C, H, W]``.
        """
        stream = self.stem(vector.to(self.stem.dense.weight.dtype), context)
        found = []
        for number, (ascent, rung) in enumerate(zip(self.ascents, self.rungs, strict=True)):
            stream = ascent(stream)
            assert isinstance(rung, Rung)
            found.append(choose(number, rung, stream, rung.prior(stream, context)))
            stream = rung.onward(stream, found[-1], context)
        return found, stream

    def _split(self, noise: Tensor, of_vector: int) -> tuple[Tensor, list[Tensor]]:
        """Noise ``[R, N]`` of the vector, and as maps of each level below."""
        sizes = [level.size for level in self.levels[1:]]
        vector, *maps = torch.split(noise, [of_vector, *sizes], 1)
        levels = zip(maps, self.levels[1:], strict=True)
        return vector, [part.reshape(-1, *level.shape) for part, level in levels]

    def infer(
        self,
        features: Features,
        noise: Tensor,
        context: Context | None,
        draws: int | None = None,
        densities: bool = False,
    ) -> tuple[Draw, ...]:
        """Draws of every level; the rates of maps are in closed form, by map ``[B, Z]``."""
        size, shape = self.top.infer_dim, noise.shape[:-1]
        (top,) = self.top.infer(features, noise[..., :size], context, draws, densities)
        _, parts = self._split(noise.flatten(0, -2), size)
        if draws is not None and context is not None:
            context = context.repeated(draws)
        found: list[Draw] = []

        def choose(number: int, rung: Rung, stream: Tensor, prior: DiagonalGaussian) -> Tensor:
            seen = features[self.sources[number]]
            posterior = rung.posterior(stream, seen, context, draws)
            with full_precision(stream.device.type):
                z = posterior.sample(parts[number].to(posterior.mean.dtype))
                found.append(drawn(self.levels[number + 1].name, z, posterior, prior, densities))
            return z

        _, state = self.descend(top.rows, context, choose)
        below = [by_example(draw, shape) for draw in found]
        below[-1] = below[-1]._replace(state=state)
        return (top._replace(level=self.levels[0].name), *below)

    def draw(self, noise: Tensor, context: Context | None) -> Latents:
        """Each level by its prior, given those before."""
        vector, parts = self._split(noise, self.top.noise_dim)
        (top,) = self.top.draw(vector, context)
        below, _ = self.descend(
            top, context, lambda number, _, __, prior: prior.sample(parts[number])
        )
        return (top, *below)

    def state(self, latents: Latents, context: Context | None) -> Tensor:
        """Where the way down ends ``[R, C, H, W]``."""
        return self.descend(latents[0], context, lambda number, *_: latents[number + 1])[1]

    def posteriors(self, features: Features, context: Context | None) -> tuple[Posterior, ...]:
        """Of every level, given the means of those before."""
        (top,) = self.top.posteriors(features, context)
        found: list[Posterior] = [top]

        def choose(number: int, rung: Rung, stream: Tensor, _: DiagonalGaussian) -> Tensor:
            found.append(rung.posterior(stream, features[self.sources[number]], context))
            return found[-1].mean

        self.descend(top.mean, context, choose)
        return tuple(found)

    def whiten(self, latents: Latents, context: Context | None) -> Tensor:
        """The noise of every level ``[R, N]``."""
        return self._noise(self.top.whiten(latents[:1], context), latents, context)

    def noise_for(self, latents: Latents, context: Context | None) -> Tensor:
        """A noise of every level ``[R, N]``."""
        return self._noise(self.top.noise_for(latents[:1], context), latents, context)

    def _noise(self, of_vector: Tensor, latents: Latents, context: Context | None) -> Tensor:
        parts = [of_vector]

        def choose(number: int, _: Rung, __: Tensor, prior: DiagonalGaussian) -> Tensor:
            z = latents[number + 1]
            noise = (z - prior.mean) * torch.exp(-0.5 * prior.log_variance)
            parts.append(noise.flatten(1))
            return z

        self.descend(latents[0], context, choose)
        return torch.cat(parts, 1)
