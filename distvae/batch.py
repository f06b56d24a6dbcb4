"""What goes through a model together: examples, their labels and their random numbers.

Legend: B batch, K draws for an example, C channels, H height, W width, Z latent dimensions.
"""

from typing import NamedTuple

from torch import Tensor


class Noise(NamedTuple):
    """Random numbers of a step."""

    noise: Tensor
    """Of the latents, standard normal ``[B, Z]``, or ``[B, K, Z]`` for K draws."""
    uniforms: Tensor | None
    """Of the inputs, int16 ``[B, C, H, W]`` over the whole range; None where they take none."""

    def at(self, positions: slice) -> "Noise":
        """The part for these positions of the batch."""
        uniforms = None if self.uniforms is None else self.uniforms[positions]
        return Noise(self.noise[positions], uniforms)


class Batch(NamedTuple):
    """What a model and its objective take."""

    stored: Tensor
    """Examples as they are stored ``[B, C, H, W]``."""
    labels: Tensor | None
    """int64 ``[B]``, of a conditional model."""
    noise: Tensor
    """Of the latents, see :class:`Noise`."""
    uniforms: Tensor | None
    """Of the inputs, see :class:`Noise`."""
