"""The random numbers of training steps and of passes over a split.

Legend: B global batch, K draws for an image, C channels, H height, W width, Z latent dimensions.

Every random number is a pure function of (seed, step, position in the global batch): it is drawn
for the whole global batch and cut to the positions that a process handles, so the number of
processes and of accumulation steps cannot change it, and a resumed run needs no generator state.
"""

from typing import Literal

import torch

from distvae.batch import Noise

_SIXTY_FOUR_BITS = (1 << 64) - 1
Stream = Literal["training", "evaluation", "importance"]
_STREAMS: dict[Stream, int] = {"training": 1, "evaluation": 2, "importance": 3}


class NoiseSource:
    """Draws the random numbers of a step.

    Args:
        seed: seed of the run.
        stream: what the numbers are for; each draws others from one seed.
        latent_dim: Z.
        uniforms_shape: ``(C, H, W)`` to draw uniforms for the inputs as well, else None.
        device: where the numbers are made; a seed gives other numbers on another kind of device.
        draws: K noise vectors for an image, along an axis of their own; None is one without that
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
        self._key = _mix(_mix(seed) + _STREAMS[stream])
        self._latent_shape = (latent_dim,) if draws is None else (draws, latent_dim)
        self._uniforms_shape = uniforms_shape
        self._device = device
        self._generator = torch.Generator(device)

    def draw(self, step: int, batch_size: int) -> Noise:
        """The random numbers of step ``step`` for a global batch of ``batch_size`` images."""
        generator = self._generator.manual_seed(_mix(self._key + step))
        shape = (batch_size, *self._latent_shape)
        noise = torch.randn(shape, generator=generator, device=self._device)
        if self._uniforms_shape is None:
            return Noise(noise, None)
        shape = (batch_size, *self._uniforms_shape)
        words = torch.empty(
            -(-torch.Size(shape).numel() // 4), dtype=torch.int64, device=self._device
        )
        words.random_(-(2**63), None, generator=generator)
        uniforms = words.view(torch.int16)[: torch.Size(shape).numel()].view(shape)
        return Noise(noise, uniforms)


def _mix(value: int) -> int:
    """SplitMix64's finalizer: neighbouring integers to unrelated 64-bit seeds."""
    value = (value + 0x9E3779B97F4A7C15) & _SIXTY_FOUR_BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _SIXTY_FOUR_BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _SIXTY_FOUR_BITS
    return value ^ (value >> 31)
