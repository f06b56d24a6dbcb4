"""Which images a step sees, as pure functions of seed, epoch, micro-batch and process."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distvae.data.order import permutation
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from distvae.data.store import Split


def epoch_order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the rows: a permutation, int64 [size]."""
    return permutation(size, seed, epoch)


def shard(batch_size: int, accumulate: int, micro: int, world_size: int, rank: int) -> slice:
    """The positions of a global batch that one process handles in one micro-batch.

    Each micro-batch is one contiguous block and each process has one contiguous block in it.

    Raises:
        DistvaeError: the batch does not divide into that many equal blocks.
    """
    blocks = accumulate * world_size
    size, rest = divmod(batch_size, blocks)
    if rest or not size:
        fitting = [str(count * blocks) for count in (size, size + 1) if count]
        raise DistvaeError(
            f"--batch-size {batch_size} cannot be shared equally by {world_size} processes in "
            f"{accumulate} micro-batches",
            f"expected a multiple of {blocks}",
            f"Take --batch-size {' or '.join(fitting)}.",
        )
    start = (micro * world_size + rank) * size
    return slice(start, start + size)


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """A split as tensors: images uint8 [N, C, H, W] and labels int64 [N] where there are any.

    They lie on ``device`` where they fit, else in the memory map; batches are always on ``device``.
    """

    images: "Tensor"
    labels: "Tensor | None"
    device: "torch.device"

    @classmethod
    def from_split(cls, split: "Split") -> "ResidentImages":
        """A split on the CPU; the images share the memory map and must not be written to."""
        import torch

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            images = torch.from_numpy(split.images)
        labels = None if split.labels is None else torch.from_numpy(split.labels)
        return cls(images, labels, torch.device("cpu"))

    def to(self, device: "torch.device | str") -> "ResidentImages":
        """The same with batches on a device, and all images too if they take at most half of it."""
        import torch

        device = torch.device(device)
        fits = (
            device.type != "cuda" or self.images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2
        )
        images = self.images.to(device) if fits else self.images
        labels = None if self.labels is None else self.labels.to(images.device)
        return ResidentImages(images, labels, device)

    def gather(self, rows: "Tensor") -> "tuple[Tensor, Tensor | None]":
        """Images uint8 [B, C, H, W] and labels int64 [B] of the rows, int64 [B]."""
        rows = rows.to(self.images.device)
        images = self.images.index_select(0, rows).to(self.device)
        if self.labels is None:
            return images, None
        return images, self.labels.index_select(0, rows).to(self.device)
