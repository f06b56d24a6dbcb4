"""What makes latents at every place of images, and images of them: by weights or by exported files.

Legend: B batch, C channels of an image, Z of the latents, H height, W width, F the factor, A
attributes.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.tools.examples import Examples, Part
from distvae.tools.tiling import Floats

Advance = Callable[[int], None]


class Maps(Protocol):
    """Of a trained model; nothing is cut."""

    @property
    def factor(self) -> int:
        """Pixels of a place of the latents."""

    @property
    def channels(self) -> int:
        """Z."""

    @property
    def encoder_reach(self) -> int | None:
        """Pixels on either side of its own that a latent depends on; None: all there are."""

    @property
    def decoder_reach(self) -> int | None:
        """The same of a pixel."""

    def parts(
        self, examples: Examples, seed: int, size: int, start: int, advance: Advance
    ) -> Iterator[Part]:
        """Examples from one on that can be read, with all that the model is given of them.

        Args:
            examples: of the trained model.
            seed: of what finds labels that are not known, where they can be found.
            size: of a part.
            start: number of the first example.
            advance: told how many are done.
        """

    def encode(self, stored: NDArray[Any], given: Values | None) -> tuple[Floats, Floats]:
        """Mean and log-variance ``[B, Z, H, W]`` of images ``[B, C, F * H, F * W]`` as stored."""

    def decode(self, latents: Floats, given: Values | None) -> Floats:
        """Images ``[B, C, F * H, F * W]`` of latents, in the unit that ``to_stored`` takes."""

    def to_stored(self, values: Floats) -> NDArray[Any]:
        """What :meth:`decode` gives, of any sides, as it is stored."""
