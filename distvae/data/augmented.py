"""Training examples that are views of pictures or volumes, cut anew in each epoch.

Legend: P pictures, B batch, C channels, S the sides of a picture, s those of a view.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.data.batches import Buffer, Gathered, fits, tensor_of
from distvae.data.pictures import Pictures
from distvae.data.shards import State
from distvae.data.views import Augmentation, Places, decode

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class OnDevice(NamedTuple):
    """Pictures as tensors."""

    pixels: "Tensor"
    """Flat, as they are stored."""
    starts: "Tensor"
    """``[P]``."""
    sizes: "Tensor"
    """``[P, S]``."""
    labels: "Tensor | None"
    """``[P]``."""
    attributes: "Tensor | None"
    """``[P, A]``."""

    def gather(self, codes: "Tensor", view: tuple[int, ...]) -> Gathered:
        """The views of some codes ``[B]``, by one look-up of all pixels."""
        pictures, places = decode(codes, len(view) - 1)
        known = (
            None if each is None else each.index_select(0, pictures)
            for each in (self.labels, self.attributes)
        )
        return Gathered(self.pixels[self._where(pictures, places, view)], *known)

    def _where(self, pictures: "Tensor", places: Places, view: tuple[int, ...]) -> "Tensor":
        """Among the flat pixels, int64 ``[B, C, *s]``."""
        import torch

        channels, *along = (torch.arange(side, device=pictures.device) for side in view)
        sides = self.sizes.index_select(0, pictures).unbind(1)
        step, found = torch.ones_like(pictures), torch.zeros_like(pictures)
        flipped = places.flipped[:, None] > 0
        columns = torch.where(flipped, view[-1] - 1 - along[-1], along[-1])
        for start, each, side in zip(
            reversed(places.starts), [columns, *along[-2::-1]], reversed(sides), strict=True
        ):
            lines = (start[:, None] + each) * step[:, None]
            found = lines[(..., *[None] * (found.dim() - 1))] + found[:, None]
            step = step * side
        planes = self.starts.index_select(0, pictures)[:, None] + step[:, None] * channels
        return planes[(..., *[None] * len(along))] + found[:, None]


@dataclass(frozen=True, eq=False)
class AugmentedImages:
    """Views of whole pictures; rows are codes, see :mod:`distvae.data.views`.

    The pictures lie on ``device`` where they fit, else in memory or the memory map, from which
    views are cut on the host.
    """

    pictures: Pictures
    augmentation: Augmentation
    device: "torch.device"
    on_device: OnDevice | None = None

    def to(self, device: "torch.device | str") -> "AugmentedImages":
        """The same with batches on a device, and the pictures if they take at most half of it."""
        import torch

        device, pictures = torch.device(device), self.pictures
        if device.type != "cuda" or not fits(self.nbytes, device):
            return AugmentedImages(pictures, self.augmentation, device)
        parts = (
            *(pictures.pixels, pictures.starts, pictures.sizes),
            *(pictures.labels, pictures.attributes),
        )
        there = (None if part is None else tensor_of(part).to(device) for part in parts)
        return AugmentedImages(pictures, self.augmentation, device, OnDevice(*there))  # type: ignore[arg-type]

    def __len__(self) -> int:
        """The number of views in an epoch."""
        return len(self.pictures)

    @property
    def nbytes(self) -> int:
        """Of the pictures."""
        return self.pictures.pixels.nbytes

    @property
    def there(self) -> bool:
        """Whether the pictures lie where batches are needed."""
        return self.on_device is not None or self.device.type == "cpu"

    @property
    def state(self) -> None:
        """None: any view is at hand."""

    def go_on_from(self, state: State) -> None:
        """Nothing: any view is at hand."""

    def close(self) -> None:
        """Nothing goes on beside."""

    note = ""

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The views of an epoch, one after the other."""
        return self.pictures.epoch(self.augmentation, seed, epoch)

    def gather(self, rows: "Tensor") -> Gathered:
        """The examples of the codes, int64 ``[B]``."""
        import torch

        if self.on_device is not None:
            return self.on_device.gather(rows.to(self.device), self.pictures.view)
        loaded = self.load(rows.cpu().numpy(), lambda *form: torch.empty(form[0], dtype=form[1]))
        return loaded.each(lambda tensor: tensor.to(self.device))

    def load(self, rows: NDArray[np.int64], buffer: Buffer) -> Gathered:
        """The examples of the codes ``[B]`` in memory of the host."""
        import torch

        pictures, chosen = self.pictures, self.pictures.decode(rows).pictures
        views = buffer((len(rows), *pictures.view), getattr(torch, pictures.pixels.dtype.name))
        pictures.fill(rows, views.numpy())
        known = (
            None if each is None else torch.from_numpy(each[chosen])
            for each in (pictures.labels, pictures.attributes)
        )
        labels, values = (
            None if each is None else buffer(tuple(each.shape), each.dtype).copy_(each)
            for each in known
        )
        return Gathered(views, labels, values)
