"""Settings of a run as flags of `distvae train`, and as people read them. No torch."""

import functools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distvae.card import OF_THE_MACHINE
from distvae.config import TrainConfig, unusual
from distvae.flags import Flag, groups_of
from distvae.keywords import written
from distvae.runs import read_model_record, without_folders
from distvae.terminal import warn

HOLDING = 0.1
"""KL weight of spatial latents below which they are hardly held to their prior."""
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


def prior_remark(settings: Mapping[str, Any]) -> str:
    """What to expect of images that a model draws from its prior; empty where that is plain.

    Args:
        settings: of the run, by name; those that are not known are not there.
    """
    beta = settings.get("beta")
    if settings.get("latent_space") != "spatial" or not isinstance(beta, int | float):
        return ""
    if beta >= HOLDING:
        return ""
    return (
        f"the KL weight of this model is {beta:g}: its latents are hardly held to N(0, I), and "
        "what is drawn from there is noise. Its use is to encode and decode; `distvae latents` "
        "writes what a diffusion model is trained on, whose latents `distvae decode` takes"
    )


def warn_of_prior(settings: Mapping[str, Any]) -> None:
    """Say :func:`prior_remark`, where there is one."""
    if remark := prior_remark(settings):
        warn(remark)


def recorded_settings(folder: Path) -> dict[str, Any]:
    """Settings of a run, of one of its checkpoints or of a saved model, by name."""
    record = read_model_record(folder)
    return dict(getattr(record, "settings", None) or record.model)
