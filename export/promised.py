"""What goes into an exported graph and comes out, as its manifest promises. Needs numpy only."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from distvae.errors import DistvaeError
from distvae.export.manifest import (
    BOOK,
    CODES,
    DECODER,
    LATENT_DECODER,
    LATENTS,
    NOISE,
    POSTERIOR,
    SCORER,
    SCORES,
    Manifest,
)

_FLOAT32, _INT64, _UINT8 = "tensor(float)", "tensor(int64)", "tensor(uint8)"
_WHOLE = ("uint8", "uint16", "int8", "int16", "int32", "int64")
_KINDS = {"float32": _FLOAT32, **{name: f"tensor({name})" for name in _WHOLE}}
TYPES = {kind: np.dtype(name).type for name, kind in _KINDS.items()}
Row = tuple[str, tuple[int, ...]]
"""Type and shape of what one example takes or gives; a side of 0 may be of any length."""
Found = tuple[str, tuple[int | str | None, ...]]
"""Type and shape of a graph's input or output; a side that may be of any length has a name."""


def rows_of(manifest: Manifest) -> tuple[dict[str, Row], dict[str, Row]]:
    """Inputs and outputs that a manifest promises."""
    name, shape, dtype = manifest.example
    example: Row = (_KINDS[dtype], shape)
    labels: dict[str, Row] = {
        given: ({"int64": _INT64, "float32": _FLOAT32}[kind], ())
        for given, kind in manifest.given.items()
    }
    if manifest.any_size is not None:
        return _of_any_size(manifest, labels)
    if manifest.graph == DECODER:
        return {NOISE: (_FLOAT32, (manifest.noise_dim,)), **labels}, {name: example}
    if manifest.graph == SCORER:
        return {name: example, **labels}, dict.fromkeys(SCORES, (_FLOAT32, ()))
    outputs: dict[str, Row] = {
        output: (_FLOAT32, sides)
        for parts in manifest.posteriors.values()
        for output, sides in parts.items()
    }
    if manifest.codes is not None:
        outputs[CODES] = (_INT64, manifest.codes.grid)
    if manifest.gives_noise:
        outputs[NOISE] = (_FLOAT32, (manifest.noise_dim,))
    return {name: example, **labels}, outputs


def _of_any_size(
    manifest: Manifest, labels: dict[str, Row]
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Of latents at every place, which lie along as many sides as the example has."""
    name, (channels, *sides), dtype = manifest.example
    free = (0,) * len(sides)
    example: dict[str, Row] = {name: (_KINDS[dtype], (channels, *free))}
    latents: Row = (_FLOAT32, (manifest.levels[0].shape[0], *free))
    if manifest.graph == LATENT_DECODER:
        return {LATENTS: latents, **labels}, example
    return {**example, **labels}, dict.fromkeys(POSTERIOR, latents)


def constants_of(manifest: Manifest) -> dict[str, Row]:
    """Outputs that a manifest promises once, whatever the examples are."""
    if manifest.codes is None:
        return {}
    return {BOOK: (_FLOAT32, (manifest.codes.book, manifest.codes.width))}


def check_rows(
    path: Path,
    kind: str,
    expected: dict[str, Row],
    found: dict[str, Found],
    constants: Mapping[str, Row] | None = None,
) -> None:
    """That a graph has the named inputs or outputs, for any number of rows, and the constants."""
    promised: dict[str, Found] = {
        name: (dtype, ("batch", *(side or "any" for side in shape)))
        for name, (dtype, shape) in expected.items()
    }
    promised |= constants or {}
    same = found.keys() == promised.keys() and all(
        _fits(found[name], each) for name, each in promised.items()
    )
    if not same:
        raise DistvaeError(
            f"{path} does not fit its manifest: its {kind} are {_shown(found)}",
            f"expected {_shown(promised)}",
            "Export the run again.",
        )


def _fits(found: Found, promised: Found) -> bool:
    """Whether it is of the type and the sides; any side but a number is as good as any other."""
    (found_kind, found_sides), (kind, sides) = (
        (each, tuple(side if isinstance(side, int) else None for side in shape))
        for each, shape in (found, promised)
    )
    return found_kind == kind and found_sides == sides


def _shown(rows: Mapping[str, Found]) -> str:
    return ", ".join(f"{name} {kind} {list(shape)}" for name, (kind, shape) in rows.items())
