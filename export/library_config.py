"""What the config.json of an `AutoencoderKL` says, as settings of ours; odd ones are refused."""

import math
from pathlib import Path
from typing import Any

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.text import shortened

FIXED: dict[str, Any] = {"act_fn": "silu", "mid_block_add_attention": True}
"""What the library lets a model choose and our network does not."""
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
USUAL_SCALE, USUAL_SIDE = 0.18215, 256
"""Of an `AutoencoderKL` whose configuration leaves them out; the first is the library's."""
MOST = 2**14
"""Channels and layers."""


def settings_of(facts: dict[str, Any], folder: Path) -> tuple[ModelConfig, tuple[int, int, int]]:
    """The layers of a folder, and the shape of an image.

    Raises:
        DistvaeError: they are others than those of our network, or are no such settings.
    """
    channels = facts.get("block_out_channels", [64])
    if not isinstance(channels, list) or not channels:
        raise _odd(folder, "block_out_channels", channels, "channels of one or more resolutions")
    for value in channels:
        _whole(folder, "block_out_channels", value)
    for name, kind in BLOCKS.items():
        blocks = facts.get(name, [kind] * len(channels))
        if blocks != [kind] * len(channels):
            raise _odd(folder, name, blocks, f"{kind} for each of {len(channels)} resolutions")
    for name, usual in FIXED.items():
        if facts.get(name, usual) != usual:
            raise _odd(folder, name, facts[name], f"{usual}, as --network sd has it")
    counts = {
        name: _whole(folder, name, facts.get(name, usual))
        for name, usual in (("in_channels", 3), ("layers_per_block", 1), ("latent_channels", 4))
    }
    colours = counts["in_channels"]
    if facts.get("out_channels", colours) != colours:
        raise _odd(folder, "out_channels", facts["out_channels"], f"the {colours} of in_channels")
    factor, side = 2 ** (len(channels) - 1), _side(folder, facts.get("sample_size"))
    settings: dict[str, Any] = {
        "model": "vae", "network": "sd", "latent_space": "spatial", "likelihood": "laplace",
        "prior": "normal", "block_channels": tuple(channels), "activation": "silu",
        "block_layers": counts["layers_per_block"], "latent_channels": counts["latent_channels"],
    }  # fmt: skip
    side = max(factor, side // factor * factor)
    return ModelConfig(**settings), (colours, side, side)


def scale_of(facts: dict[str, Any], folder: Path) -> dict[str, float]:
    """`scaling_factor` and `shift_factor`, as the library has them where they are left out.

    Raises:
        DistvaeError: they are no numbers.
    """
    found = {}
    for name, usual in (("scaling_factor", USUAL_SCALE), ("shift_factor", 0.0)):
        value = facts.get(name)
        value = usual if value is None else value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise _odd(folder, name, value, "a number")
        found[name] = float(value)
    if not found["scaling_factor"]:
        raise _odd(folder, "scaling_factor", 0, "another number")
    return found


def _side(folder: Path, value: Any) -> int:
    """Of an image, of which a configuration may say one or two."""
    if value is None:
        return USUAL_SIDE
    sides = value if isinstance(value, list) and value else [value]
    return min(_whole(folder, "sample_size", side) for side in sides)


def _whole(folder: Path, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise _odd(folder, name, value, f"a whole number from 1 to {MOST:,}")
    return value


def _odd(folder: Path, name: str, value: Any, expected: str) -> DistvaeError:
    return DistvaeError(
        f"{folder} has {name} {shortened(str(value))}",
        f"expected {expected}",
        "Only an AutoencoderKL of such layers is taken over.",
    )
