"""What is not known of pictures, and all that it may be.

Legend: B pictures, A attributes of the model.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from distvae.asking import example_flag
from distvae.attributes import Attribute, named
from distvae.errors import DistvaeError

MOST = 256
"""Combinations of what is not known that are tried."""


def each_value(attributes: Sequence[Attribute], given: Tensor) -> tuple[Tensor, int]:
    """Rows for all that pictures may be, as many for each.

    Where something is known of some pictures and not of others, these have rows that are alike.

    Args:
        attributes: of the model.
        given: what it is given ``[B, A]``, NaN where that is not known; an attribute that examples
            lacked in training stays so.

    Returns:
        ``[B * rows, A]``, and how many rows a picture has.

    Raises:
        DistvaeError: it is too much to try.
    """
    asked = [place for place in _needed(attributes) if bool(given[:, place].isnan().any())]
    several = _combinations([attributes[place] for place in asked])
    values = given.repeat_interleave(len(several), 0)
    turn = torch.tensor(several, dtype=values.dtype, device=values.device).repeat(len(given), 1)
    for number, place in enumerate(asked):
        column = values[:, place]
        values[:, place] = torch.where(column.isnan(), turn[:, number], column)
    return values, len(several)


def most_values(attributes: Sequence[Attribute]) -> int:
    """How many rows a picture has at most."""
    return min(MOST, math.prod(len(attributes[place].labels) for place in _needed(attributes)))


def _needed(attributes: Sequence[Attribute]) -> list[int]:
    """The places of labels that a model must be given."""
    return [place for place in named(attributes) if not attributes[place].missing]


def _combinations(attributes: Sequence[Attribute]) -> list[tuple[int, ...]]:
    """All that some attributes may be together.

    Raises:
        DistvaeError: it is too much to try.
    """
    count = math.prod(len(each.labels) for each in attributes)
    if count > MOST:
        names = ", ".join(each.name for each in attributes)
        raise DistvaeError(
            f"what is not known has {count:,} values ({names})",
            f"the model tries all of them, at most {MOST:,}",
            f"Name it: {example_flag(attributes)}",
        )
    return list(itertools.product(*(range(len(each.labels)) for each in attributes)))
