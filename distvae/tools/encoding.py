"""Examples to their posteriors, by a model's weights or by its exported encoder without torch.

Legend: B examples read together, Z latents of all levels.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values, by_name
from distvae.attributes import is_label
from distvae.labels import numbers_of
from distvae.tools.examples import Examples, Part
from distvae.tools.trained import Trained

if TYPE_CHECKING:
    from distvae.posteriors import Posterior

Floats = NDArray[np.float32]
Advance = Callable[[int], None]


class Codes(NamedTuple):
    """Some examples and their posteriors, the latents of all levels side by side."""

    part: Part
    mean: Floats
    """``[B, Z]``. Under a flow the code that the flow makes of its base's mean."""
    log_variance: Floats
    """``[B, Z]``, of the Gaussian that the encoder gives."""


class Coder(NamedTuple):
    """What makes posteriors of examples."""

    names: tuple[str, ...]
    """Of the latents: 0, 1, ...; of several levels LEVEL.0, ..."""
    codes: Callable[[Examples, int, Advance], Iterator[Codes]]
    """Those of examples from a number on, telling how many are done."""


def coder_of(trained: Trained) -> Coder:
    """What encodes for a trained model."""
    return _of_weights(trained) if trained.onnx is None else _of_file(trained)


def _names(levels: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Names of the latents of levels by their shapes."""
    if len(levels) == 1:
        (shape,) = levels.values()
        return tuple(map(str, range(math.prod(shape))))
    return tuple(
        f"{name}.{number}" for name, shape in levels.items() for number in range(math.prod(shape))
    )


def _of_weights(trained: Trained) -> Coder:
    from distvae.tools.batches import batches

    model = trained.model

    def codes(examples: Examples, start: int, advance: Advance) -> Iterator[Codes]:
        import torch

        for seen in batches(trained, examples, start=start, advance=advance):
            with torch.no_grad():
                found = model.posteriors(seen.expected, seen.context)
            yield Codes(seen.part, _joined(found, "mean"), _joined(found, "log_variance"))

    return Coder(_names({level.name: level.shape for level in model.latents.levels}), codes)


def _joined(posteriors: "tuple[Posterior, ...]", what: str) -> Floats:
    parts = [getattr(each, what).flatten(1).float().cpu().numpy() for each in posteriors]
    return np.concatenate(parts, 1)


def _of_file(trained: Trained) -> Coder:
    from distvae.export.encoder import Encoder

    assert trained.onnx is not None
    encoder = Encoder(trained.onnx)
    levels = {name: shapes["mean"] for name, shapes in _shapes(encoder).items()}

    def codes(examples: Examples, start: int, advance: Advance) -> Iterator[Codes]:
        for part in examples.parts(start=start):
            if len(part.rows):
                found = encoder.encode_levels(part.stored, labels_of(trained, part.given)).values()
                flat = [[each.reshape(len(part.rows), -1) for each in pair] for pair in found]
                mean, log_variance = (np.concatenate(each, 1) for each in zip(*flat, strict=True))
                yield Codes(part, mean, log_variance)
            advance(part.asked.stop - part.asked.start)

    return Coder(_names(levels), codes)


def _shapes(encoder: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    """By level, the shapes of its mean and log-variance."""
    return {
        level: {name.partition(".")[0]: shape for name, shape in outputs.items()}
        for level, outputs in encoder.manifest.posteriors.items()
    }


def labels_of(trained: Trained, given: Values | None) -> Any:
    """What a model is given ``[B, A]`` as callers of an exported file give it."""
    if given is None:
        return None
    if is_label(trained.attributes):
        return numbers_of(trained.attributes[0].labels)[given[:, 0].astype(np.int64)]
    return by_name(given, trained.attributes)
