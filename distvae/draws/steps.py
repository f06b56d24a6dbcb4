"""The random numbers of training steps and of passes over a split.

Legend: B examples, K draws for an example, Z latent dimensions, S their inputs' shape.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.batch import Noise
from distvae.draws import normals, tensors
from distvae.draws.philox import Source, Stream

LATENTS, INPUTS = 0, 1
"""Parts of a step."""
NORMALS, UNIFORMS = 2, 4
"""Numbers of a word."""
BY_NUMPY = "cpu"
"""The kind of device for which numpy draws; others draw for themselves."""


class NoiseSource:
    """Draws the random numbers of a step, a pure function of (seed, stream, step, position).

    Args:
        seed: of the run.
        stream: what the numbers are for.
        latent_dim: Z.
        uniforms_shape: S, to draw uniforms for the inputs as well, else None.
        device: where the numbers are made. On a CPU numpy makes them, elsewhere the device itself:
            the words behind them are equal to the bit, normals to 1e-6.
        draws: K noise vectors for an example, along an axis of their own; None is one without that
            axis, of the same numbers as with K = 1.
    """

    def __init__(
        self,
        seed: int,
        stream: Stream,
        latent_dim: int,
        uniforms_shape: tuple[int, ...] | None,
        device: torch.device,
        draws: int | None = None,
    ) -> None:
        self._seed, self._stream = seed, stream
        self._source = Source(seed, stream)
        self._latent_shape = (latent_dim,) if draws is None else (draws, latent_dim)
        self._uniforms_shape = uniforms_shape
        self._device = device

    def draw(self, step: int, positions: slice) -> Noise:
        """The random numbers of a step for some positions of its global batch.

        Args:
            step: number of the step.
            positions: B of them, with a start and a stop; no others are drawn.
        """
        noise, uniforms = self.table(range(step, step + 1), positions)
        return Noise(noise[0], None if uniforms is None else uniforms[0])

    def table(self, steps: range, positions: slice) -> Noise:
        """Those of several steps, ``[n, B, ...]``; each is as :meth:`draw` gives it."""
        noise = self._drawn(steps, LATENTS, positions, self._latent_shape)
        if self._uniforms_shape is None:
            return Noise(noise, None)
        return Noise(noise, self._drawn(steps, INPUTS, positions, self._uniforms_shape))

    def _drawn(self, steps: range, part: int, positions: slice, shape: tuple[int, ...]) -> Tensor:
        """Numbers ``[n, B, *shape]``: normal ones of the latents, int16 of the inputs."""
        size, kept = positions.stop - positions.start, math.prod(shape)
        per_word = NORMALS if part == LATENTS else UNIFORMS
        each = -(-kept // per_word)
        places = [(size * each, step, part, positions.start * each) for step in steps]
        if self._device.type == BY_NUMPY:
            numbers = torch.from_numpy(_joined([self._by_numpy(*place) for place in places]))
        else:
            source = self._seed, self._stream
            made = torch.cat([tensors.words(*source, *place, self._device) for place in places])
            numbers = tensors.quick_normals(made) if part == LATENTS else made.view(torch.int16)
        rows = numbers.view(-1, size, each * per_word)[..., :kept]
        return rows.reshape(-1, size, *shape)

    def _by_numpy(self, count: int, step: int, part: int, first: int) -> NDArray[Any]:
        if part == LATENTS:
            return normals.normals_of_step(self._source, count, step, part, first)
        words = self._source.words(count, step, part, first)
        return words.astype("<u8", copy=False).view("<i2")


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
