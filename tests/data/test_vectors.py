"""Rows of numbers are read from tables and arrays, and stored as they are."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_wine

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from distvae.fields import Field


def opened(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(data=str(path), domain="vectors", **settings))


def write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
    return path


def sorted_rows(*arrays: NDArray[Any]) -> NDArray[Any]:
    rows = np.concatenate(arrays)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_every_row_and_label_is_there(load: Any, kind: str, tmp_path: Path) -> None:
    found = load()
    values, labels = found.data, found.target
    path = tmp_path / f"own.{kind}"
    if kind == "csv":
        rows = [
            [*row, found.target_names[y]] for row, y in zip(values.tolist(), labels, strict=True)
        ]
        write_csv(path, [*found.feature_names, "class"], rows)
    else:
        np.savez(path, data=values, target=labels)
    data = opened(path)
    count, width = values.shape
    assert data.fields == (Field("values", (width,), "float32"),)
    assert len(data.columns) == width
    assert len(data.train) + len(data.test) == count
    assert data.num_labels == len(found.target_names)
    names = list(found.target_names) if kind == "csv" else list(map(str, range(data.num_labels)))
    assert sorted(data.label_names) == sorted(names)
    if kind == "csv":
        assert data.columns == tuple(found.feature_names)
    order = [names.index(name) for name in data.label_names]
    kept = [
        np.column_stack([split.stored, np.array(order)[split.labels]])
        for split in (data.train, data.test)
    ]
    expected = np.column_stack([values.astype(np.float32), labels])
    np.testing.assert_array_equal(sorted_rows(*kept), sorted_rows(expected))
    again = opened(path)
    assert isinstance(again.train.stored, np.memmap)
    assert again.digests == data.digests
    stored, *_ = ResidentImages.from_split(again.test).gather(np_rows(again))
    np.testing.assert_array_equal(stored.numpy(), again.test.stored)


def np_rows(data: ImageData) -> Any:
    import torch

    return torch.arange(len(data.test))


def test_what_is_chosen_is_told(tmp_path: Path) -> None:
    rows = [[number, f"text {number}", number / 7, number % 2] for number in range(30)]
    path = write_csv(tmp_path / "mixed.csv", ["count", "remark", "share", "kind"], rows)
    data = opened(path, label_column="kind")
    assert (data.columns, data.label_names) == (("count", "share"), ("0", "1"))
    assert "left out: columns remark, which hold no numbers" in data.notes
    bare = opened(path)
    assert (bare.columns, bare.num_labels) == (("count", "share", "kind"), 0)
    assert "no column of labels is found (--label-column names one)" in bare.notes
    assert bare.fingerprint != data.fingerprint


def test_splits_are_those_of_files(tmp_path: Path) -> None:
    for name, count in (("train", 20), ("test", 6), ("val", 4)):
        rows = [[number, -number, "ab"[number % 2]] for number in range(count)]
        write_csv(tmp_path / f"{name}.csv", ["a", "b", "label"], rows)
    data = opened(tmp_path, split_validation="auto")
    assert data.validation is not None
    assert [len(split) for split in (data.train, data.test, data.validation)] == [20, 6, 4]
    np.testing.assert_array_equal(data.test.stored, [[n, -n] for n in range(6)])


def test_a_missing_number_is_named(tmp_path: Path) -> None:
    rows = [[1.0, 2.0, "a"], ["", 3.0, "b"], [4.0, 5.0, "a"]]
    with pytest.raises(DistvaeError, match=r"column x in row 1 of split train .* is missing.*Fill"):
        opened(write_csv(tmp_path / "gaps.csv", ["x", "y", "label"], rows))
    np.save(tmp_path / "large.npy", np.full((5, 2), 1e300))
    with pytest.raises(DistvaeError, match=r"column 0 in row 0 .* is 1e\+300.*10 cells"):
        opened(tmp_path / "large.npy")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: write_csv(path / "a.csv", ["a", "b"], [["x", "y"]] * 3), "no column of num"),
        (lambda path: np.savez(path / "a.npz", data=np.zeros((4, 2, 2, 2))), "no rows of numbers"),
        (lambda path: (path / "a.zip").write_bytes(b""), "no rows of numbers"),
    ],
)
def test_what_holds_no_rows_of_numbers_is_refused(write: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path)
    [path] = tmp_path.glob("a.*")
    with pytest.raises(DistvaeError, match=words):
        opened(path)


def test_a_path_that_is_not_there_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "wine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DistvaeError, match=r"no vectors called .*wnie.*wine\.csv"):
        opened(tmp_path / "wnie.csv")
