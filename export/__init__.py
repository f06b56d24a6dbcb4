"""From a trained checkpoint to ONNX, and sampling from the ONNX file without PyTorch.

The public names resolve on first use, so ``import distvae.export`` stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distvae.export.encoder import Encoder as Encoder
    from distvae.export.sampler import Sampler as Sampler
    from distvae.export.scorer import Scorer as Scorer

_HOME = {
    "Encoder": "distvae.export.encoder",
    "Sampler": "distvae.export.sampler",
    "Scorer": "distvae.export.scorer",
}

__all__ = ["Encoder", "Sampler", "Scorer"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
