"""Which examples a step sees, as pure functions of seed, epoch, micro-batch and process."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distvae.data.image_data import Split
from distvae.data.shards import State
from distvae.draws import philox
from distvae.draws.order import permutation
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Buffer = Callable[[tuple[int, ...], "torch.dtype"], "Tensor"]
"""Memory of the host of a shape and kind, to be filled."""


def epoch_order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the rows: a permutation, int64 [size]."""
    return permutation(size, seed, philox.Stream.ORDER, epoch)


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


class Gathered(NamedTuple):
    """Some examples and what is known of them."""

    stored: "Tensor"
    """``[B, *S]``."""
    labels: "Tensor | None"
    """int64 ``[B]``, -1 where one is not known; None of examples without."""
    attributes: "Tensor | None" = None
    """float32 ``[B, A]``, NaN where one is not known; None where there is but a label."""

    def tensors(self) -> "Iterator[Tensor]":
        """Those that there are."""
        return (tensor for tensor in self if tensor is not None)

    def each(self, change: "Callable[[Tensor], Tensor]") -> "Gathered":
        """The same of what ``change`` makes of each."""
        stored, *known = (None if tensor is None else change(tensor) for tensor in self)
        assert stored is not None
        return Gathered(stored, *known)


class TrainImages(Protocol):
    """What a run trains on; rows are numbers, a range of images that are not on the device."""

    def __len__(self) -> int:
        """The number of images in an epoch."""
        ...

    def gather(self, rows: Any) -> Gathered:
        """The examples of the rows ``[B]``."""
        ...

    @property
    def state(self) -> State | None:
        """Where this process is, fit for JSON; None where rows are found by their number alone."""
        ...

    def go_on_from(self, state: State) -> None:
        """Let the next batch follow the one after which this was the ``state``."""
        ...

    def close(self) -> None:
        """End what goes on beside the steps."""
        ...

    @property
    def there(self) -> bool:
        """Whether they lie where batches are needed."""
        ...

    @property
    def note(self) -> str:
        """What to say of where they lie, if anything."""
        ...


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """A split as tensors: examples as stored ``[N, *S]``, and labels where there are any.

    They lie on ``device`` where they fit, else in the memory map; batches are always on ``device``.
    """

    stored: "Tensor"
    labels: "Tensor | None"
    device: "torch.device"
    attributes: "Tensor | None" = None

    @classmethod
    def from_split(cls, split: Split) -> "ResidentImages":
        """A split on the CPU; the examples share the memory map and must not be written to."""
        import torch

        stored = tensor_of(split.stored)
        labels, values = (
            None if each is None else torch.from_numpy(each)
            for each in (split.labels, split.attributes)
        )
        return cls(stored, labels, torch.device("cpu"), values)

    def to(self, device: "torch.device | str") -> "ResidentImages":
        """The same with batches on a device, and all examples if they take at most half of it."""
        import torch

        device = torch.device(device)
        stored = self.stored.to(device) if fits(self.nbytes, device) else self.stored
        labels, values = (
            None if each is None else each.to(stored.device)
            for each in (self.labels, self.attributes)
        )
        return ResidentImages(stored, labels, device, values)

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.stored)

    @property
    def nbytes(self) -> int:
        """Of the examples."""
        return self.stored.nbytes

    @property
    def state(self) -> None:
        """None: any row is at hand."""

    def go_on_from(self, state: State) -> None:
        """Nothing: any row is at hand."""

    def close(self) -> None:
        """Nothing goes on beside."""

    note = ""

    @property
    def there(self) -> bool:
        """Whether the examples lie where batches are needed."""
        return self.stored.device.type == self.device.type

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The rows of an epoch, one after the other."""
        return epoch_order(len(self), seed, epoch)

    def gather(self, rows: "Tensor") -> Gathered:
        """The examples of the rows, int64 ``[B]``."""
        rows = rows.to(self.stored.device)
        labels, values = (
            None if each is None else each.index_select(0, rows).to(self.device)
            for each in (self.labels, self.attributes)
        )
        return Gathered(self.stored.index_select(0, rows).to(self.device), labels, values)

    def load(self, rows: NDArray[np.int64], buffer: Buffer) -> Gathered:
        """The examples of the rows ``[B]`` in memory of the host, where they lie."""

        def taken(tensor: "Tensor") -> "Tensor":
            there = buffer((len(rows), *tensor.shape[1:]), tensor.dtype)
            # not torch's, which would start threads of its own in this one
            np.take(tensor.numpy(), rows, axis=0, out=there.numpy(), mode="clip")
            return there

        known = self.stored, self.labels, self.attributes
        stored, *rest = (None if each is None else taken(each) for each in known)
        assert stored is not None
        return Gathered(stored, *rest)


def fits(size: int, device: "torch.device") -> bool:
    """Whether so many bytes take at most half of what is free on a device; of a CPU always."""
    import torch

    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2


def tensor_of(array: NDArray[Any]) -> "Tensor":
    """An array that may be read only as a tensor of the same memory, not to be written to."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
