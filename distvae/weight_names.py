"""Names of weights in files, where the modules that hold them have others.

Files name the parts of a vector of Gaussian latents as they did before there were other latents, so
that models, checkpoints and checksums of any age mean the same.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

NAMES = {
    "latents.prior.": "prior.",
    "latents.to_posterior.": "to_posterior.",
    "latents.flow.": "flow.",
    "latents.head.dense.": "encoder.dense.",
    "latents.head.modulation.": "encoder.modulation.",
    "decoder.stem.dense.": "decoder.dense.",
    "decoder.stem.modulation.": "decoder.modulation.",
    "decoder.stem.expand.": "decoder.expand.",
}
"""Beginnings of names in a model, and in its files."""

TENFOLD = {
    "prior.mean": "prior.means",
    "prior.log_diagonal": "prior.log_diagonals",
    "prior.off_diagonal": "prior.off_diagonals",
    "prior.log_variance": "prior.log_variances",
    "prior.logits": "prior.weight_logits",
}
"""Weights that earlier versions kept at a tenth, so that they learned faster; their names now."""
Entry = TypeVar("Entry")


def named_as_now(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """What a file of any age holds, by the names of this version."""
    return {TENFOLD.get(name, name): entry for name, entry in entries.items()}


def brought_up_to_date(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a file of any age, by the names and of the size of this version."""
    whole = {name: 10.0 * one if name in TENFOLD else one for name, one in tensors.items()}
    return named_as_now(whole)


def in_files(name: str) -> str:
    """The name in files of a model's parameter."""
    return _renamed(name, NAMES)


def follow(model: nn.Module) -> None:
    """Let ``state_dict`` and ``load_state_dict`` of a model speak as its files do."""
    model.register_state_dict_post_hook(_as_in_files)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_pre_hook(_as_in_modules)  # type: ignore[no-untyped-call]


def _renamed(name: str, names: Mapping[str, str]) -> str:
    beginning = next((old for old in names if name.startswith(old)), None)
    return name if beginning is None else names[beginning] + name.removeprefix(beginning)


def _as_in_files(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    _rename(state, prefix, NAMES)


def _as_in_modules(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    _rename(state, prefix, {there: here for here, there in NAMES.items()})


def _rename(state: dict[str, Any], prefix: str, names: Mapping[str, str]) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + _renamed(name.removeprefix(prefix), names)] = state.pop(name)
