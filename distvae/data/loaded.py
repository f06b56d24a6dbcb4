"""Training images that lie in memory or a memory map, as they do not fit the device."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from distvae.data.ahead import AHEAD, AheadImages, Epochs, Place, Sent
from distvae.data.augmented import AugmentedImages
from distvae.data.batches import ResidentImages
from distvae.data.shards import State


class LoadedImages(AheadImages):
    """Images of the host in the order of each epoch, gathered by threads and sent ahead.

    Args:
        images: they lie on the host, and their batches are needed on their ``device``.
        epochs: how rows are cut into blocks.
        seed: of the order.
    """

    def __init__(self, images: ResidentImages | AugmentedImages, epochs: Epochs, seed: int) -> None:
        super().__init__(epochs, images.device)
        self._images = images
        self._order = lru_cache(2)(lambda epoch: images.order(seed, epoch))
        self._threads = ThreadPoolExecutor(AHEAD, "distvae-load")

    @property
    def note(self) -> str:
        """That they do not fit."""
        return (
            f"the images take {self._images.nbytes / 1e9:,.1f} GB, more than half of what "
            f"is free on the GPU: they stay in this machine's memory, and come {AHEAD} batches "
            "ahead of the steps"
        )

    def close(self) -> None:
        """End the threads."""
        super().close()
        self._threads.shutdown(cancel_futures=True)

    def _begin(self, place: Place, state: State | None) -> None:
        pass

    def _submit(self, place: Place) -> "Future[tuple[Sent, State | None]]":
        start = self._epochs.start(place)
        rows = self._order(place.epoch)[start : start + place.size]
        return self._threads.submit(self._load, rows)

    def _load(self, rows: NDArray[np.int64]) -> tuple[Sent, State | None]:
        return self._transfer.send(self._images.load(rows, self._transfer.buffer)), None
