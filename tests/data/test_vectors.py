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
    return open_data(DataConfig(**{"data": str(path), "domain": "vectors", **settings}))


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


def test_missing_numbers_are_counted_by_column(tmp_path: Path) -> None:
    rows = [[1.0, 2.0, 3, "a"], ["", 3.0, 4, "b"], [4.0, "", 5, "a"], ["", 5.0, 6, "b"]]
    path = write_csv(tmp_path / "gaps.csv", ["x", "y", "z", "label"], rows)
    told = r"lacks numbers in 3 of 4 rows: column x in 2, y in 1; the first, in row 1, is missing"
    for settings in ({}, {"domain": None}):
        with pytest.raises(DistvaeError, match=told):
            opened(path, **settings)
    np.save(tmp_path / "large.npy", np.full((5, 2), 1e300))
    with pytest.raises(DistvaeError, match=r"5 of 5 rows: column 0 in 5.*is 1e\+300"):
        opened(tmp_path / "large.npy")


REALS = np.random.default_rng(0).normal(3.0, 20.0, (40, 16))
LEVELS = np.random.default_rng(0).integers(0, 200, (40, 16))
VECTORS = "rows are taken as vectors (--domain vectors)"


def headed(path: Path, values: Any, names: Sequence[str], labels: Any = None) -> Path:
    rows = values.tolist()
    if labels is not None:
        rows = [[*row, label] for row, label in zip(rows, labels, strict=True)]
    return write_csv(path, names, rows)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("write", "columns", "labels"),
    [
        pytest.param(
            lambda path: headed(path / "a.csv", REALS[:, :3], ["a", "b", "c"]), "abc", 0, id="named"
        ),
        pytest.param(
            lambda path: headed(
                path / "a.csv", REALS[:, :2], ["a", "b", "species"], 20 * ["oak", "ash"]
            ),
            "ab",
            2,
            id="the only text is the label",
        ),
        pytest.param(
            lambda path: write_csv(
                path / "a.csv",
                ["", "a", "b", "Unnamed: 3"],
                [[number, *row, ""] for number, row in enumerate(REALS[:, :2].tolist())],
            ),
            "ab",
            0,
            id="row numbers and an empty column",
        ),
        pytest.param(
            lambda path: write_csv(
                path / "a.csv",
                ["ID", "a", "b"],
                [[5 * number + 7, *row] for number, row in enumerate(REALS[:, :2].tolist())],
            ),
            "ab",
            0,
            id="a column called so that is another for each row",
        ),
        pytest.param(
            lambda path: write_csv(
                path / "a.csv",
                ["a;b;kind"],
                [[f"{x}", f"5;-{x}", f"25e1;{'pq'[x % 2]}"] for x in range(len(REALS))],
            ),
            "ab",
            2,
            id="commas before fractions",
        ),
        pytest.param(
            lambda path: headed(path / "a.csv", REALS, [f"V{n}" for n in range(16)]),
            [f"V{n}" for n in range(16)],
            0,
            id="no pixels by their values",
        ),
        pytest.param(
            lambda path: headed(
                path / "a.csv", REALS[1:, [*range(16), 0]], list(REALS[0, [*range(16), 0]])
            ),
            list(map(str, range(17))),
            0,
            id="no names",
        ),
        pytest.param(
            lambda path: save(path / "a.npz", x=LEVELS[:, :13], y=LEVELS[:, 0] % 3),
            list(map(str, range(13))),
            3,
            id="no square",
        ),
        pytest.param(
            lambda path: save(path / "a.npz", features=REALS, target=LEVELS[:, 0] % 3),
            list(map(str, range(16))),
            3,
            id="no usual name",
        ),
    ],
)
def test_what_can_be_no_images_is_taken_as_vectors(
    write: Any, columns: Sequence[str], labels: int, tmp_path: Path
) -> None:
    path = write(tmp_path)
    data = opened(path, domain=None)
    assert (data.columns, data.num_labels) == (tuple(columns), labels)
    assert VECTORS in data.notes[-1] or any(VECTORS in note for note in data.notes)
    asked = opened(path)
    assert (asked.digests, asked.columns) == (data.digests, data.columns)
    with pytest.raises(DistvaeError):
        opened(path, domain="images")
    with pytest.raises(DistvaeError, match=r"image|range"):
        opened(path, domain=None, image_size=8)


def test_what_may_be_either_is_taken_as_images_and_told(tmp_path: Path) -> None:
    for path in (
        headed(tmp_path / "a.csv", LEVELS, [f"pixel{n}" for n in range(16)]),
        save(tmp_path / "a.npz", data=LEVELS),
    ):
        data = opened(path, domain=None)
        assert (data.columns, data.shape) == ((), (1, 4, 4))
        assert any("--domain vectors takes them as rows of numbers" in note for note in data.notes)
        assert opened(path).shape == (16,)


def test_columns_that_hold_no_numbers_need_the_flag(tmp_path: Path) -> None:
    rows = [[number / 7, f"street {number}", "ab"[number % 2]] for number in range(30)]
    path = write_csv(tmp_path / "mixed.csv", ["price", "street", "class"], rows)
    with pytest.raises(DistvaeError, match=r"street do not, and price do.*--domain vectors"):
        opened(path, domain=None)
    assert opened(path).columns == ("price",)


def test_a_table_whose_first_line_is_a_row_is_refused(tmp_path: Path) -> None:
    path = headed(tmp_path / "a.csv", REALS[1:, :5], list(REALS[0, :5]))
    with pytest.raises(DistvaeError, match=r"first line of .* holds numbers.*Write a first line"):
        opened(path, domain=None)
    path = headed(
        tmp_path / "iris.csv", REALS[1:, :4], [*map(str, REALS[0, :4]), "oak"], 39 * ["oak"]
    )
    with pytest.raises(DistvaeError, match="first line of"):
        opened(path)
    path = headed(tmp_path / "b.csv", REALS[:, :5], [*map(str, range(5))])
    assert opened(path, domain=None).columns == tuple("01234")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: write_csv(path / "a.csv", ["a", "b"], [["x", "y"]] * 3), "no column of num"),
        (lambda path: np.savez(path / "a.npz", data=np.zeros((4, 2, 2, 2))), "no rows of numbers"),
        (lambda path: (path / "a.zip").write_bytes(b""), "holds no vectors"),
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
