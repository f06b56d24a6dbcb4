"""A trained model in the form that inference runtimes do best: the same function."""

import copy
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


@runtime_checkable
class Simplifies(Protocol):
    """A part with a simpler form once nothing is trained any more."""

    def simplified(self) -> nn.Module:
        """That form; the parts of this one have taken theirs already."""


@torch.no_grad()
def for_inference(model: Module) -> Module:
    """A copy of a model, on the CPU and in evaluation mode, of simpler parts."""
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    _simplify(model)
    return model


def _simplify(parent: nn.Module) -> None:
    for name, part in list(parent.named_children()):
        _simplify(part)
        if isinstance(part, Simplifies):
            setattr(parent, name, part.simplified())
