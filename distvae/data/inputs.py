"""From stored grey levels to what a model sees, and the random numbers of a training step.

Legend: B global batch, K draws for an image, C channels, H height, W width, Z latent dimensions.

Every random number is a pure function of (seed, step, position in the global batch): it is drawn
for the whole global batch and cut to the positions that a process handles, so the number of
processes and of accumulation steps cannot change it, and a resumed run needs no generator state.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

_SIXTY_FOUR_BITS = (1 << 64) - 1
Stream = Literal["training", "evaluation", "importance"]
_STREAMS: dict[Stream, int] = {"training": 1, "evaluation": 2, "importance": 3}


class StepNoise(NamedTuple):
    """Random numbers of one step."""

    latent: Tensor
    """Standard normal ``[B, Z]``, or ``[B, K, Z]``."""
    pixels: Tensor | None
    """Uniform int16 ``[B, C, H, W]`` over its whole range; only for dynamic binarization."""

    def at(self, positions: slice) -> "StepNoise":
        """The part for these positions of the global batch."""
        pixels = None if self.pixels is None else self.pixels[positions]
        return StepNoise(self.latent[positions], pixels)


class NoiseSource:
    """Draws the random numbers of a step.

    Args:
        seed: seed of the run.
        stream: what the numbers are for; each draws others from one seed.
        latent_dim: Z.
        pixel_shape: ``(C, H, W)`` to also draw pixel noise, else None.
        device: where the numbers are made; a seed gives other numbers on another kind of device.
        draws: K latent noise vectors for an image, along an axis of their own; None is one without
            that axis, of the same numbers as with K = 1.
    """

    def __init__(
        self,
        seed: int,
        stream: Stream,
        latent_dim: int,
        pixel_shape: tuple[int, int, int] | None,
        device: torch.device,
        draws: int | None = None,
    ) -> None:
        self._key = _mix(_mix(seed) + _STREAMS[stream])
        self._latent_shape = (latent_dim,) if draws is None else (draws, latent_dim)
        self._pixel_shape = pixel_shape
        self._device = device
        self._generator = torch.Generator(device)

    def draw(self, step: int, batch_size: int) -> StepNoise:
        """The random numbers of step ``step`` for a global batch of ``batch_size`` images."""
        generator = self._generator.manual_seed(_mix(self._key + step))
        shape = (batch_size, *self._latent_shape)
        latent = torch.randn(shape, generator=generator, device=self._device)
        if self._pixel_shape is None:
            return StepNoise(latent, None)
        shape = (batch_size, *self._pixel_shape)
        words = torch.empty(
            -(-torch.Size(shape).numel() // 4), dtype=torch.int64, device=self._device
        )
        words.random_(-(2**63), None, generator=generator)
        pixels = words.view(torch.int16)[: torch.Size(shape).numel()].view(shape)
        return StepNoise(latent, pixels)


def to_input(images: Tensor, binarize: str, pixels: Tensor | None) -> Tensor:
    """Grey levels ``[B, C, H, W]`` uint8 as the model's input, float32 in [0, 1].

    Args:
        images: grey levels.
        binarize: ``none`` divides by 255; ``threshold`` is 1 from 128 up; ``dynamic`` is 1 with
            probability level / 255, decided by 16 uniform bits a pixel, so a probability is met to
            1.6e-5, and those of black and white exactly.
        pixels: uniform int16 in the shape of ``images``, for ``dynamic``.
    """
    if binarize == "none":
        return torch.div(images, 255.0)
    if binarize == "threshold":
        return (images >= 128).float()
    assert pixels is not None
    thresholds = images.float().mul_(65536.0 / 255.0).sub_(32768.0)
    return (pixels.float() < thresholds).float()


def _mix(value: int) -> int:
    """SplitMix64's finalizer: neighbouring integers to unrelated 64-bit seeds."""
    value = (value + 0x9E3779B97F4A7C15) & _SIXTY_FOUR_BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _SIXTY_FOUR_BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _SIXTY_FOUR_BITS
    return value ^ (value >> 31)
