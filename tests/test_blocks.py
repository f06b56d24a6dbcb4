"""Work in blocks: every row once, halved where memory runs out, sized by what was measured."""

from collections.abc import Iterator

import pytest
import torch

from distvae import blocks
from distvae.blocks import for_doubles, in_blocks, measured

CPU = torch.device("cpu")


class Counted:
    """A memory of so many bytes, of which a row takes ``each`` beside what a block takes."""

    def __init__(self, free: int, each: int, block: int = 0) -> None:
        self.sizes: list[int] = []
        self._free, self._each, self._block = free, each, block

    def free(self) -> int:
        return self._free

    def start(self) -> None:
        return

    def used(self) -> int:
        return self.sizes[-1] * self._each + self._block

    def compute(self, part: slice) -> list[int]:
        self.sizes.append(part.stop - part.start)
        return list(range(part.start, part.stop))


def flat(parts: Iterator[list[int]]) -> list[int]:
    return [row for part in parts for row in part]


def test_on_a_cpu_blocks_have_the_size_they_are_given() -> None:
    done: list[int] = []
    parts = list(in_blocks(lambda part: part, range(3, 20), 7, CPU, done.append))
    assert parts == [slice(3, 10), slice(10, 17), slice(17, 20)]
    assert done == [7, 7, 3]
    assert measured(lambda part: None, 7, CPU) == 7


def test_a_block_is_halved_where_memory_runs_out_and_no_row_is_missed() -> None:
    sizes = []

    def compute(part: slice) -> list[int]:
        count = part.stop - part.start
        sizes.append(count)
        if count > 5:
            torch.empty(2**50)  # refused by the allocator of any machine
        return list(range(part.start, part.stop))

    done: list[int] = []
    assert flat(in_blocks(compute, range(30), 20, CPU, done.append)) == list(range(30))
    assert sizes == [20, 10, 5, 5, 5, 5, 5, 5]  # and never as large again
    assert sum(done) == 30


def test_what_has_no_room_for_one_row_and_other_errors_are_told() -> None:
    def too_large(part: slice) -> None:
        torch.empty(2**50)

    def wrong(part: slice) -> None:
        torch.zeros(2) @ torch.zeros(3)

    with pytest.raises(RuntimeError, match="allocate"):
        list(in_blocks(too_large, range(4), 4, CPU))
    with pytest.raises(RuntimeError, match="size"):
        list(in_blocks(wrong, range(4), 4, CPU))


@pytest.mark.parametrize(("free", "expected"), [(2000, 10), (2**50, 42_949_672), (10, 1)])
def test_elsewhere_they_fill_half_of_what_is_free_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    memory = Counted(free, each=100)
    monkeypatch.setattr(blocks, "memory_of", lambda device: memory)
    assert measured(memory.compute, 3, CPU) == expected
    assert blocks.fitting(100, CPU, usual=7) == expected
    rows = 2 * min(expected, 50) + 3
    assert flat(in_blocks(memory.compute, range(rows), 3, CPU)) == list(range(rows))
    assert memory.sizes[:2] == [3, 3]
    assert memory.sizes[2] == min(expected, rows - 3)


def test_what_a_block_takes_whatever_its_size_is_found_out_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = Counted(10_000, each=10, block=1000)
    monkeypatch.setattr(blocks, "memory_of", lambda device: memory)
    assert flat(in_blocks(memory.compute, range(2000), 10, CPU)) == list(range(2000))
    assert memory.sizes[:3] == [10, 45, 155]  # 110, 32 and 16 bytes a row
    assert max(memory.sizes) * 10 + 1000 <= 5000  # the half of what is free


def test_doubles_are_computed_on_a_cpu_where_there_is_no_other() -> None:
    assert for_doubles(CPU) == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured_and_told_of_when_it_is_through() -> None:
    device, done = torch.device("cuda"), [0]

    def compute(part: slice) -> torch.Tensor:
        return torch.ones(part.stop - part.start, 2**18, device=device).sum(1)

    def advance(count: int) -> None:
        done[0] += count

    parts = list(in_blocks(compute, range(100_000), 4, device, advance))
    assert [len(part) for part in parts[:1]] == [4]
    assert 1000 < len(parts[1]) <= 4096  # of 1 MiB each, 4 GiB together
    assert sum(len(part) for part in parts) == done[0] == 100_000
