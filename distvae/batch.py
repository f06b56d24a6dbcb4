"""What goes through a model together: examples, what they are given, and random numbers.

Legend: B batch, K draws for an example, C channels, H height, W width, Z latent dimensions.
"""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from distvae.conditions import Conditions


class Noise(NamedTuple):
    """Random numbers of a step."""

    noise: Tensor
    """Of the latents, standard normal ``[B, Z]``, or ``[B, K, Z]`` for K draws."""
    uniforms: Tensor | None
    """Of the inputs, int16 ``[B, C, H, W]`` over the whole range; None where they take none."""


class Batch(NamedTuple):
    """What a model and its objective take."""

    stored: Tensor
    """Examples as they are stored ``[B, C, H, W]``."""
    conditions: Conditions | None
    """Of a conditional model."""
    noise: Tensor
    """Of the latents, see :class:`Noise`."""
    uniforms: Tensor | None
    """Of the inputs, see :class:`Noise`."""

    def tensors(self) -> Iterator[Tensor]:
        """Those that there are, in a fixed order."""
        yield from (each for each in (self.stored, self.noise, self.uniforms) if each is not None)
        yield from self.conditions or ()

    def copied(self) -> "Batch":
        """The same in memory of its own."""
        given = self.conditions and Conditions(*(each.clone() for each in self.conditions))
        uniforms = None if self.uniforms is None else self.uniforms.clone()
        return Batch(self.stored.clone(), given, self.noise.clone(), uniforms)
