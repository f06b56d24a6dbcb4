"""Variational autoencoders from data to deployment.

The public names resolve on first use, so ``import distvae`` stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distvae.config import ModelConfig as ModelConfig
    from distvae.config import TrainConfig as TrainConfig
    from distvae.errors import DistvaeError as DistvaeError
    from distvae.models import VAE as VAE
    from distvae.models import ConditionalVAE as ConditionalVAE

__version__ = "0.1.0"

_HOME = {
    "VAE": "distvae.models",
    "ConditionalVAE": "distvae.models",
    "ModelConfig": "distvae.config",
    "TrainConfig": "distvae.config",
    "DistvaeError": "distvae.errors",
}

__all__ = ["VAE", "ConditionalVAE", "DistvaeError", "ModelConfig", "TrainConfig", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
