"""Which examples a step sees, as pure functions of seed, epoch, micro-batch and process."""

import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distvae.data.encoded import decode_image
from distvae.data.image_data import Split
from distvae.data.pixels import check_size, read_picture
from distvae.data.shards import Example, State
from distvae.data.streaming import Stream
from distvae.draws import philox
from distvae.draws.order import permutation
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

AHEAD = 4
"""Batches of a stream that are read and decoded before they are asked for."""


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


class TrainImages(Protocol):
    """What a run trains on; rows are numbers, a range where the images are streamed."""

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

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            stored = torch.from_numpy(split.stored)
        labels, values = (
            None if each is None else torch.from_numpy(each)
            for each in (split.labels, split.attributes)
        )
        return cls(stored, labels, torch.device("cpu"), values)

    def to(self, device: "torch.device | str") -> "ResidentImages":
        """The same with batches on a device, and all examples if they take at most half of it."""
        import torch

        device = torch.device(device)
        fits = (
            device.type != "cuda" or self.stored.nbytes <= torch.cuda.mem_get_info(device)[0] // 2
        )
        stored = self.stored.to(device) if fits else self.stored
        labels, values = (
            None if each is None else each.to(stored.device)
            for each in (self.labels, self.attributes)
        )
        return ResidentImages(stored, labels, device, values)

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.stored)

    @property
    def state(self) -> None:
        """None: any row is at hand."""

    def go_on_from(self, state: State) -> None:
        """Nothing: any row is at hand."""

    def gather(self, rows: "Tensor") -> Gathered:
        """The examples of the rows, int64 ``[B]``."""
        rows = rows.to(self.stored.device)
        labels, values = (
            None if each is None else each.index_select(0, rows).to(self.device)
            for each in (self.labels, self.attributes)
        )
        return Gathered(self.stored.index_select(0, rows).to(self.device), labels, values)


class StreamedImages:
    """One process's part of a stream, read by one thread and decoded by others, a little ahead.

    The rows of epoch e are counted from e times the images of an epoch. Asked for one after the
    other they are read once; a jump, as at a resume, costs reading up to there, unless the place
    was given by :meth:`go_on_from`.

    Args:
        stream: what is read.
        image_shape: ``(C, H, W)`` of every image.
        seed: of the run.
        rank: of this process.
        world_size: how many there are.
        device: where batches are needed.

    Raises:
        DistvaeError: there are more processes than shards.
    """

    def __init__(
        self,
        stream: Stream,
        image_shape: tuple[int, int, int],
        seed: int,
        rank: int,
        world_size: int,
        device: "torch.device",
    ) -> None:
        self._stream = stream
        self._shape = image_shape
        self._order = stream.order(seed, rank, world_size)
        self._world_size = world_size
        self._device = device
        self._reader = ThreadPoolExecutor(1)
        self._decoders = ThreadPoolExecutor(min(AHEAD, os.cpu_count() or 1))
        self._ahead: deque[Future[_Batch]] = deque()
        self._place: list[int] | None = None
        self._state: State | None = None

    def __len__(self) -> int:
        """The number of images in an epoch, over all processes."""
        return self._stream.images

    @property
    def state(self) -> State:
        """Where this process is, fit for JSON."""
        return {"place": self._place, "order": self._state}

    def go_on_from(self, state: State) -> None:
        """Let the next batch follow the one after which this was the ``state``."""
        self._start(state["place"], state["order"])

    def gather(self, rows: range) -> Gathered:
        """One block of a global batch.

        Raises:
            DistvaeError: an image cannot be read, has another size, or a label out of range.
        """
        import torch

        epoch, row = divmod(rows.start, len(self))
        place = [epoch, row // (len(rows) * self._world_size), len(rows)]
        if place != self._place:
            self._start(place, None)
        self._ahead.append(self._submit())
        images, labels, values, self._state = self._ahead.popleft().result()
        self._place = [epoch, place[1] + 1, len(rows)]
        known = (
            None if self._stream.label is None else torch.from_numpy(labels).to(self._device),
            torch.from_numpy(values).to(self._device) if self._stream.attributes else None,
        )
        return Gathered(torch.from_numpy(images).to(self._device), *known)

    def _start(self, place: list[int], state: State | None) -> None:
        """Begin to read ahead from a place: epoch, number of the batch in it, and its size."""
        for future in self._ahead:
            future.cancel()
        epoch, number, size = self._place = place
        examples = self._order.examples(epoch, state)
        self._state = state
        self._examples = islice(examples, 0 if state else number * size, None)
        self._ahead = deque(self._submit() for _ in range(AHEAD))

    def _submit(self) -> "Future[_Batch]":
        assert self._place is not None
        read = self._reader.submit(_read, self._examples, self._place[2])
        return self._decoders.submit(self._decode, read)

    def _decode(self, read: "Future[_Read]") -> "_Batch":
        examples, state = read.result()
        images = np.empty((len(examples), *self._shape), np.uint8)
        labels = np.empty(len(examples), np.int64)
        values = np.empty((len(examples), len(self._stream.attributes)), np.float32)
        stream, reading = self._stream, self._stream.reading
        assert reading is not None
        for index, example in enumerate(examples):
            encoded, where = stream.encoded(example), stream.where(example)
            pixels = read_picture(decode_image, encoded, where, reading, settled=True).pixels
            check_size(where, pixels.shape, "read at the start of the run", self._shape)
            images[index], labels[index] = pixels, stream.number(example)
            values[index] = stream.values(example)
        return images, labels, values, state


_Read = tuple[list[Example], State]
_Batch = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32], State]


def _read(examples: Iterator[tuple[Example, State]], count: int) -> _Read:
    """The next examples, and the state after the last of them."""
    taken = list(islice(examples, count))
    return [example for example, _ in taken], taken[-1][1]
