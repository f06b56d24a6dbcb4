"""Training images that are read and decoded anew in every epoch, a little ahead of the steps."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.data.ahead import AHEAD, AheadImages, Epochs, Place, Sent
from distvae.data.batches import Gathered
from distvae.data.encoded import decode_image
from distvae.data.pictures import view_of
from distvae.data.pixels import check_size, read_picture
from distvae.data.shards import Example, State, StreamOrder
from distvae.data.streaming import Stream
from distvae.data.views import Augmentation
from distvae.domains.levels import kind_of_levels

MOST_DECODERS = 16
LEAST_DECODED = 8
"""Images that a thread decodes at a time, at least."""


class StreamedImages(AheadImages):
    """One process's part of a stream, read by one thread and decoded by others.

    Asked for one after the other images are read once; a jump, as at a resume, costs reading up to
    there, unless the place was given by :meth:`go_on_from`.

    Args:
        stream: what is read.
        image_shape: ``(C, H, W)`` of every image.
        seed: of the run.
        epochs: how rows are cut into blocks.
        device: where batches are needed.

    Raises:
        DistvaeError: there are more processes than shards.
    """

    def __init__(
        self,
        stream: Stream,
        image_shape: tuple[int, int, int],
        seed: int,
        epochs: Epochs,
        device: torch.device,
    ) -> None:
        super().__init__(epochs, device)
        self._stream = stream
        self._shape, self._seed = image_shape, seed
        self._augmentation = Augmentation.of(stream.config)
        self._order = stream.order(seed, epochs.rank, epochs.world_size)
        self._reader = ThreadPoolExecutor(1, "distvae-read")
        self._makers = ThreadPoolExecutor(AHEAD + 1, "distvae-make")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._decoding = max(1, min(MOST_DECODERS, (os.cpu_count() or 1) // here))
        self._decoders = ThreadPoolExecutor(self._decoding, "distvae-decode")

    @property
    def state(self) -> State:
        """Where this process is, fit for JSON."""
        place, state = self._left or (None, None)
        if self._next is not None:
            place, state = self._next, self._state
        return {"place": place and list(place), "order": state}

    def close(self) -> None:
        """End the threads."""
        super().close()
        for pool in (self._reader, self._makers, self._decoders):
            pool.shutdown(cancel_futures=True)

    def _begin(self, place: Place, state: State | None) -> None:
        self._reading = _Reading(self._order, place, state)

    def _submit(self, place: Place) -> "Future[tuple[Sent, State | None]]":
        read = self._reader.submit(self._reading.block, place)
        return self._makers.submit(self._make, read, place)

    def _make(self, read: "Future[_Read]", place: Place) -> tuple[Sent, State | None]:
        examples, state = read.result()
        buffer, stream, count = self._transfer.buffer, self._stream, len(examples)
        assert stream.reading is not None
        kind = getattr(torch, kind_of_levels(stream.reading.levels))
        batch = Gathered(
            buffer((count, *self._shape), kind),
            None if stream.label is None else buffer((count,), torch.int64),
            buffer((count, len(stream.attributes)), torch.float32) if stream.attributes else None,
        )
        size = max(LEAST_DECODED, -(-count // self._decoding))
        parts = [slice(start, start + size) for start in range(0, count, size)]
        submit = self._decoders.submit
        for done in [submit(self._decode, examples, batch, part, place) for part in parts]:
            done.result()
        return self._transfer.send(batch), state

    def _decode(self, examples: list[Example], batch: Gathered, part: slice, place: Place) -> None:
        """Write the examples of a part of a block where the batch has them."""
        stream, reading = self._stream, self._stream.reading
        assert reading is not None
        stored, labels, values = (None if each is None else each.numpy() for each in batch)
        assert stored is not None
        for index, example in enumerate(examples[part], part.start):
            encoded, where = stream.encoded(example), stream.where(example)
            pixels = read_picture(decode_image, encoded, where, reading, settled=True).pixels
            if not self._augmentation.crop:
                check_size(where, pixels.shape, "read at the start of the run", self._shape)
            stored[index] = self._view(pixels, place, index)
            number = stream.number(example)
            if labels is not None:
                labels[index] = number
            if values is not None:
                values[index] = stream.values(example)

    def _view(self, pixels: NDArray[Any], place: Place, index: int) -> NDArray[Any]:
        """Of a picture ``[C, H, W]`` what is seen of it in its place ``[C, h, w]``."""
        if not self._augmentation:
            return pixels
        sides = self._shape[1:]
        room = np.array([pixels.shape[1:]], np.int64) - np.array(sides)
        number = self._epochs.start(place) + index
        places = self._augmentation.places(room, self._seed, place.epoch, number)
        return view_of(pixels, sides, places, 0)


_Read = tuple[list[Example], State]


class _Reading:
    """A process's examples from a place on, through the epochs; for one thread."""

    def __init__(self, order: StreamOrder, place: Place, state: State | None) -> None:
        self._order = order
        self._examples = self._from(place, state)

    def block(self, place: Place) -> _Read:
        """The examples of the next place, and the state after the last of them."""
        if not place.number:
            self._examples = self._from(place, None)
        taken = list(islice(self._examples, place.size))
        return [example for example, _ in taken], taken[-1][1]

    def _from(self, place: Place, state: State | None) -> Iterator[tuple[Example, State]]:
        examples = self._order.examples(place.epoch, state)
        return islice(examples, 0 if state else place.number * place.size, None)
