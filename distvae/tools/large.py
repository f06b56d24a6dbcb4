"""Images of any size through a model whose latents lie at every place of them, in tiles.

Legend: B batch, C channels of an image, Z of the latents, H height, W width.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.conditions import Context
from distvae.errors import DistvaeError
from distvae.latents.spatial import Spatial
from distvae.tools.tiling import Floats, Tiling, count_of, in_tiles, tiling_of

if TYPE_CHECKING:
    from distvae.models import VAE

Advance = Callable[[int], None]


def _unwatched(count: int) -> None:
    pass


@dataclass(frozen=True)
class Large:
    """A model, and how images are cut for it."""

    model: "VAE"
    tile: int | None
    overlap: int | None

    @classmethod
    def of(
        cls, model: "VAE", tile: int | None = None, overlap: int | None = None, what: str = "this"
    ) -> "Large":
        """A model in evaluation mode.

        Args:
            model: on its device.
            tile: longest side of a tile in pixels; None: as :func:`tiling_of` has it.
            overlap: the same.
            what: is asked of it, for a message.

        Raises:
            DistvaeError: its latents do not lie at every place.
        """
        if not isinstance(model.latents, Spatial):
            raise DistvaeError(
                f"{what} is for latents at every place of an image",
                f"those of this model are of --latents {model.config.latent_space}",
                "Train one by --latents spatial.",
            )
        return cls(model, tile, overlap)

    @functools.cached_property
    def encoding(self) -> Tiling:
        """How images are cut.

        Raises:
            DistvaeError: tile and overlap do not fit the encoder.
        """
        return tiling_of(self.tile, self.overlap, self.model.encoder.reach, self.factor)

    @functools.cached_property
    def decoding(self) -> Tiling:
        """How latents are cut; raises the same of the decoder."""
        return tiling_of(self.tile, self.overlap, self.model.decoder.reach, self.factor)

    @property
    def factor(self) -> int:
        """Pixels of a place of the latents."""
        return self.model.image_shape[1] // self.model.latents.levels[0].shape[1]

    @property
    def channels(self) -> int:
        """Z."""
        return self.model.latents.levels[0].shape[0]

    def tiles(self, tiling: Tiling, sides: tuple[int, int]) -> int:
        """How many tiles latents of some sides have."""
        return count_of(sides, *self._places(tiling))

    def _places(self, tiling: Tiling) -> tuple[int, int]:
        return tiling.tile // self.factor, tiling.overlap // self.factor

    @torch.no_grad()
    def encode(
        self, inputs: Tensor, context: Context | None, advance: Advance = _unwatched
    ) -> tuple[Floats, Floats]:
        """Mean and log-variance ``[B, Z, H, W]`` of inputs ``[B, C, F * H, F * W]``.

        Args:
            inputs: what the encoder sees; sides are multiples of the factor.
            context: of the rows.
            advance: told of each tile.
        """
        factor, (height, width) = self.factor, inputs.shape[2:]
        sides = height // factor, width // factor

        def compute(rows: slice, columns: slice) -> Floats:
            part = inputs[:, :, _times(rows, factor), _times(columns, factor)]
            (found,) = self.model.posteriors(part.to(self.model.device), context)
            both = torch.stack([found.mean, found.log_variance])
            return both.flatten(0, 2).float().cpu().numpy()

        strips = in_tiles(
            compute, sides, *self._places(self.encoding), 1, self.encoding.exact, advance
        )
        found = np.concatenate([strip for _, strip in strips], 1)
        mean, log_variance = found.reshape(2, len(inputs), self.channels, *sides)
        return mean, log_variance

    @torch.no_grad()
    def decode(
        self, latents: Floats, context: Context | None, advance: Advance = _unwatched
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Strips of the image of latents ``[Z, H, W]``: first row, and pixels ``[C, rows, F * W]``.

        Args:
            latents: of one image.
            context: of one row.
            advance: told of each tile.
        """

        def compute(rows: slice, columns: slice) -> Floats:
            part = torch.from_numpy(np.ascontiguousarray(latents[None, :, rows, columns]))
            mean = self.model.render((part.to(self.model.device),), context)
            return mean[0].float().cpu().numpy()

        tiles, sides = self._places(self.decoding), (latents.shape[1], latents.shape[2])
        exact = self.decoding.exact
        for top, strip in in_tiles(compute, sides, *tiles, self.factor, exact, advance):
            yield top, self.model.domain.to_stored(torch.from_numpy(strip)).numpy()

    def encode_stored(
        self, stored: NDArray[Any], context: Context | None, advance: Advance = _unwatched
    ) -> tuple[Floats, Floats]:
        """:meth:`encode` of images as they are stored ``[B, C, F * H, F * W]``."""
        inputs = self.model.domain.to_expected_input(torch.from_numpy(stored))
        return self.encode(inputs, context, advance)

    def image(
        self,
        latents: Floats,
        context: Context | None,
        into: NDArray[Any],
        advance: Advance = _unwatched,
    ) -> None:
        """Write the image of latents ``[Z, H, W]`` into an array ``[C, F * H, F * W]``."""
        for top, strip in self.decode(latents, context, advance):
            into[:, top : top + strip.shape[1]] = strip


def _times(part: slice, factor: int) -> slice:
    return slice(factor * part.start, factor * part.stop)
