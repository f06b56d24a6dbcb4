"""Fields of any kind of numbers become memory maps with digests of what they hold."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from distvae.data.identity import ROWS, digest_of
from distvae.data.npy import mapped
from distvae.data.writing import check_space, write_fields, write_numbers
from distvae.errors import DistvaeError
from distvae.fields import Field

DTYPES = ("bool", "uint8", "int8", "uint16", "int32", "int64", "float16", "float32", "float64")
COUNT = 2 * ROWS + 3


def written(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    fields = [Field(name, array.shape[1:], array.dtype.name) for name, array in arrays.items()]

    def fill(rows: slice, parts: Mapping[str, NDArray[Any]]) -> Iterator[str]:
        for name, part in parts.items():
            part[:] = arrays[name][rows]
        yield f"{rows.stop - rows.start} rows"

    done: list[int] = []
    count = len(next(iter(arrays.values())))
    digests, said = write_fields(folder, "train", fields, count, fill, done.append)
    whole, rest = divmod(count, ROWS)
    assert done == [ROWS] * whole + [rest] * bool(rest)
    assert said == Counter({f"{size} rows": done.count(size) for size in done})
    return digests


@settings(max_examples=30, deadline=None)
@given(
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3),
    shape=st.lists(st.integers(1, 4), max_size=4),
    count=st.sampled_from((1, ROWS, COUNT)),
)
def test_what_is_written_is_read_again_as_a_memory_map(
    tmp_path_factory: pytest.TempPathFactory, dtypes: list[str], shape: list[int], count: int
) -> None:
    folder = tmp_path_factory.mktemp("fields")
    random = np.random.default_rng(len(dtypes) + count)
    arrays = {
        f"field{number}": random.integers(0, 2, (count, *shape)).astype(dtype)
        for number, dtype in enumerate(dtypes)
    }
    digests = written(folder, arrays)
    assert set(digests) == {f"train-{name}" for name in arrays}
    for name, array in arrays.items():
        found = mapped(folder / f"train-{name}.npy")
        assert isinstance(found, np.memmap)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        assert digests[f"train-{name}"] == digest_of(array)


def test_a_digest_is_that_of_kind_shape_and_pieces(tmp_path: Path) -> None:
    values = np.arange(COUNT * 2, dtype=np.float32).reshape(COUNT, 2)
    digest = hashlib.sha256(f"<f4 ({COUNT}, 2)\n".encode())
    for start in range(0, COUNT, ROWS):
        digest.update(hashlib.sha256(values[start : start + ROWS].tobytes()).digest())
    assert written(tmp_path, {"values": values}) == {"train-values": digest.hexdigest()}
    numbers = write_numbers(tmp_path, "train", {"labels": np.arange(3), "rows": None})
    assert list(numbers) == ["train-labels"]
    assert numbers["train-labels"] == digest_of(np.load(tmp_path / "train-labels.npy"))


def test_what_is_no_array_of_numbers_is_not_opened(tmp_path: Path) -> None:
    for number, array in enumerate((np.array(["a"]), np.zeros((2, 2)).T[:1], np.zeros(2, "c8"))):
        path = tmp_path / f"{number}.npy"
        np.save(path, np.asfortranarray(array) if array.ndim > 1 else array)
        if number != 1:
            with pytest.raises(ValueError, match="does not begin as an array of ours"):
                mapped(path)


def test_a_failure_ends_the_writing(tmp_path: Path) -> None:
    def fill(rows: slice, parts: Mapping[str, NDArray[Any]]) -> Iterator[str]:
        if rows.start:
            raise DistvaeError("an example cannot be read", "expected one that can")
        yield from ()

    with pytest.raises(DistvaeError, match="cannot be read"):
        write_fields(tmp_path, "train", [Field("values", (2,), "int16")], COUNT, fill)


def test_room_is_that_of_all_fields(tmp_path: Path) -> None:
    fields = [Field("values", (1000, 1000), "float64"), Field("more", (10**9,), "uint8")]
    check_space(tmp_path / "store", 1, fields[:1], "tables")
    told = re.escape("1000000 tables of 1000 x 1000 and 1000000000 need 1,008,000,008.0 MB in")
    with pytest.raises(DistvaeError, match=told):
        check_space(tmp_path / "store", 10**6, fields, "tables")
