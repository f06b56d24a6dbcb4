"""What to expect of what is drawn from the prior of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distvae.runs import read_model_record
from distvae.terminal import warn

HOLDING = 0.1
"""KL weight of spatial latents below which they are hardly held to their prior."""


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
