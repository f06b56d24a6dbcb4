"""The random numbers of training steps and of passes over a split.

Legend: B examples, K draws for an example, Z latent dimensions, S their inputs' shape.
"""

import functools
import math
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.batch import Noise
from distvae.draws import normals, tensors
from distvae.draws.philox import INPUTS, LATENTS, NORMALS, UNIFORMS, Source, Stream
from distvae.packages import is_installed
from distvae.terminal import warn

BY_NUMPY = "cpu"
"""The kind of device for which numpy draws; others draw for themselves."""
BY_TRITON = "cuda"
"""The kind of device for which a Triton kernel draws, if it is installed."""
AHEAD, FEW = 16, 2048
"""Steps for which numpy draws normal numbers at once, where one needs so few words of them: its
calls take longer than what they compute."""


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
        self._latents = math.prod(self._latent_shape)
        self._inputs = 0 if uniforms_shape is None else math.prod(uniforms_shape)
        self._device = device
        self._key = tensors.key_of(seed, stream, device)
        self._latest: tuple[int, int, int] | None = None
        """Count, step and first position of the last normal numbers that numpy drew."""
        self._ahead: dict[int, NDArray[np.float32]] = {}
        """Those of the steps that follow it."""

    @property
    def on_host(self) -> bool:
        """Whether numpy draws, which takes the number of a step from Python."""
        return self._device.type == BY_NUMPY

    def draw(self, step: int | Tensor, positions: slice) -> Noise:
        """The random numbers of a step for some positions of its global batch.

        Args:
            step: number of the step; where the device draws also that number on it, int64 [].
            positions: B of them, with a start and a stop; no others are drawn.
        """
        size = positions.stop - positions.start
        kernels = None if self.on_host else triton_kernels(self._device)
        if kernels is not None and not torch.compiler.is_compiling():
            noise, uniforms = self._by_triton(kernels, step, positions)
        else:
            noise = self._drawn(step, LATENTS, positions)
            uniforms = self._drawn(step, INPUTS, positions) if self._inputs else None
        if self._uniforms_shape is not None and uniforms is not None:
            uniforms = uniforms.view(size, *self._uniforms_shape)
        return Noise(noise.view(size, *self._latent_shape), uniforms)

    def _by_triton(
        self, kernels: ModuleType, step: int | Tensor, positions: slice
    ) -> tuple[Tensor, Tensor | None]:
        if isinstance(step, int):
            step = torch.full((), step, dtype=torch.int64, device=self._device)
        noise, uniforms = kernels.noise(self._key, step, positions, self._latents, self._inputs)
        return noise, uniforms if self._inputs else None

    def _drawn(self, step: int | Tensor, part: int, positions: slice) -> Tensor:
        """Numbers ``[B, F]``: normal ones of the latents, int16 of the inputs."""
        of_latents, size = part == LATENTS, positions.stop - positions.start
        kept, per_word = (self._latents, NORMALS) if of_latents else (self._inputs, UNIFORMS)
        each = -(-kept // per_word)
        place = size * each, step, part, positions.start * each
        numbers = self._by_numpy(*place) if self.on_host else self._by_tensors(*place)
        return numbers.view(size, each * per_word)[:, :kept].contiguous()

    def _by_numpy(self, count: int, step: int | Tensor, part: int, first: int) -> Tensor:
        if part == LATENTS:
            return torch.from_numpy(self._normals(count, int(step), first))
        words = self._source.words(count, int(step), part, first)
        return torch.from_numpy(words.astype("<u8", copy=False).view("<i2"))

    def _normals(self, count: int, step: int, first: int) -> NDArray[np.float32]:
        """Of the latents in a step ``[2 count]``; of several at once that follow each other."""
        follows, self._latest = self._latest == (count, step - 1, first), (count, step, first)
        if not follows or count > FEW:
            self._ahead.clear()
            return normals.normals_of_step(self._source, count, step, LATENTS, first)
        if step not in self._ahead:
            steps = range(step, step + AHEAD)
            drawn = normals.normals_of_steps(self._source, count, steps, LATENTS, first)
            self._ahead = dict(zip(steps, drawn, strict=True))
        return self._ahead.pop(step)

    def _by_tensors(self, count: int, step: int | Tensor, part: int, first: int) -> Tensor:
        source = self._seed, self._stream
        words = tensors.words(*source, count, step, part, first, self._device)
        return tensors.quick_normals(words) if part == LATENTS else words.view(torch.int16)


@functools.cache
def triton_kernels(device: torch.device) -> ModuleType | None:
    """``draws/kernels.py`` where a device can run it, which is tried once; else None.

    Where a GPU cannot, a line says so.
    """
    if device.type != BY_TRITON:
        return None
    try:
        if not is_installed("triton"):
            raise ImportError("triton is not installed")
        from distvae.draws import kernels

        key = tensors.key_of(0, Stream.TRAINING, device)
        kernels.noise(key, key[:1], slice(0, 1), 1, 1)
    except Exception as error:  # of its compiler, the C compiler, or the driver
        why = str(error).strip().splitlines() or [type(error).__name__]
        warn(f"random numbers take a hundred small kernels a step, as Triton has none: {why[0]}")
        return None
    return kernels
