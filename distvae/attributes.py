"""What an example is described by: labels and real numbers, each with a name. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

LABEL = "label"
"""Name of the attribute of a model that has one."""


@dataclass(frozen=True)
class Attribute:
    """One thing that an example is given."""

    name: str
    labels: tuple[str, ...] = ()
    """Names of its labels, by index; none where it is a real number."""
    mean: float = 0.0
    """Of a real number, over the training examples."""
    scale: float = 1.0
    """Standard deviation of a real number, over the training examples."""
    missing: bool = False
    """Whether some examples lack it."""


def is_label(attributes: Sequence[Attribute]) -> bool:
    """Whether these are one label that every example has, which then needs no name."""
    return len(attributes) == 1 and bool(attributes[0].labels) and not attributes[0].missing


def label_attribute(names: Sequence[str]) -> tuple[Attribute, ...]:
    """The attributes of a model that is given one label, or of one that is given nothing."""
    return (Attribute(LABEL, tuple(names)),) if names else ()
