"""Whether files for images of any size do what the trained model does, by running both.

Legend: B batch, Z channels of the latents.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.domains.levels import noise_of_levels
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.export.convert import MEAN
from distvae.export.inputs import given_of_rows
from distvae.export.manifest import LATENTS
from distvae.export.maps import MapDecoder, MapEncoder, free_of
from distvae.export.parity import REPORT, SEED, Advance, Parity, on_device, with_mean
from distvae.export.turns import NOISES, Given, given_in, turns
from distvae.models import VAE

SIDES = {2: ((1, 1), (3, 2), (5, 9)), 3: ((1, 1, 1), (3, 2, 1), (2, 4, 3))}
"""Sides of latents, by how many there are, at which a file is compared with the model."""
TOLERANCE = 1e-4
"""Largest error, relative where a value exceeds one."""


@torch.no_grad()
def map_decoder(path: Path, model: VAE, advance: Advance) -> Iterator[Parity]:
    """Images of latents of several sides, before and after they are rounded to levels."""
    opened, (maps, *own) = MapDecoder(path, verify=True), model.latents.levels[0].shape
    with with_mean(path) as session:
        for count, sides in enumerate(SIDES[len(own)], 1):
            shape = count, maps, *sides
            latents = standard_normal(SEED, 0, count, int(np.prod(shape[1:]))).reshape(shape)
            given = _given(model, count)
            z, context = on_device(model, torch.from_numpy(latents), given)
            mean = model.render((z,), context)
            feeds = {LATENTS: latents, **given_of_rows(given.asked(), count, opened.manifest)}
            error, mean_error = _apart(path, MEAN, session.run([MEAN], feeds)[0], mean)
            stored = model.domain.to_stored(mean).cpu().numpy().astype(np.int64)
            step = int(np.abs(opened.decode(latents, given.asked()) - stored).max())
            if not step <= max(1.0, TOLERANCE * (model.domain.levels or 1)):
                raise _differs(path, f"levels of latents {list(sides)}", f"{step} of them apart")
            yield Parity(error, mean_error, step, count)
    advance(NOISES * turns(model))


@torch.no_grad()
def map_encoder(path: Path, model: VAE, advance: Advance) -> Iterator[Parity]:
    """Posteriors of noise of several sides."""
    opened, own = MapEncoder(path, verify=True), model.latents.levels[0].shape[1:]
    factor, channels = free_of(opened.manifest).factor, model.domain.shape[0]
    for count, sides in enumerate(SIDES[len(own)], 1):
        shape = count, channels, *(factor * side for side in sides)
        assert model.domain.levels is not None
        stored, given = noise_of_levels(SEED, shape, model.domain.levels), _given(model, count)
        inputs = model.domain.to_expected_input(torch.from_numpy(stored))
        (expected,) = model.posteriors(*on_device(model, inputs, given))
        found = opened.encode(stored, given.asked())
        for number, (name, values) in enumerate(found._asdict().items()):
            error, mean_error = _apart(path, name, values, getattr(expected, name))
            yield Parity(error, mean_error, None, 0 if number else count)
    advance(NOISES * turns(model))


def _given(model: VAE, count: int) -> Given:
    """What so many examples are given."""
    given = given_in(model, 0)
    return given if given.values is None else given._replace(values=given.values[:count])


def _apart(
    path: Path, name: str, found: NDArray[np.float32], expected: torch.Tensor
) -> tuple[float, float]:
    """Largest and mean difference, relative where values exceed one.

    Raises:
        DistvaeError: it is more than rounding.
    """
    values = expected.float().cpu().numpy()
    if found.shape != values.shape:
        raise _differs(path, name, f"shape {list(found.shape)} and {list(values.shape)} in torch")
    off = np.abs(found - values) / np.maximum(1.0, np.abs(values))
    if not float(off.max()) <= TOLERANCE:
        raise _differs(path, f"{name} of {list(found.shape)}", f"{off.max():.1e} apart")
    return float(off.max()), float(off.mean())


def _differs(path: Path, what: str, found: Any) -> DistvaeError:
    return DistvaeError(
        f"{path} does not give what the model gives: {what}, {found}",
        f"at most {TOLERANCE:.0e} of difference was expected",
        REPORT,
    )
