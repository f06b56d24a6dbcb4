from pathlib import Path

import numpy as np
import pytest
import torch

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages, epoch_order, shard
from distvae.data.store import Split, open_data
from distvae.errors import DistvaeError


def test_an_epoch_visits_every_row_once() -> None:
    order = epoch_order(1000, seed=3, epoch=5)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(1000))


def test_orders_differ_between_epochs_and_seeds_and_never_change() -> None:
    orders = {
        (seed, epoch): tuple(epoch_order(100, seed, epoch).tolist())
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(set(orders.values())) == 25
    # Written down once: a change would make every resumed run another run.
    assert epoch_order(8, seed=0, epoch=0).tolist() == [4, 2, 3, 5, 0, 1, 7, 6]


def test_orders_are_uniform() -> None:
    first = [epoch_order(10, seed=0, epoch=epoch)[0] for epoch in range(5000)]
    counts = np.bincount(first, minlength=10)
    # Chi-squared with 9 degrees of freedom is below 33 in all but one of 7000 cases.
    assert ((counts - 500) ** 2 / 500).sum() < 33


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 1), (1, 4), (3, 1), (2, 3)])
def test_shards_partition_the_batch(accumulate: int, world_size: int) -> None:
    slices = [
        shard(24, accumulate, micro, world_size, rank)
        for micro in range(accumulate)
        for rank in range(world_size)
    ]
    positions = np.arange(24)
    np.testing.assert_array_equal(np.concatenate([positions[part] for part in slices]), positions)
    assert len({part.stop - part.start for part in slices}) == 1


@pytest.mark.parametrize(("batch_size", "fitting"), [(128, "126 or 132"), (4, "6")])
def test_a_batch_that_cannot_be_shared_names_those_that_can(batch_size: int, fitting: str) -> None:
    message = f"--batch-size {batch_size} .*3 processes in 2 .*multiple of 6.*{fitting}\\."
    with pytest.raises(DistvaeError, match=message):
        shard(batch_size, accumulate=2, micro=0, world_size=3, rank=0)


def test_gather_reads_the_rows_from_the_memory_map(trees: Path) -> None:
    split = open_data(DataConfig(data=str(trees))).train
    resident = ResidentImages.from_split(split).to("cpu")
    rows = torch.tensor([7, 2, 2, 8])
    images, labels, _ = resident.gather(rows)
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images.numpy(), split.images[rows.numpy()])
    assert labels is not None
    assert split.labels is not None
    assert labels.tolist() == split.labels[rows.numpy()].tolist()
    address = split.images.__array_interface__["data"][0]
    assert resident.stored.data_ptr() == address, "the memory map was copied"


def test_gather_without_labels() -> None:
    split = Split.of_images(np.zeros((3, 1, 2, 2), np.uint8), None)
    assert ResidentImages.from_split(split).gather(torch.tensor([1]))[1] is None
