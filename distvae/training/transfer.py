"""A new run that begins with the weights of another model: label by label, else by shape.

Legend: L labels, k entries of a label.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distvae.attributes import Attribute
from distvae.errors import DistvaeError
from distvae.models import VAE, build_model
from distvae.runs import find_run
from distvae.tensors import checksum
from distvae.weightless import weightless

INIT_FROM = "init_from"
"""Under this key config.json tells where the weights came from."""
SHOWN = 6
"""Names of tensors that are told; config.json has them all."""


class LabelAxis(NamedTuple):
    """Where a tensor has its entries of labels: the last L k of an axis, label by label."""

    axis: int
    each: int

    def fixed(self, tensor: Tensor, labels: int) -> int:
        """Entries of the axis that belong to no label, which come first."""
        return tensor.shape[self.axis] - self.each * labels

    def of_label(self, tensor: Tensor, number: int, labels: int) -> Tensor:
        """The entries of a label, a view."""
        start = self.fixed(tensor, labels) + self.each * number
        return tensor.narrow(self.axis, start, self.each)


@dataclass(frozen=True)
class Transfer:
    """What a model took from another."""

    source: str
    weights_sha256: str
    """Of the tensors there."""
    taken: tuple[str, ...]
    """Tensors that have values from there, of labels those that both know."""
    fresh: tuple[str, ...]
    """Tensors that have none."""
    labels: tuple[str, ...]
    """Labels that both know, where there are tables of labels."""
    new_labels: tuple[str, ...]
    """Labels that only the new model knows."""

    def lines(self) -> Iterator[str]:
        """What was taken and what was left fresh, for the person who started it."""
        count = len(self.taken) + len(self.fresh)
        yield f"weights of {self.source}: {len(self.taken)} of {count} tensors taken"
        if self.labels:
            yield f"  labels taken by name: {_some(self.labels)}"
        if self.new_labels:
            yield f"  labels left fresh: {_some(self.new_labels)}"
        if self.fresh:
            yield f"  tensors left fresh: {_some(self.fresh)}"

    def record(self) -> dict[str, Any]:
        """As config.json holds it."""
        return dataclasses.asdict(self)


@dataclass(eq=False)
class Origin:
    """The model that a run begins from."""

    source: str
    model: VAE
    transfer: "Transfer | None" = None
    """What was taken, once it was."""

    @classmethod
    def of(cls, name: str, weights_sha256: str | None = None) -> "Origin":
        """A run, a checkpoint, or what ``save_pretrained`` wrote.

        Args:
            name: its folder.
            weights_sha256: of the weights that are expected there; None for any.

        Raises:
            DistvaeError: there is none, it is damaged, or it has other weights than expected.
        """
        model = VAE.from_pretrained(find_run(name).model)
        if weights_sha256 not in (None, checksum(model.state_dict())):
            raise DistvaeError(
                f"{name} has other weights than when the run was begun from it",
                "the run has no checkpoint yet, so it must begin from the same ones again",
                "Start anew with --overwrite.",
            )
        return cls(name, model)

    @torch.no_grad()
    def fill(self, model: VAE) -> Transfer:
        """Give a new model what fits it, and note it.

        Raises:
            DistvaeError: no weights of a layer fit, so that nothing would be gained.
        """
        there, here = self.model.state_dict(), model.state_dict()
        axes = label_axes(self.model) | label_axes(model)
        other = _of_other_attributes(self.model, model)
        taken = [
            name
            for name, tensor in here.items()
            if name in there
            and name not in other
            and self._take(tensor, there[name], axes.get(name), model)
        ]
        if not any(here[name].dim() > 1 for name in taken):
            raise DistvaeError(
                f"nothing of {self.source} fits this model",
                f"it is {describe(self.model)}, and the new one {describe(model)}",
                "Leave out the flags of the parts, which are then those of --init-from, or make "
                "them the same.",
            )
        tables = bool(axes.keys() & set(here))
        known = self.model.label_names if tables else ()
        self.transfer = Transfer(
            self.source,
            checksum(there),
            tuple(taken),
            tuple(name for name in here if name not in taken),
            tuple(name for name in model.label_names if name in known),
            tuple(name for name in model.label_names if tables and name not in known),
        )
        return self.transfer

    def _take(self, new: Tensor, old: Tensor, axis: LabelAxis | None, model: VAE) -> bool:
        """Copy what fits into ``new``; whether there was anything."""
        if axis is None:
            if new.shape == old.shape:
                new.copy_(old)
            return new.shape == old.shape
        counts = _labels(model), _labels(self.model)
        fixed = axis.fixed(new, counts[0])
        beside = [
            [*tensor.shape[: axis.axis], *tensor.shape[axis.axis + 1 :]] for tensor in (new, old)
        ]
        if beside[0] != beside[1] or fixed != axis.fixed(old, counts[1]):
            return False
        new.narrow(axis.axis, 0, fixed).copy_(old.narrow(axis.axis, 0, fixed))
        numbers = {name: number for number, name in enumerate(self.model.label_names)}
        shared = 0
        for number, name in enumerate(model.label_names if counts[0] else ()):
            if name in numbers and counts[1]:
                entries = axis.of_label(old, numbers[name], counts[1])
                axis.of_label(new, number, counts[0]).copy_(entries)
                shared += 1
        return fixed + shared > 0


def label_axes(model: VAE) -> dict[str, LabelAxis]:
    """The tensors that grow with the number of labels, found by building a model with one more.

    Of a model of several attributes there are none.
    """
    if not model.label_names:
        return {}
    longer = (*model.label_names, "".join(model.label_names) + "more")
    with weightless():
        other = build_model(model.config, model.domain, longer).state_dict()
    axes = {}
    for name, tensor in model.state_dict().items():
        for axis, (size, larger) in enumerate(zip(tensor.shape, other[name].shape, strict=True)):
            if larger != size:
                axes[name] = LabelAxis(axis, larger - size)
    return axes


def _of_other_attributes(old: VAE, new: VAE) -> set[str]:
    """The tensors that depend on attributes, where two models are not given the same ones."""
    given = [[(each.name, each.labels, each.missing) for each in m.attributes] for m in (old, new)]
    if given[0] == given[1] or all(
        model.label_names or not model.conditional for model in (old, new)
    ):
        return set()
    found = set()
    for model in (old, new):
        if model.conditional:
            more = (*model.attributes, Attribute("".join(each.name for each in model.attributes)))
            more = (*more, Attribute(more[-1].name + "label", ("only",)))
            config = dataclasses.replace(model.config, prior="normal")
            with weightless():
                sizes = [
                    build_model(config, model.domain, (), attributes=attributes).state_dict()
                    for attributes in (model.attributes, more)
                ]
            shapes = [{name: tensor.shape for name, tensor in each.items()} for each in sizes]
            found |= {name for name, shape in shapes[1].items() if shapes[0].get(name) != shape}
    return found | {name for name in new.state_dict() if name.startswith("prior.")}


def describe(model: VAE) -> str:
    """A model's parts and sizes, for messages."""
    config = model.config
    return (
        f"--model {config.model} --network {config.network} --width {config.width:g} "
        f"--latent-dim {config.latent_dim} of {model.domain.told}"
    )


def _labels(model: VAE) -> int:
    return len(model.label_names) if model.conditional else 0


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
