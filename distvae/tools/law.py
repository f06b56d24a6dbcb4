"""How pixels lie around a decoder's mean, counted on training pictures of a run."""

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.places import evenly
from distvae.tools.batches import batches
from distvae.tools.evidence import Counts, PixelLaw
from distvae.tools.examples import Examples, open_examples
from distvae.tools.reading import BLOCK
from distvae.tools.repairing import count_pixels
from distvae.tools.trained import Trained


@functools.lru_cache(1)
def law_of(trained: Trained, count: int) -> PixelLaw | None:
    """The law of a run's pixels; None where its training pictures are not at hand.

    Args:
        trained: the model.
        count: training pictures to look at, or a few more.
    """
    examples = _examples(trained)
    if examples is None:
        return None
    counts, done = Counts(), 0
    for seen in batches(trained, examples, size=min(count, BLOCK)):
        count_pixels(trained.model, seen.expected, seen.context, seen.batch.noise, counts)
        done += len(seen.part.rows)
        if done >= count:
            break
    return counts.law if done else None


def training_pictures(trained: Trained, count: int) -> NDArray[np.float32] | None:
    """Pictures of the training split in [0, 1], evenly from all ``[N, C, H, W]``.

    None where they are not at hand.
    """
    examples = _examples(trained)
    if examples is None:
        return None
    stored = torch.from_numpy(examples.at(evenly(len(examples), count)).stored)
    found: NDArray[np.float32] = trained.domain.to_expected_input(stored).float().numpy()
    return found


def _examples(trained: Trained) -> Examples | None:
    """The training split of a run; None where it is not at hand."""
    if trained.run is None or trained.run.bare:
        return None
    try:
        return open_examples(trained, None, "train", tell=False)
    except DistvaeError:
        return None
