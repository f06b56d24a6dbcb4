"""Batches that are made on the host while the steps before them are taken.

A GPU shall not wait for them: threads fill page-locked memory, a stream of its own copies that to
the device, and the step's stream waits for an event, which costs the host nothing. On a CPU the
threads are the same, and nothing is copied.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from distvae.data.batches import Gathered
from distvae.data.shards import State

if TYPE_CHECKING:
    import torch
    from torch import Tensor

AHEAD = 2
"""Batches that are made before they are asked for."""


class Sent(NamedTuple):
    """A batch on its way to the device."""

    gathered: Gathered
    arrived: "torch.cuda.Event | None"
    """Which the copies come before; None where nothing is on its way."""


class Transfer:
    """Brings batches from the host to a device.

    Args:
        device: where they are needed.
    """

    def __init__(self, device: "torch.device") -> None:
        import torch

        self._device = device
        on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]

    def buffer(self, shape: tuple[int, ...], dtype: "torch.dtype") -> "Tensor":
        """Memory of the host to be filled and sent, page-locked where the device is a GPU."""
        import torch

        return torch.empty(shape, dtype=dtype, pin_memory=self._stream is not None)

    def send(self, batch: Gathered) -> Sent:
        """Begin to copy what lies in buffers; any thread may call it, and does not wait."""
        import torch

        if self._stream is None:
            return Sent(batch, None)
        with torch.cuda.stream(self._stream):
            there = batch.each(lambda tensor: tensor.to(self._device, non_blocking=True))
            return Sent(there, self._stream.record_event())

    def receive(self, sent: Sent) -> Gathered:
        """The batch on the device, for the stream of the thread that takes steps."""
        import torch

        if sent.arrived is None:
            return sent.gathered.each(lambda tensor: tensor.to(self._device))
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(sent.arrived)
        for tensor in sent.gathered.tensors():
            tensor.record_stream(stream)  # or the next copies would get its memory too early
        return sent.gathered


class Place(NamedTuple):
    """Where in a run a process takes a block of a global batch."""

    epoch: int
    number: int
    """Of the block among those that the process takes in the epoch."""
    size: int
    """Of the block."""


@dataclass(frozen=True)
class Epochs:
    """How the rows of the epochs, counted one after the other, are cut into blocks."""

    images: int
    """Of an epoch."""
    batch: int
    """Global; what does not fill one at an epoch's end is left out."""
    rank: int
    world_size: int

    def place(self, rows: range) -> Place:
        """Where this process takes these rows."""
        epoch, row = divmod(rows.start, self.images)
        return Place(epoch, row // (len(rows) * self.world_size), len(rows))

    def start(self, place: Place) -> int:
        """Number of the first row of a block in its epoch."""
        return (place.number * self.world_size + self.rank) * place.size

    def after(self, place: Place) -> Place:
        """Where the process takes its next block."""
        blocks = self.images // self.batch * (self.batch // (place.size * self.world_size))
        if place.number + 1 < blocks:
            return place._replace(number=place.number + 1)
        return Place(place.epoch + 1, 0, place.size)


class AheadImages(ABC):
    """Images of the host, of which the next :data:`AHEAD` blocks are on their way.

    Rows are a range, counted through all epochs. Asked for in the order of the epochs, a block was
    begun two blocks before; a jump, as at a resume, begins anew.

    Args:
        epochs: how rows are cut into blocks.
        device: where batches are needed.
    """

    def __init__(self, epochs: Epochs, device: "torch.device") -> None:
        self._epochs = epochs
        self._transfer = Transfer(device)
        self._ahead: deque[Future[tuple[Sent, State | None]]] = deque()
        self._places: Iterator[Place] = iter(())
        self._next: Place | None = None
        self._left: tuple[Place, State | None] | None = None
        self._state: State | None = None

    def __len__(self) -> int:
        """The number of images in an epoch, over all processes."""
        return self._epochs.images

    def rows(self, epoch: int) -> range:
        """Those of an epoch."""
        return range(epoch * len(self), (epoch + 1) * len(self))

    @property
    def state(self) -> State | None:
        """Where this process is, fit for JSON; None where rows are found by their number alone."""
        return None

    @property
    def note(self) -> str:
        """What to say of where they lie, if anything."""
        return ""

    @property
    def there(self) -> bool:
        """No: batches are sent."""
        return False

    def gather(self, rows: range) -> Gathered:
        """One block of a global batch.

        Raises:
            DistvaeError: an image cannot be read.
        """
        place = self._epochs.place(rows)
        if place != self._next:
            self._start(place)
        while len(self._ahead) <= AHEAD:
            self._ahead.append(self._submit(next(self._places)))
        try:
            sent, self._state = self._ahead.popleft().result()
        except BaseException:
            self._stop()
            raise
        self._next = self._epochs.after(place)
        return self._transfer.receive(sent)

    def go_on_from(self, state: State) -> None:
        """Let the next batch follow the one after which this was the ``state``."""
        if state["place"] is not None:
            self._left = Place(*state["place"]), state["order"]

    def close(self) -> None:
        """End the threads."""
        self._stop()

    def _start(self, place: Place) -> None:
        self._stop()
        left, state = self._left or (None, None)
        self._left = None
        self._state = state if left == place and place.number else None
        self._begin(place, self._state)
        self._places = self._following(place)

    def _following(self, place: Place) -> Iterator[Place]:
        while True:
            yield place
            place = self._epochs.after(place)

    def _stop(self) -> None:
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._next = None

    @abstractmethod
    def _begin(self, place: Place, state: State | None) -> None:
        """Blocks from a place on are going to be made."""

    @abstractmethod
    def _submit(self, place: Place) -> "Future[tuple[Sent, State | None]]":
        """Begin to make the next block."""
