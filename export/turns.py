"""What an exported file is compared with its model in: noises, each with every label in turn."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.asking import written
from distvae.attribute_values import all_in_turn, by_name
from distvae.attributes import Attribute
from distvae.labels import numbers_of
from distvae.models import VAE

NOISES = 256
"""Noise vectors, the same for every label."""
FULL_LABELS = 32
"""Up to so many labels every noise is drawn with every label; of more, each label is drawn once."""


def rounds(labels: int) -> int:
    """How many times the noises are drawn so that each of so many labels has its turn."""
    return min(max(labels, 1), max(FULL_LABELS, -(-labels // NOISES)))


class Given(NamedTuple):
    """What each noise ``[NOISES]`` is given in a turn."""

    values: NDArray[np.float32] | None
    """Indices of labels and numbers ``[NOISES, A]``, NaN for what is not known; None of nothing."""
    names: tuple[str, ...]
    """Of labels, where there is one for each."""
    attributes: tuple[Attribute, ...]
    """Where there is something else than one label."""

    def asked(self, part: slice = slice(None)) -> Any:
        """As a sampler is asked for it."""
        if self.values is None:
            return None
        values = self.values[part]
        if self.attributes:
            return by_name(values, self.attributes)
        return numbers_of(self.names)[values[:, 0].astype(np.int64)]

    def told(self, row: int) -> str:
        """What a row is given, for a message."""
        if self.values is None:
            return ""
        if not self.attributes:
            return f" of label {self.names[int(self.values[row, 0])]}"
        words = written(self.values[row : row + 1], self.attributes)
        pairs = zip(self.attributes, words, strict=True)
        return f" of {', '.join(f'{each.name}={word[0]}' for each, word in pairs)}"


def turns(model: VAE) -> int:
    """How many times the noises are drawn so that each label, or combination, has its turn."""
    if model.label_names or not model.attributes:
        return rounds(len(model.label_names))
    combinations = math.prod(len(each.labels) or 1 for each in model.attributes)
    return min(FULL_LABELS, -(-combinations // NOISES))


def given_in(model: VAE, turn: int) -> Given:
    """What each noise is given in a turn; over all each label meets each noise.

    Of several attributes a turn has as many combinations as noises; numbers go up and down, and one
    example in five lacks an attribute that may be missing.
    """
    if not model.attributes:
        return Given(None, (), ())
    images, names = np.arange(NOISES, dtype=np.int64), model.label_names
    if names:
        step = 1 if len(names) <= FULL_LABELS else NOISES
        labels = (images + turn * step) % len(names)
        return Given(labels[:, None].astype(np.float32), names, ())
    values = all_in_turn(model.attributes, images + turn * NOISES)
    for place, each in enumerate(model.attributes):
        if not each.labels:
            values[:, place] += np.float32(each.scale) * np.linspace(-2.0, 2.0, NOISES)
        if each.missing:
            values[place % 5 :: 5, place] = np.nan
    return Given(values, (), model.attributes)
