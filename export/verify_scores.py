"""Whether score.onnx scores as the trained model does, by running both.

Legend: B batch.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.draws.normals import standard_normal
from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.errors import DistvaeError
from distvae.evaluation.anomaly import Scores, scores_of, scores_of_terms
from distvae.export.parity import (
    MOST,
    REPORT,
    SEED,
    TOLERANCE,
    Advance,
    Parity,
    on_device,
    torch_means,
)
from distvae.export.scorer import Scorer
from distvae.export.ties import ties_of
from distvae.export.turns import NOISES, Given, given_in, turns
from distvae.models import VAE

MOVES = 3
"""Of the features, each at random."""
Found = tuple[NDArray[np.float32], ...]
"""Distortion, rate and score ``[B]``."""


def scorer(path: Path, model: VAE, advance: Advance) -> Iterator[Parity]:
    """Scores of what the model draws and of noise; errors are relative where values exceed one.

    The features that an encoder gives may be off by ``TOLERANCE``. Densities of narrow components,
    of which a rate is the difference, amplify that: a score may be off by what the model itself
    makes of features that are so far off.

    Raises:
        DistvaeError: one is off by more, or by more than ``MOST``.
    """
    opened = Scorer(path, verify=True)
    noise = standard_normal(SEED, 0, NOISES, model.latents.noise_dim)
    made_up, ties = model.domain.made_up(SEED, NOISES // 2), ties_of(model)
    for turn in range(turns(model)):
        given = given_in(model, turn)
        stored = model.domain.to_stored(torch.from_numpy(torch_means(model, noise, given)))
        stored[: len(made_up)] = torch.from_numpy(made_up)
        expected, limits = expected_scores(model, stored, given)
        found = opened.scores(stored.numpy(), given.asked())
        for number, name in enumerate(found._fields):
            off = _apart(found[number], expected[number])
            off = ties.but_for_examples(off, limits[number]) if ties else off
            error = float(off.max())
            if not error <= limits[number]:
                worst = int(np.argmax(off))
                raise DistvaeError(
                    f"{path} does not score as the model does: {name} of image {worst} is "
                    f"{found[number][worst]:.6f} and {expected[number][worst]:.6f} in torch",
                    f"at most {limits[number]:.1e} of difference was expected, found {error:.1e}",
                    REPORT,
                )
            yield Parity(error, float(off.mean()), None, 0 if number else len(off))
        advance(NOISES)


@torch.no_grad()
def expected_scores(model: VAE, stored: torch.Tensor, given: Given) -> tuple[Found, list[float]]:
    """Scores by the trained model, and by how much a file may miss each of the three."""
    inputs, context = on_device(model, model.domain.to_expected_input(stored), given)
    expected = _arrays(scores_of(model, inputs, context))
    features, limits = model.features(inputs, context), [TOLERANCE] * len(expected)
    nothing = inputs.new_zeros(len(inputs), model.latents.infer_dim)
    for seed in range(MOVES):
        random = Numbers(seed, Stream.ROUNDING)
        moved = tuple(
            each * (1.0 + TOLERANCE * _signs(random, each.shape).to(each)) for each in features
        )
        terms = model.terms_given(moved, inputs, context, nothing)
        found = _arrays(scores_of_terms(model, inputs, terms))
        pairs = zip(limits, found, expected, strict=True)
        limits = [max(limit, float(_apart(*pair).max())) for limit, *pair in pairs]
    return expected, [min(limit, MOST) for limit in limits]


def _arrays(scores: Scores) -> Found:
    return tuple(each.float().cpu().numpy() for each in scores)


def _signs(random: Numbers, shape: torch.Size) -> torch.Tensor:
    return torch.from_numpy(random.integers(0, 2, tuple(shape)) * 2 - 1)


def _apart(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float32]:
    """Differences ``[B]``, relative where values exceed one."""
    off: NDArray[np.float32] = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    return off
