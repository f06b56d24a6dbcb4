"""Batches that are made ahead of the steps: the same bytes, no more than two, and an end."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from distvae.data.ahead import AHEAD, AheadImages, Epochs, Place, Sent
from distvae.data.batches import Gathered, ResidentImages, epoch_order, shard
from distvae.data.image_data import Split
from distvae.data.loaded import LoadedImages
from distvae.data.shards import State
from distvae.errors import DistvaeError
from tests.data.conftest import streamed
from tests.data.test_streaming import numbers, opened, order_of, sequence, write_shards

IMAGES, BATCH, SEED = 50, 12, 7
"""Two images of an epoch are left out."""


@pytest.fixture
def resident() -> ResidentImages:
    """Images of noise with labels, and what else they are given."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 65536, (IMAGES, 1, 3, 2), dtype=np.uint16)
    values = random.normal(size=(IMAGES, 2)).astype(np.float32)
    labels = random.integers(0, 9, IMAGES)
    return ResidentImages.from_split(Split({"images": pixels}, labels, None, values))


def equal(one: Gathered, other: Gathered) -> bool:
    pairs = list(zip(one.tensors(), other.tensors(), strict=True))
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_what_is_loaded_ahead_is_what_lies_there(
    resident: ResidentImages, accumulate: int, world_size: int
) -> None:
    for rank in range(world_size):
        loaded = LoadedImages(resident, Epochs(IMAGES, BATCH, rank, world_size), SEED)
        for epoch in range(3):
            order = torch.from_numpy(epoch_order(IMAGES, SEED, epoch))
            for step, micro in np.ndindex(IMAGES // BATCH, accumulate):
                part = shard(BATCH, accumulate, micro, world_size, rank)
                rows = slice(step * BATCH, (step + 1) * BATCH)
                found = loaded.gather(loaded.rows(epoch)[rows][part])
                assert equal(found, resident.gather(order[rows][part]))
        loaded.close()


def test_a_jump_begins_anew(resident: ResidentImages) -> None:
    loaded = LoadedImages(resident, Epochs(IMAGES, BATCH, 0, 1), SEED)
    for epoch, step in ((0, 0), (0, 1), (2, 3), (0, 0), (3, 0), (2, 3)):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        order = torch.from_numpy(epoch_order(IMAGES, SEED, epoch))
        assert equal(loaded.gather(loaded.rows(epoch)[rows]), resident.gather(order[rows]))
    loaded.close()


def test_without_labels() -> None:
    split = Split.of_images(np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1), None)
    loaded = LoadedImages(ResidentImages.from_split(split), Epochs(8, 4, 0, 1), SEED)
    found = loaded.gather(range(4))
    assert found.stored.flatten().tolist() == epoch_order(8, SEED, 0)[:4].tolist()
    assert found.labels is found.attributes is None
    loaded.close()


def threads() -> list[str]:
    """Those that make batches."""
    return [one.name for one in threading.enumerate() if one.name.startswith("distvae-")]


class Counted(AheadImages):
    """Batches that say where they are."""

    def __init__(self, bad: int | None = None) -> None:
        super().__init__(Epochs(IMAGES, BATCH, 0, 1), torch.device("cpu"))
        self.begun: list[Place] = []
        self._bad = bad
        self._threads = ThreadPoolExecutor(3, "distvae-count")

    def close(self) -> None:
        super().close()
        self._threads.shutdown()

    def _begin(self, place: Place, state: State | None) -> None:
        pass

    def _submit(self, place: Place) -> "Future[tuple[Sent, State | None]]":
        self.begun.append(place)
        return self._threads.submit(self._made, place)

    def _made(self, place: Place) -> tuple[Sent, State | None]:
        if place.number == self._bad:
            raise DistvaeError(f"block {place.number} is damaged")
        return self._transfer.send(Gathered(torch.tensor(place), None)), None


def test_never_more_than_two_are_ahead() -> None:
    images = Counted()
    for taken in range(1, 10):  # over the ends of epochs of 4 batches
        epoch, step = divmod(taken - 1, IMAGES // BATCH)
        rows = images.rows(epoch)[step * BATCH : (step + 1) * BATCH]
        assert images.gather(rows).stored.tolist() == [epoch, step, BATCH]
        assert len(images.begun) == taken + AHEAD, "each is begun once"
    assert AHEAD == 2
    images.close()


def test_what_goes_wrong_ahead_is_told_at_its_step_and_leaves_no_thread() -> None:
    images = Counted(bad=2)
    assert not threads()
    for step in range(2):  # the third has failed by then, or is about to
        images.gather(range(step * BATCH, (step + 1) * BATCH))
    with pytest.raises(DistvaeError, match="block 2 is damaged"):
        images.gather(range(2 * BATCH, 3 * BATCH))
    images.close()
    assert not threads()


def test_a_stream_goes_on_through_epochs_and_stops(tmp_path: Path) -> None:
    data = opened(write_shards(tmp_path / "data", [11, 9, 13]), shuffle_buffer=8)
    images = streamed(data, seed=3, batch=10)
    seen, states = [], []
    for epoch, step in np.ndindex(3, 3):
        rows = images.rows(epoch)[10 * step : 10 * step + 10]
        seen.append(numbers(images.gather(rows).stored))
        states.append(images.state)
    for epoch in range(3):
        read = list(chain.from_iterable(seen[3 * epoch : 3 * epoch + 3]))
        assert read == sequence(order_of(data, seed=3), epoch, 30)
    images.close()
    for number in (2, 4):  # after an epoch's last batch, and in the middle of one
        resumed = streamed(data, seed=3, batch=10)
        resumed.go_on_from(states[number])
        assert resumed.state == states[number]
        epoch, step = divmod(number + 1, 3)
        rows = resumed.rows(epoch)[10 * step : 10 * step + 10]
        assert numbers(resumed.gather(rows).stored) == seen[number + 1]
        resumed.close()
    assert not threads()
