"""What examples are given, and the form in which a model's parts take it.

A model has attributes: labels and real numbers. :class:`Conditions` hold their values for a batch
and whether each is known. A :class:`Conditioner` makes a :class:`Context` of them: rows of the
tables that every part keeps, and numbers for its linear maps. A part adds up what its table has at
these rows, so one label is a row, several labels are a sum of rows, and a missing label is a row of
its own.

Legend: B batch, A attributes, L labels of all attributes together, N columns of numbers.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.attribute_values import all_in_turn
from distvae.attributes import Attribute, is_label


class Conditions(NamedTuple):
    """Attributes of examples."""

    values: Tensor
    """Index of a label, or a real number ``[B, A]``: int64 where all attributes are labels, else
    float32."""
    known: Tensor
    """bool ``[B, A]``; what stands in ``values`` for an attribute that is not known is no value."""

    @classmethod
    def of_labels(cls, labels: Tensor | None) -> Union["Conditions", None]:
        """One label for each example, int64 ``[B]``, -1 where it is not known."""
        return None if labels is None else cls(labels[:, None], labels[:, None] >= 0)

    @classmethod
    def of_examples(cls, labels: Tensor | None, values: Tensor | None) -> Union["Conditions", None]:
        """What examples are given.

        Args:
            labels: as :meth:`of_labels` takes them.
            values: of several attributes, float32 ``[B, A]``, NaN where one is not known; then
                ``labels`` are not looked at.
        """
        return cls.of_labels(labels) if values is None else cls(values, ~values.isnan())

    def to(self, device: torch.device) -> "Conditions":
        """The same on a device."""
        return Conditions(self.values.to(device), self.known.to(device))

    def at(self, rows: Tensor) -> "Conditions":
        """Those of some examples, int64 ``[B]``."""
        return Conditions(self.values[rows], self.known[rows])


class Context(NamedTuple):
    """Conditions in the form that networks and priors take."""

    rows: Tensor | None
    """Row of a part's table, int64 ``[B]``, or ``[B, A]`` of several attributes, whose rows are
    added up; None where all attributes are numbers."""
    numbers: Tensor | None = None
    """``[B, N]``, None where all attributes are labels."""

    @classmethod
    def of_label(cls, labels: Tensor | None) -> Union["Context", None]:
        """Of one label for each example that is always known, by index int64 ``[B]``."""
        return None if labels is None else cls(labels)

    def at(self, part: slice) -> "Context":
        """That of some examples."""
        return Context(*(None if each is None else each[part] for each in self))

    def repeated(self, count: int) -> "Context":
        """Each example's ``count`` times in a row."""
        return Context(
            *(None if each is None else each.repeat_interleave(count, 0) for each in self)
        )

    @property
    def label(self) -> Tensor:
        """Index of the one label, int64 ``[B]``."""
        assert self.rows is not None
        return self.rows


class ContextShape(NamedTuple):
    """What the contexts of a model hold."""

    rows: int = 0
    """L, and one more for each attribute that may be missing."""
    numbers: int = 0
    """N."""
    attributes: int = 0
    is_label: bool = True
    """Whether a context is one label that is always known, or nothing."""

    @property
    def width(self) -> int:
        """Columns of a context that is written out."""
        return self.rows + self.numbers


NOTHING = ContextShape()


