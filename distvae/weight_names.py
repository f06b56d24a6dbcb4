"""Names of weights in files, where the modules that hold them have others.

Files name the parts of a vector of Gaussian latents as they did before there were other latents, so
that models, checkpoints and checksums of any age mean the same.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

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


def in_files(name: str) -> str:
    """The name in files of a model's parameter."""
    return _renamed(name, NAMES)


def follow(model: nn.Module) -> None:
    """Let ``state_dict`` and ``load_state_dict`` of a model speak as its files do."""
    model.register_state_dict_post_hook(_as_in_files)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_pre_hook(_as_in_modules)  # type: ignore[no-untyped-call]


def _renamed(name: str, names: Mapping[str, str]) -> str:
    found = next((old for old in names if name.startswith(old)), None)
    return name if found is None else names[found] + name.removeprefix(found)


def _as_in_files(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    _rename(state, prefix, NAMES)


def _as_in_modules(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    _rename(state, prefix, {there: here for here, there in NAMES.items()})


def _rename(state: dict[str, Any], prefix: str, names: Mapping[str, str]) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + _renamed(name.removeprefix(prefix), names)] = state.pop(name)
