"""What an example is described by: labels and real numbers, each with a name. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from distvae.text import counted

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


def main_label(attributes: Sequence[Attribute]) -> int | None:
    """The place of the first attribute with labels, which stand for all where one is looked at."""
    return next((place for place, each in enumerate(attributes) if each.labels), None)


def named(attributes: Sequence[Attribute]) -> list[int]:
    """The places of all attributes with labels."""
    return [place for place, each in enumerate(attributes) if each.labels]


def labels_counted(attributes: Sequence[Attribute]) -> str:
    """How many labels and numbers there are, for people."""
    if not attributes or is_label(attributes):
        return counted(len(attributes[0].labels) if attributes else 0, "labels")
    return ", ".join(
        f"{each.name} of {counted(len(each.labels), 'labels')}"
        if each.labels
        else f"{each.name}, a number"
        for each in attributes
    )


def values_of(attribute: Attribute) -> str:
    """The labels of an attribute, or about where its numbers lie, for people."""
    gaps = ", or not known" if attribute.missing else ""
    if attribute.labels:
        return f"{', '.join(attribute.labels)}{gaps}"
    return f"a number, mean {attribute.mean:.4g}, deviation {attribute.scale:.4g}{gaps}"


def example_of(attributes: Sequence[Attribute]) -> list[str] | dict[str, str | float]:
    """What to ask for, as an example: the first labels, and numbers at their mean."""
    if is_label(attributes):
        return [attributes[0].labels[0]]
    return {
        each.name: each.labels[0] if each.labels else float(f"{each.mean:.3g}")
        for each in attributes
    }


def label_attribute(names: Sequence[str]) -> tuple[Attribute, ...]:
    """The attributes of a model that is given one label, or of one that is given nothing."""
    return (Attribute(LABEL, tuple(names)),) if names else ()