class Conditioner(nn.Module):
    """Makes contexts of conditions.

    Labels of all attributes are numbered through; an attribute that may be missing has one number
    more, for that. A real number is standardized; one that may be missing has a second column, 1
    where it is known, and both are 0 where it is not.
    """

    of_labels: Tensor
    of_numbers: Tensor
    flagged: Tensor
    starts: Tensor
    unknown: Tensor
    scales: Tensor

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        super().__init__()
        labelled = [each for each in attributes if each.labels]
        measured = [each for each in attributes if not each.labels]
        flagged = [each for each in measured if each.missing]
        sizes = [len(each.labels) + each.missing for each in labelled]
        self.plain = is_label(attributes)
        self.shape = ContextShape(
            sum(sizes), len(measured) + len(flagged), len(attributes), self.plain or not attributes
        )
        tables = {
            "of_labels": [attributes.index(each) for each in labelled],
            "of_numbers": [attributes.index(each) for each in measured],
            "flagged": [attributes.index(each) for each in flagged],
            "starts": [0, *itertools.accumulate(sizes)][: len(sizes)],
            "unknown": [len(each.labels) for each in labelled],
        }
        for name, column in tables.items():
            self.register_buffer(name, torch.tensor(column, dtype=torch.int64), persistent=False)
        scales = [[each.mean for each in measured], [each.scale for each in measured]]
        self.register_buffer("scales", torch.tensor(scales), persistent=False)

    def forward(self, conditions: Conditions | None) -> Context | None:
        """The context of a batch; None of a model that is given nothing."""
        if conditions is None or not self.shape.width:
            return None
        values, known = conditions
        if self.plain:
            return Context(values[:, 0])
        rows = numbers = None
        if len(self.starts):
            there, labels = (part.index_select(1, self.of_labels) for part in (known, values))
            rows = torch.where(there, labels.long(), self.unknown) + self.starts
        if len(self.of_numbers):
            there, found = (part.index_select(1, self.of_numbers) for part in (known, values))
            mean, scale = self.scales
            standard = torch.where(there, (found - mean) / scale, 0.0)
            flags = known.index_select(1, self.flagged).to(standard.dtype)
            numbers = torch.cat([standard, flags], dim=1)
        return Context(rows, numbers)

    def of_label(self, labels: Tensor | None) -> Context | None:
        """The context of one label for each example, int64 ``[B]``, -1 where it is not known."""
        if self.plain:
            return Context.of_label(labels)
        context: Context | None = self(Conditions.of_labels(labels))
        return context


def in_turn(attributes: Sequence[Attribute], numbers: Tensor) -> Conditions | None:
    """Every combination of labels, by its number int64 ``[B]``; real numbers are at their mean.

    Numbers go round. The label of the last attribute changes with every number.
    """
    if not attributes:
        return None
    values = torch.from_numpy(all_in_turn(attributes, numbers.numpy()))
    if all(each.labels for each in attributes):
        values = values.long()
    return Conditions(values, torch.ones_like(values, dtype=torch.bool))


def summed(context: Context | None, table: Tensor | None, linear: Tensor | None = None) -> Tensor:
    """What a part has for a context ``[B, ...]``: the rows of its table, added up, and a product.

    Args:
        context: that of a batch.
        table: ``[L, ...]``, where the context has labels; its gradient is a fast, exact sum.
        linear: ``[F, N]``, where the context has numbers.
    """
    assert context is not None
    found = None
    if table is not None:
        assert context.rows is not None
        found = F.embedding(context.rows, table.flatten(1))
        if context.rows.dim() == 2:
            found = found.sum(1)
        found = found.view(context.rows.shape[0], *table.shape[1:])
    if linear is not None:
        assert context.numbers is not None
        product = F.linear(context.numbers.to(linear.dtype), linear)
        found = product if found is None else found + product
    assert found is not None
    return found


def written_out(context: Context | None, shape: ContextShape, like: Tensor) -> Tensor:
    """A context as columns ``[B, shape.width]`` of the type of ``like``: ones at rows; numbers."""
    assert context is not None
    columns = []
    if context.rows is not None:
        # one_hot reads the device on some of them
        ones = context.rows.unsqueeze(-1) == torch.arange(shape.rows, device=like.device)
        columns.append(ones if context.rows.dim() == 1 else ones.sum(1))
    if context.numbers is not None:
        columns.append(context.numbers)
    if len(columns) == 1:
        return columns[0].to(like.dtype)
    return torch.cat([column.to(like.dtype) for column in columns], dim=1)
