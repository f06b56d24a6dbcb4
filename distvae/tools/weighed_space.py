"""The space in which a prior is even, by a model's weights.

Legend: N examples, B of a block, R rows, K draws, D coordinates, S the axes of an example, A
attributes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.attribute_values import Values
from distvae.blocks import in_blocks
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.evaluation.passes import BLOCK
from distvae.latents import Latents
from distvae.terminal import progress_bar
from distvae.tools.batches import Seen, batches, context_of
from distvae.tools.examples import Examples
from distvae.tools.space import Located, Made, Points, Rates, Space, some
from distvae.tools.trained import Trained
from distvae.tools.whitened import whitened

DRAWS = 16
"""Of each posterior, where the rate is estimated."""


class WeighedSpace(Space):
    """Coordinates by :mod:`distvae.tools.whitened`.

    Raises:
        DistvaeError: the model has no such space.
    """

    def __init__(self, trained: Trained) -> None:
        self._trained, self._model = trained, trained.model
        self._whitened = whitened(trained.model)
        self.told, self.names = self._whitened.told, self._whitened.names

    @property
    def noise_dim(self) -> int:
        """That of the model."""
        return self._model.latents.noise_dim

    @torch.no_grad()
    def located(self, examples: Examples, seed: int = 0) -> Located:
        """By the model's encoder."""
        points, given, stored, rows = [], [], [], []
        for seen in batches(self._trained, examples, seed):
            points.append(self._means(seen))
            given.append(seen.part.given)
            stored.append(seen.part.stored)
            rows.append(seen.part.rows)
        examples.refuse_none()
        known = [each for each in given if each is not None]
        values = np.concatenate(known) if known else None
        return Located(np.concatenate(points), values, np.concatenate(stored), np.concatenate(rows))

    def _means(self, seen: Seen) -> Points:
        means = self._model.means(seen.expected, seen.context)
        return _array(self._whitened.of(means, seen.context))

    @torch.no_grad()
    def of_noise(self, noise: NDArray[np.float32], given: Values | None) -> Points:
        """By the model's own draws."""
        context = context_of(self._model, given, len(noise))
        latents = self._model.latents.draw(self._tensor(noise), context)
        return _array(self._whitened.of(latents, context))

    @torch.no_grad()
    def made(self, points: Points, given: Values | None) -> Made:
        """By the model's decoder."""
        model, rows = self._model, self._tensor(points)

        def compute(part: slice) -> Tensor:
            own = rows[part]
            known = given[part] if given is not None and len(given) > 1 else given
            context = context_of(model, known, len(own))
            values: Tensor = model.render(self._whitened.latents(own, context), context)
            return values

        values = torch.cat([*in_blocks(compute, range(len(rows)), BLOCK, model.device)])
        stored = model.domain.to_stored(values).cpu().numpy()
        return Made(stored, values.float().cpu().numpy())

    @torch.no_grad()
    def quantiles(self, shares: Sequence[float], given: Values | None) -> Points:
        """Of the prior."""
        return self._whitened.quantiles(shares, context_of(self._model, given, 1))

    @torch.no_grad()
    def along(
        self, axis: NDArray[np.float64], shares: Sequence[float], given: Values | None
    ) -> NDArray[np.float64]:
        """Of the prior."""
        return self._whitened.along(axis, shares, context_of(self._model, given, 1))

    @torch.no_grad()
    def rates(self, examples: Examples) -> Rates:
        """In closed form where the model has one for each coordinate, else estimated."""
        chosen = some(examples)
        sums, means, exact = [], [], True
        with progress_bar("encoding", len(chosen)) as advance:
            for seen in batches(self._trained, chosen, advance=advance):
                found, exact = self._of(seen)
                sums.append(found.double().sum(0))
                means.append(self._means(seen))
        chosen.refuse_none()
        whole = np.concatenate(means)
        nats = (torch.stack(sums).sum(0) / len(whole)).cpu().numpy()
        return Rates(nats, whole, exact)

    def _of(self, seen: Seen) -> tuple[Tensor, bool]:
        """Rates of some examples ``[B, D]``, and whether they are in closed form."""
        terms = self._model.terms(seen.batch)
        if terms.rate.shape[1] == len(self.names) and self._whitened.by_dimension:
            return terms.rate, True
        return self._estimated(seen), False

    def _estimated(self, seen: Seen) -> Tensor:
        """KL to N(0, 1) of Gaussians with the moments of whitened draws ``[B, D]``."""
        model, count = self._model, len(seen.expected)
        dim = model.latents.infer_dim
        source = NoiseSource(0, Stream.EVALUATION, dim, None, model.device, draws=DRAWS)
        noise = source.draw(0, slice(0, count)).noise
        features = model.features(seen.expected, seen.context)
        drawn = model.latents.infer(features, noise, seen.context, DRAWS)
        latents: Latents = tuple(draw.rows for draw in drawn)
        context = None if seen.context is None else seen.context.repeated(DRAWS)
        points = self._whitened.of(latents, context).double().view(count, DRAWS, -1)
        mean, variance = points.mean(1), points.var(1).clamp_min(1e-12)
        return 0.5 * (variance + mean.square() - 1.0 - variance.log())

    def _tensor(self, rows: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(np.asarray(rows, np.float32)).to(self._model.device)


def _array(points: Tensor) -> Points:
    return points.double().cpu().numpy()
