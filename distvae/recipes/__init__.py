"""Settings from recipes, the YAML files in this folder, and from what launched the process."""

import os
from pathlib import Path

from distvae.config import TrainConfig
from distvae.errors import DistvaeError, nearest
from distvae.yaml_files import read_yaml

HERE = Path(__file__).parent
OF_DATA = {"mnist:coloured": "mnist-coloured"}
"""Recipes of bundled data for which the usual settings are not the best."""


def launched_with() -> TrainConfig:
    """The defaults, but for the precision that `accelerate launch` was told.

    Its `no` is what it says where nothing was told, and leaves the choice to us.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    settings = {} if launched == "no" else {"mixed_precision": launched}
    return TrainConfig().updated(settings, "accelerate launch")


def recipe_names() -> list[str]:
    """The recipes that come with distvae."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def read_recipe(name: str) -> TrainConfig:
    """Settings from a YAML file of flat names, on top of the defaults."""
    path = Path(name)
    if not path.is_file() and (HERE / f"{name}.yaml").is_file():
        path = HERE / f"{name}.yaml"
    if not path.exists():
        known = recipe_names()
        raise DistvaeError(
            f"recipe {name} is missing",
            f"expected a YAML file or one of {', '.join(known)}",
            nearest(path.stem, known),
        )
    content = read_yaml(path)
    if content is not None and not isinstance(content, dict):
        raise DistvaeError(f"recipe {path} holds no settings", "expected lines of `name: value`")
    return launched_with().updated(content or {}, str(path))
