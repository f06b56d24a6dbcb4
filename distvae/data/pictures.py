"""Whole pictures, each of its own size, of which a run sees views. No torch.

Legend: P pictures, N views of an epoch, B batch, C channels, h and w the sides of a view.
"""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.sources.raw import UNLABELLED
from distvae.data.views import Augmentation, Places, decode, encode
from distvae.draws.order import permutation
from distvae.draws.philox import Source, Stream


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures one after the other in memory or a memory map."""

    pixels: NDArray[Any]
    """``[C, H, W]`` of each, flat; perhaps more than these."""
    sizes: NDArray[np.int64]
    """Height and width of each ``[P, 2]``."""
    view: tuple[int, int, int]
    """``(C, h, w)``."""
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
        view: tuple[int, int, int],
        labels: NDArray[np.int64] | None,
        attributes: NDArray[np.float32] | None,
    ) -> "Pictures":
        """Pictures that each have as many views an epoch as lie beside each other."""
        counts = (sizes // np.array(view[1:])).prod(1)
        return cls(pixels.reshape(-1), sizes, view, counts, labels, attributes)

    @classmethod
    def alike(cls, stored: NDArray[Any], *known: Any) -> "Pictures":
        """Images ``[N, C, H, W]``, each seen once an epoch; then labels and attributes."""
        count, channels, height, width = stored.shape
        sizes = np.tile(np.array([height, width], np.int64), (count, 1))
        view = (channels, height, width)
        return cls(stored.reshape(-1), sizes, view, np.ones(count, np.int64), *known)

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
        """Write the views of some codes ``[B]`` into ``views [B, C, h, w]``."""
        pictures, places = decode(codes)
        starts = self.starts
        for index, picture in enumerate(pictures.tolist()):
            height, width = self.sizes[picture].tolist()
            start, size = int(starts[picture]), self.view[0] * height * width
            pixels = self.pixels[start : start + size].reshape(-1, height, width)
            views[index] = view_of(pixels, self.view[1:], places, index)


def view_of(
    pixels: NDArray[Any], sides: tuple[int, ...], places: Places, index: int
) -> NDArray[Any]:
    """One of some views, of a picture ``[C, H, W]``: ``[C, h, w]``."""
    top, left, flipped = (int(each[index]) for each in places)
    view = pixels[:, top : top + sides[0], left : left + sides[1]]
    return view[:, :, ::-1] if flipped else view


def grid(sizes: NDArray[np.int64], sides: tuple[int, ...]) -> NDArray[np.int64]:
    """Views that lie beside each other, as many as fit, in the middle of each picture: codes.

    Args:
        sizes: height and width of each picture ``[P, 2]``, none below ``sides``.
        sides: h and w.
    """
    return np.concatenate([np.zeros(0, np.int64), *_grids(sizes, sides)])


def _grids(sizes: NDArray[np.int64], sides: tuple[int, ...]) -> Iterator[NDArray[np.int64]]:
    for picture, (height, width) in enumerate(sizes.tolist()):
        tops, lefts = (
            (whole - whole // side * side) // 2 + side * np.arange(whole // side)
            for whole, side in zip((height, width), sides, strict=True)
        )
        down, across = (each.ravel() for each in np.meshgrid(tops, lefts, indexing="ij"))
        unflipped = np.zeros(len(down), np.int64)
        yield encode(np.full(len(down), picture), Places(down, across, unflipped))
