"""Images and volumes of any size through a model whose latents lie at every place, in tiles.

Legend: B batch, C channels of an image, Z of the latents, S the sides of the latents: height and
width, of volumes after a depth, F the factor, A attributes.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.domains import Images
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.tools.maps import Advance, Maps
from distvae.tools.tiling import USUAL_TILES, Floats, Tiling, count_of, in_tiles, tiling_of
from distvae.tools.trained import Trained


def _unwatched(count: int) -> None:
    pass


class Stored(Protocol):
    """An array, or what makes parts of one when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""

    def __getitem__(self, place: Any, /) -> Any:
        """A part."""


@dataclass(frozen=True)
class Large:
    """A model, and how images are cut for it."""

    maps: Maps
    domain: Images | Volumes
    tile: int | None = None
    """Longest side of a tile in pixels; None: as :func:`tiling_of` has it."""
    overlap: int | None = None
    """The same."""

    @functools.cached_property
    def encoding(self) -> Tiling:
        """How images are cut.

        Raises:
            DistvaeError: tile and overlap do not fit the encoder.
        """
        return self._tiling(self.maps.encoder_reach)

    @functools.cached_property
    def decoding(self) -> Tiling:
        """How latents are cut; raises the same of the decoder."""
        return self._tiling(self.maps.decoder_reach)

    def _tiling(self, reach: int | None) -> Tiling:
        axes = len(self.domain.shape) - 1
        unit = "pixels" if axes == 2 else "voxels"
        return tiling_of(self.tile, self.overlap, reach, self.factor, USUAL_TILES[axes], unit)

    @property
    def factor(self) -> int:
        """Pixels of a place of the latents."""
        return self.maps.factor

    @property
    def whole(self) -> str:
        """What is taken in tiles, in the plural."""
        return "images" if isinstance(self.domain, Images) else "volumes"

    @property
    def channels(self) -> int:
        """Z."""
        return self.maps.channels

    def tiles(self, tiling: Tiling, sides: Sequence[int]) -> int:
        """How many tiles latents of some sides have."""
        return count_of(sides, *self._places(tiling))

    def _places(self, tiling: Tiling) -> tuple[int, int]:
        return tiling.tile // self.factor, tiling.overlap // self.factor

    def encode(
        self, stored: Stored, given: Values | None, advance: Advance = _unwatched
    ) -> tuple[Floats, Floats]:
        """Mean and log-variance ``[B, Z, *S]`` of images ``[B, C, *F * S]``.

        Args:
            stored: as they are stored; sides are multiples of the factor, and the parts of tiles
                are asked for.
            given: what the model is given of each ``[B, A]``.
            advance: told of each tile.
        """
        factor = self.factor
        sides = [side // factor for side in stored.shape[2:]]

        def compute(parts: tuple[slice, ...]) -> Floats:
            part = stored[(slice(None), slice(None), *(_times(each, factor) for each in parts))]
            both = np.stack(self.maps.encode(np.ascontiguousarray(part), given))
            flat: Floats = both.reshape(-1, *both.shape[3:])
            return flat

        strips = in_tiles(
            compute, sides, *self._places(self.encoding), 1, self.encoding.exact, advance
        )
        found = np.concatenate([strip for _, strip in strips], 1)
        mean, log_variance = found.reshape(2, stored.shape[0], self.channels, *sides)
        return mean, log_variance

    def decode(
        self, latents: Floats, given: Values | None, advance: Advance = _unwatched
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Strips of what is made of latents ``[Z, *S]``: first row, and levels ``[C, rows, ...]``.

        Args:
            latents: of one image.
            given: of one row.
            advance: told of each tile.
        """

        def compute(parts: tuple[slice, ...]) -> Floats:
            part = np.ascontiguousarray(latents[(None, slice(None), *parts)])
            image: Floats = self.maps.decode(part, given)[0]
            return image

        tiles, sides = self._places(self.decoding), latents.shape[1:]
        exact = self.decoding.exact
        for top, strip in in_tiles(compute, sides, *tiles, self.factor, exact, advance):
            yield top, self.maps.to_stored(strip)

    def image(
        self,
        latents: Floats,
        given: Values | None,
        into: NDArray[Any],
        advance: Advance = _unwatched,
    ) -> None:
        """Write the image of latents ``[Z, *S]`` into an array ``[C, *F * S]``."""
        for top, strip in self.decode(latents, given, advance):
            into[:, top : top + strip.shape[1]] = strip


def large_of(
    trained: Trained, tile: int | None = None, overlap: int | None = None, what: str = "this"
) -> Large:
    """A trained model, by its weights or by its exported files.

    Args:
        trained: the model.
        tile: longest side of a tile in pixels; None: as :func:`tiling_of` has it.
        overlap: the same.
        what: is asked of it, for a message.

    Raises:
        DistvaeError: its latents do not lie at every place of images or volumes, or a file cannot be used.
    """
    if not isinstance(trained.domain, Images | Volumes):
        told = f"{trained.name} is of {trained.domain.told}"
        raise DistvaeError(f"{what} is for images and volumes", told)
    maps: Maps
    if trained.onnx is not None:
        from distvae.tools.exported_maps import ExportedMaps

        maps = ExportedMaps(trained)
    else:
        from distvae.tools.weighed_maps import WeighedMaps

        maps = WeighedMaps(trained, what)
    return Large(maps, trained.domain, tile, overlap)


def _times(part: slice, factor: int) -> slice:
    return slice(factor * part.start, factor * part.stop)
