"""How much of examples each coordinate of the space in which a prior is even carries.

Legend: N examples, K draws, D coordinates.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.latents import Latents
from distvae.places import evenly
from distvae.terminal import progress_bar
from distvae.tools.batches import Seen, batches
from distvae.tools.examples import Examples
from distvae.tools.trained import Trained
from distvae.tools.whitened import Whitened

MOST = 2000
"""Examples, taken evenly."""
DRAWS = 16
"""Of each posterior, where the rate is estimated."""


class Rates(NamedTuple):
    """Of each coordinate."""

    nats: NDArray[np.float64]
    """Mean KL of posterior to prior ``[D]``."""
    means: NDArray[np.float64]
    """Coordinates of the posterior means ``[N, D]``."""
    exact: bool
    """Whether the rate is in closed form; else it is that of a Gaussian with the moments of draws,
    against N(0, 1)."""
    size: int
    """N."""

    @property
    def order(self) -> NDArray[np.int64]:
        """Coordinates by their rate, the largest first ``[D]``."""
        return np.argsort(-self.nats, kind="stable")


@torch.no_grad()
def rates(trained: Trained, examples: Examples, space: Whitened) -> Rates:
    """Of at most ``MOST`` examples.

    Args:
        trained: the model.
        examples: what is encoded.
        space: of the model.
    """
    chosen = some(examples)
    sums, means, exact = [], [], True
    with progress_bar("encoding", len(chosen)) as advance:
        for seen in batches(trained, chosen, advance=advance):
            found, exact = _of(trained, seen, space)
            sums.append(found.double().sum(0))
            latents = trained.model.means(seen.expected, seen.context)
            means.append(space.of(latents, seen.context).double().cpu().numpy())
    chosen.refuse_none()
    whole = np.concatenate(means)
    nats = (torch.stack(sums).sum(0) / len(whole)).cpu().numpy()
    return Rates(nats, whole, exact, len(whole))


def some(examples: Examples) -> Examples:
    """At most ``MOST`` of some examples."""
    if len(examples) <= MOST:
        return examples
    rows = evenly(len(examples), MOST)
    return examples.only(rows)


def _of(trained: Trained, seen: Seen, space: Whitened) -> tuple[Tensor, bool]:
    """Rates of some examples ``[B, D]``, and whether they are in closed form."""
    terms = trained.model.terms(seen.batch)
    if terms.rate.shape[1] == len(space.names) and space.by_dimension:
        return terms.rate, True
    return _estimated(trained, seen, space), False


def _estimated(trained: Trained, seen: Seen, space: Whitened) -> Tensor:
    """KL to N(0, 1) of Gaussians with the moments of whitened draws ``[B, D]``."""
    model = trained.model
    noise = NoiseSource(
        0, Stream.EVALUATION, model.latents.infer_dim, None, model.device, draws=DRAWS
    ).draw(0, slice(0, len(seen.expected)))
    features = model.features(seen.expected, seen.context)
    drawn = model.latents.infer(features, noise.noise, seen.context, DRAWS)
    latents: Latents = tuple(draw.rows for draw in drawn)
    context = None if seen.context is None else seen.context.repeated(DRAWS)
    coordinates = space.of(latents, context).double().view(len(seen.expected), DRAWS, -1)
    mean, variance = coordinates.mean(1), coordinates.var(1).clamp_min(1e-12)
    return 0.5 * (variance + mean.square() - 1.0 - variance.log())
