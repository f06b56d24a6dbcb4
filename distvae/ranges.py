"""Which numbers a setting or an argument may be, each by itself."""

import math
import numbers
from collections.abc import Mapping
from typing import Any

from distvae.errors import DistvaeError, shown

COUNTS = (
    "epochs",
    "batch_size",
    "accumulate",
    "latent_dim",
    "checkpoint_every",
    "keep",
    "eval_every",
    "sample_every",
    "log_every",
    "prior_components",
    "flow_width",
    "likelihood_components",
    "kl_cycles",
    "importance_samples",
    "max_steps",
    "image_size",
    "shuffle_buffer",
    "epoch_images",
    "timeout",
    "threads",
    "early_stopping",
    "discriminator_steps",
)
LEAST = {**dict.fromkeys(COUNTS, 1), "flow_layers": 2, "levels": 2, "discriminator_start": 0}
MOST = {
    **dict.fromkeys(("seed", "split_seed"), 2**63 - 1),
    "levels": 256,
    "latent_dim": 2**16,
    "image_size": 2**16,
    "flow_layers": 2**10,
    "flow_width": 2**20,
    "prior_components": 2**20,
    "likelihood_components": 2**10,
    "width": 2.0**10,
    "accumulate": 2**20,
    "importance_samples": 2**20,
    "keep": 2**20,
    "discriminator_steps": 2**10,
    "threads": 2**16,
    "timeout": 10**9,
    "kl_cycles": 10**9,
}
LARGEST = 10**15
"""Of any other number: far beyond what makes sense, and still exact in 64 bits."""
MOST_WIDTHS, WIDEST = 2**10, 2**20
ABOVE_ZERO = (
    "learning_rate",
    "width",
    "clip",
    "sigma",
    "adam_eps",
    "white",
    "discriminator_learning_rate",
)
NOT_NEGATIVE = (
    "beta",
    "kl_start",
    "kl_warmup_epochs",
    "free_bits",
    "penalty",
    "dip_diagonal",
    "capacity",
    "capacity_epochs",
    "warmup_epochs",
    "weight_decay",
)
WIDTHS = ("hidden", "discriminator")
DECAYS = ("discriminator_betas",)


def refuse_out_of_range(settings: Mapping[str, Any]) -> None:
    """Refuse numbers that make no sense; None is left out and makes some.

    Args:
        settings: every setting of a run, by name.

    Raises:
        DistvaeError: it names the flag, what it is and what was expected.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    for name, least in LEAST.items():
        _demand(given, name, given.get(name, least) >= least, f"at least {least}")
    for name, value in given.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            most = MOST.get(name, LARGEST)
            _demand(given, name, math.isfinite(value), "a finite number")
            _demand(given, name, value <= most, f"at most {most}")
    for name in ABOVE_ZERO:  # written so that a NaN is refused too
        _demand(given, name, given.get(name, 1.0) > 0, "a number above 0")
    for name in NOT_NEGATIVE:
        _demand(given, name, given.get(name, 0.0) >= 0, "0 or more")
    _demand(given, "ema", 0 <= given["ema"] < 1, "a decay from 0 to below 1")
    for name in (name for name in DECAYS if name in given):
        fits = len(given[name]) == 2 and all(0 <= decay < 1 for decay in given[name])
        expected = "two decays from 0 to below 1, such as 0.9,0.999"
        _demand({name: list(given[name])}, name, fits, expected)
    for name in (name for name in WIDTHS if name in given):
        widths = given[name]
        fits = 1 <= len(widths) <= MOST_WIDTHS and 1 <= min(widths) <= max(widths) <= WIDEST
        expected = f"at least one width of 1 or more, at most {MOST_WIDTHS} of {WIDEST}"
        _demand({name: list(widths)}, name, fits, expected)
    if given.get("batch_size", 0) % given["accumulate"]:
        raise DistvaeError(
            f"--batch-size {given['batch_size']} cannot be split into --accumulate "
            f"{given['accumulate']} equal micro-batches"
        )
    if given["latent_dim"] < 2 and "flow" in (given.get("prior"), given["posterior"]):
        raise DistvaeError(
            f"--latent-dim is {given['latent_dim']}",
            "a flow changes one half of the latents by the other and needs at least 2",
        )
    if "epoch_images" in given and not given["streaming"]:
        raise DistvaeError(
            f"--epoch-images {given['epoch_images']} goes with --streaming only",
            "otherwise an epoch is the whole training split",
            "Add --streaming, or leave it out and take --max-steps for a shorter run.",
        )


def whole_number(value: Any, name: str, least: int, bits: int = 63) -> int:
    """An argument that counts something.

    Raises:
        DistvaeError: it is no whole number, less than ``least``, or has more than ``bits``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise DistvaeError(f"{name} is {shown(value)}", "expected a whole number")
    number = int(value)
    if not least <= number < 2**bits:
        raise DistvaeError(
            f"{name} is {shown(value)}", f"expected {least} or more, below 2**{bits}"
        )
    return number


def checked_temperature(value: Any) -> float:
    """The factor of the noise of samples.

    Raises:
        DistvaeError: it is no finite number of 0 or more.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (real and 0 <= value < math.inf):
        raise DistvaeError(f"temperature is {shown(value)}", "expected a number, 0 or more")
    return float(value)


def _demand(settings: Mapping[str, Any], name: str, fits: bool, expected: str) -> None:
    if not fits:
        raise DistvaeError(
            f"--{name.replace('_', '-')} is {shown(settings[name])}", f"expected {expected}"
        )
