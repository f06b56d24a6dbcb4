"""Settings of a run as flags of `distvae train`, and as people read them. No torch."""

import functools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distvae.card import OF_THE_MACHINE
from distvae.config import TrainConfig, unusual
from distvae.flags import Flag, groups_of
from distvae.keywords import written
from distvae.runs import without_folders

LEFT_OUT = "left out"
"""A setting that has no value."""


@functools.cache
def _flags() -> dict[str, Flag]:
    return {flag.field: flag for group in groups_of(TrainConfig()) for flag in group.flags}


def name_of(setting: str) -> str:
    """A setting as the flag that sets it.

    >>> name_of("latent_dim")
    '--latent-dim'
    """
    return f"--{setting.replace('_', '-')}"


def told(setting: str, value: Any) -> str:
    """The value of a setting, as its flag has it; of data without the folders of this machine."""
    if value is None or value in ((), []):
        return LEFT_OUT
    return without_folders(str(value)) if setting == "data" else written(value)


def as_flag(setting: str, value: Any) -> str:
    """A setting with its value, as a command line has it."""
    flag, name = _flags().get(setting), name_of(setting)
    if isinstance(value, bool) and flag is not None and flag.form is None:
        return name if value else f"--no-{name[2:]}"
    if value is None:
        return f"{name} None"
    return f"{name} {shlex.quote('' if value in ((), []) else told(setting, value))}"


def unusual_flags(settings: Mapping[str, Any], but: Sequence[str] = ()) -> Iterator[str]:
    """The settings of a run that are not the defaults and no matter of the machine, as flags."""
    for name, value in unusual(settings).items():
        if name not in (*OF_THE_MACHINE, *but):
            yield as_flag(name, value)
