"""Settings from recipes, the YAML files in this folder, and from what launched the process."""

import os
from pathlib import Path

from distvae.config import TrainConfig
from distvae.errors import DistvaeError, nearest

HERE = Path(__file__).parent


def launched_with() -> TrainConfig:
    """The defaults, but for the precision that `accelerate launch` was told.

    Its `no` is what it says where nothing was told, and leaves the choice to us.
    """
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    settings = {} if told == "no" else {"mixed_precision": told}
    return TrainConfig().updated(settings, "accelerate launch")


def read_recipe(name: str) -> TrainConfig:
    """Settings from a YAML file of flat names, on top of the defaults."""
    import yaml

    path = Path(name)
    if not path.is_file() and (HERE / f"{name}.yaml").is_file():
        path = HERE / f"{name}.yaml"
    if not path.is_file():
        known = [recipe.stem for recipe in HERE.glob("*.yaml")]
        raise DistvaeError(
            f"recipe {name} is missing",
            f"expected a YAML file or one of {sorted(known)}",
            nearest(path.stem, known),
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DistvaeError(f"recipe {path} cannot be read", str(error)) from error
    if not isinstance(content, dict):
        raise DistvaeError(f"recipe {path} holds no settings", "expected lines of `name: value`")
    return launched_with().updated(content, str(path))
