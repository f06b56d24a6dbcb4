"""Whole pictures or volumes, each of its own size, of which a run sees views. No torch.

Legend: P pictures, N views of an epoch, B batch, C channels, S the sides: height and width, or
depth before these; s those of a view.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.sources.raw import UNLABELLED
from distvae.data.views import Augmentation, Codes, Places, decode, encode
from distvae.draws.order import permutation
from distvae.draws.philox import Source, Stream


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures one after the other in memory or a memory map."""

    pixels: NDArray[Any]
    """``[C, *S]`` of each, flat; perhaps more than these."""
    sizes: NDArray[np.int64]
    """The sides of each ``[P, S]``."""
    view: tuple[int, ...]
    """``(C, *s)``."""
    counts: NDArray[np.int64]
    """How many views of each an epoch has ``[P]``, where it has as many as it likes."""
    labels: NDArray[np.int64] | None
    """Of the pictures ``[P]``, -1 where one is not known."""
    attributes: NDArray[np.float32] | None
    """Of the pictures ``[P, A]``."""
    epoch_images: int | None = None
    """N, where it is not the sum of the counts."""

    @classmethod
    def of(
        cls,
        pixels: NDArray[Any],
        sizes: NDArray[np.int64],
        view: tuple[int, ...],
        labels: NDArray[np.int64] | None,
        attributes: NDArray[np.float32] | None,
    ) -> "Pictures":
        """Pictures that each have as many views an epoch as lie beside each other."""
        counts = (sizes // np.array(view[1:])).prod(1)
        return cls(pixels.reshape(-1), sizes, view, counts, labels, attributes)

    @classmethod
    def alike(cls, stored: NDArray[Any], *known: Any) -> "Pictures":
        """Examples ``[N, C, *S]``, each seen once an epoch; then labels and attributes."""
        count, *view = stored.shape
        sizes = np.tile(np.array(view[1:], np.int64), (count, 1))
        return cls(stored.reshape(-1), sizes, tuple(view), np.ones(count, np.int64), *known)

    def __len__(self) -> int:
        """N."""
        return self.epoch_images or int(self.counts.sum())

    @functools.cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each begins among the pixels ``[P]``."""
        ends = (self.view[0] * self.sizes.prod(1)).cumsum()
        return np.concatenate([[0], ends[:-1]]).astype(np.int64)

    def with_epochs_of(self, images: int | None) -> "Pictures":
        """The same with so many views an epoch; None is as many as there could be."""
        return dataclasses.replace(self, epoch_images=images)

    def only_labelled(self) -> "Pictures":
        """The same without views of pictures that have no label."""
        assert self.labels is not None
        counts = np.where(self.labels == UNLABELLED, 0, self.counts)
        return dataclasses.replace(self, counts=counts)

    def seen_in(self, epoch: int, seed: int) -> NDArray[np.int64]:
        """The picture of each view of an epoch, in the order of their numbers ``[N]``.

        Where an epoch does not have as many views as there could be, they are taken evenly, and
        from another place in each epoch.
        """
        all_of_them = np.repeat(np.arange(len(self.counts)), self.counts)
        total, count = len(all_of_them), len(self)
        if count == total:
            return all_of_them
        start = int(Source(seed, Stream.PICTURES).words(1, epoch)[0] % np.uint64(total))
        return all_of_them[(np.arange(count) * total + start) // count]

    def epoch(self, augmentation: Augmentation, seed: int, epoch: int) -> NDArray[np.int64]:
        """The views of an epoch in their order, as codes ``[N]``."""
        pictures = self.seen_in(epoch, seed)
        rooms = self.sizes[pictures] - np.array(self.view[1:])
        codes = encode(pictures, augmentation.places(rooms, seed, epoch))
        order: NDArray[np.int64] = codes[permutation(len(codes), seed, Stream.ORDER, epoch)]
        return order

    def fill(self, codes: NDArray[np.int64], views: NDArray[Any]) -> None:
        """Write the views of some codes ``[B]`` into ``views [B, C, *s]``."""
        pictures, places = self.decode(codes)
        for index, picture in enumerate(pictures.tolist()):
            sides, start = self.sizes[picture].tolist(), int(self.starts[picture])
            size = self.view[0] * math.prod(sides)
            pixels = self.pixels[start : start + size].reshape(-1, *sides)
            views[index] = view_of(pixels, self.view[1:], places, index)

    def decode(self, codes: Any) -> Codes:
        """What the codes of some views say, of an array or a tensor."""
        return decode(codes, self.sizes.shape[1])


def view_of(
    pixels: NDArray[Any], sides: tuple[int, ...], places: Places, index: int
) -> NDArray[Any]:
    """One of some views, of a picture ``[C, *S]``: ``[C, *s]``."""
    starts = (int(each[index]) for each in places.starts)
    parts = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    view = pixels[(slice(None), *parts)]
    return view[..., ::-1] if places.flipped[index] else view


def grid(sizes: NDArray[np.int64], sides: tuple[int, ...]) -> NDArray[np.int64]:
    """Views that lie beside each other, as many as fit, in the middle of each picture: codes.

    Args:
        sizes: the sides of each picture ``[P, S]``, none below ``sides``.
        sides: s.
    """
    return np.concatenate([np.zeros(0, np.int64), *_grids(sizes, sides)])


def _grids(sizes: NDArray[np.int64], sides: tuple[int, ...]) -> Iterator[NDArray[np.int64]]:
    for picture, size in enumerate(sizes.tolist()):
        along = [
            (whole - whole // side * side) // 2 + side * np.arange(whole // side)
            for whole, side in zip(size, sides, strict=True)
        ]
        starts = tuple(each.ravel() for each in np.meshgrid(*along, indexing="ij"))
        unflipped = np.zeros(len(starts[0]), np.int64)
        yield encode(np.full(len(unflipped), picture), Places(starts, unflipped))
