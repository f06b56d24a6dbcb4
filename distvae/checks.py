"""What callers hand to a model, checked before it computes; training does without.

Values are looked at, which waits for the device. Where torch compiles or exports a model they have
none yet, and only types and shapes are looked at.

Legend: B batch, K samples of one posterior, C channels, H height, W width, Z latent dimensions.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.attribute_values import Given, asked_values
from distvae.attributes import Attribute, is_label
from distvae.conditions import Conditions, in_turn
from distvae.domains.base import refuse_other_types
from distvae.errors import DistvaeError
from distvae.labels import Labels, is_one, label_indices, numbers_of
from distvae.ranges import whole_number
from distvae.text import shortened

Asked = Callable[[Tensor], Conditions | None]
"""What each image to draw is given, by its number int64 ``[B]``."""


def checked_noise(
    noise: Tensor,
    name: str,
    shape: Sequence[int],
    rows: int | None = None,
    draws: int | None = None,
) -> Tensor:
    """Noise or latents as they are.

    Args:
        noise: ``[B, *S]``, floating point; ``[B, K, *S]`` where K draws are asked for.
        name: of the argument.
        shape: S.
        rows: B, where it is known.
        draws: K, None for one draw without an axis of its own.

    Raises:
        DistvaeError: they are something else, or not finite.
    """
    refuse_other_types(noise, name, "")
    sides = [*([] if draws is None else [draws]), *shape]
    if list(noise.shape[1:]) != sides or rows not in (None, *noise.shape[:1]):
        expected = ", ".join(map(str, ["B" if rows is None else rows, *sides]))
        by_name = noise.dim() == 3 and draws is None and rows is not None
        raise DistvaeError(
            f"{name} has shape {list(noise.shape)}",
            f"expected [{expected}] for this model",
            f"K draws are asked for by name: draws={noise.shape[1]}." if by_name else "",
        )
    if not torch.compiler.is_compiling() and not bool(torch.isfinite(noise.detach()).all()):
        raise DistvaeError(f"{name} is not finite", "expected numbers, no NaN or inf")
    return noise


def checked_latents(
    z: Tensor | Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
) -> tuple[Tensor, ...]:
    """Latents of each level, as they are.

    Args:
        z: ``[B, *S]`` of a single level, or a mapping from the names of all levels.
        shapes: S of each level by name.

    Raises:
        DistvaeError: a level is missing or unknown, a tensor is of another type or shape or not
            finite.
    """
    if not isinstance(z, Mapping) and len(shapes) == 1:
        (shape,) = shapes.values()
        return (checked_noise(z, "z", shape),)
    if not isinstance(z, Mapping) or z.keys() != shapes.keys():
        given = f"of {', '.join(map(str, z))}" if isinstance(z, Mapping) else "one tensor"
        raise DistvaeError(
            f"z is {given}",
            f"this model has latents of the levels {', '.join(shapes)}",
            f"Give z={{{', '.join(f'{name!r}: ...' for name in shapes)}}}.",
        )
    rows = len(z[next(iter(shapes))])
    return tuple(checked_noise(z[name], f"z[{name!r}]", s, rows) for name, s in shapes.items())


def checked_labels(
    labels: Labels | None, names: Sequence[str], rows: int, device: torch.device
) -> Tensor | None:
    """Indices of the labels of some images, int64 ``[B]``; None for a model without labels.

    Args:
        labels: by name or number, one for each image or one for all.
        names: of the model's labels; empty for a model without.
        rows: B.
        device: on which the indices shall be.

    Raises:
        DistvaeError: a label is missing, unknown, too many, or one that the model does not take.
    """
    if labels is None:
        if not names:
            return None
        raise DistvaeError(
            "labels are missing",
            f"this model knows {len(names)} labels and takes that of each image",
            "Give one label, or one for each image.",
        )
    if not names:
        raise DistvaeError(
            "labels were given to a model without", "it was trained without them", "Leave them out."
        )
    if torch.compiler.is_compiling() and isinstance(labels, Tensor):
        numbers = torch.from_numpy(numbers_of(names)).to(device)
        return (labels.unsqueeze(1) == numbers).int().argmax(1)
    indices = torch.from_numpy(label_indices(labels, names)).to(device)
    if is_one(labels):
        return indices.expand(rows)
    if len(indices) != rows:
        raise DistvaeError(f"there are {len(indices)} labels", f"expected {rows}, one an image")
    return indices


def checked_conditions(
    labels: Labels | None, attributes: Sequence[Attribute], rows: int, device: torch.device
) -> Conditions | None:
    """Conditions of some examples ``[B, A]``; None for a model that is given nothing.

    Args:
        labels: as for :func:`checked_labels`, or of several attributes a mapping from their names,
            each value for one example each or for all.
        attributes: of the model.
        rows: B.
        device: on which the conditions shall be.

    Raises:
        DistvaeError: as :func:`asked_conditions` does, or values are missing or too many.
    """
    if not isinstance(labels, Mapping) and (not attributes or is_label(attributes)):
        names = attributes[0].labels if attributes else ()
        return Conditions.of_labels(checked_labels(labels, names, rows, device))
    asked = asked_conditions({} if labels is None else labels, attributes).to(device)
    if len(asked.known) not in (1, rows):
        raise DistvaeError(f"there are {len(asked.known)} values", f"expected {rows}, one an image")
    return asked.at(torch.zeros(rows, dtype=torch.int64)) if len(asked.known) == 1 else asked


def asked_conditions(labels: Labels, attributes: Sequence[Attribute]) -> Conditions:
    """What was asked for ``[N, A]``: labels by name or number, or a mapping of attributes to them.

    Raises:
        DistvaeError: an unknown attribute or label, one missing that no example lacked, something
            that is no number, or attributes with different numbers of values.
    """
    if not isinstance(labels, Mapping):
        if attributes and not is_label(attributes):
            example = ", ".join(f"{each.name!r}: ..." for each in attributes)
            raise DistvaeError(
                f"labels are {shortened(repr(labels))}",
                f"this model is given {len(attributes)} attributes and takes them by name",
                f"Give labels={{{example}}}.",
            )
        names = attributes[0].labels if attributes else ()
        result = Conditions.of_labels(torch.from_numpy(label_indices(labels, names)))
        assert result is not None
        return result
    return _conditions(asked_values(labels, attributes))


def given_images(given: Given) -> Asked:
    """What each image is given, by its number, as conditions."""
    return lambda images: _conditions(given(images.numpy()))


def asked_images(
    labels: Labels | None, n: int, attributes: Sequence[Attribute]
) -> tuple[int, Asked]:
    """How many images to draw, ``n`` of what was asked for, and what each is given, by its number.

    Raises:
        DistvaeError: as :func:`asked_conditions` does.
    """
    n = whole_number(n, "n", 0)
    if labels is None:
        return n, lambda images: in_turn(attributes, images)
    asked = asked_conditions(labels, attributes)
    return n * len(asked.known), lambda images: asked.at(images // n)


def _conditions(values: NDArray[np.float32]) -> Conditions:
    result = Conditions.of_examples(None, torch.from_numpy(values))
    assert result is not None
    return result
