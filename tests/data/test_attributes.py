"""Several columns of labels and numbers, with gaps: from every form of data into a store."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.overview import attribute_rows, label_rows
from distvae.data.sources.coloured import COLOURS as COLOURS_OF_MNIST
from distvae.data.sources.coloured import NAME, read_coloured
from distvae.data.sources.mnist import read_mnist
from distvae.data.store import ImageData, Split, open_data
from distvae.errors import DistvaeError
from tests.data.conftest import streamed

COUNT, SIDE = 40, 4
SHAPES, COLOURS = ("circle", "square"), ("blue", "green", "red")
COLUMNS = "shape,colour,angle"


def cells(number: int) -> dict[str, Any]:
    """What picture ``number`` is given; a fifth of the colours and a tenth of the angles lack."""
    return {
        "shape": SHAPES[number % 2],
        "colour": None if number % 5 == 4 else COLOURS[number % 3],
        "angle": None if number % 10 == 3 else number / 2,
    }


def pixels(number: int) -> NDArray[np.uint8]:
    """A picture whose grey level says which it is."""
    return np.full((SIDE, SIDE), 5 * number, np.uint8)


def write(root: Path, kind: str) -> Path:
    """Pictures 0 to 39, of which every fourth is in the test split."""
    root.mkdir()
    splits = {
        "train": [number for number in range(COUNT) if number % 4],
        "test": [number for number in range(COUNT) if not number % 4],
    }
    if kind == "npz":
        arrays: dict[str, Any] = {}
        for split, numbers in splits.items():
            arrays[f"{split}_images"] = np.stack([pixels(number) for number in numbers])
            rows = [cells(number) for number in numbers]
            arrays[f"{split}_shape"] = np.array([row["shape"] for row in rows])
            arrays[f"{split}_colour"] = np.array([row["colour"] or "" for row in rows])
            arrays[f"{split}_angle"] = np.array([row["angle"] for row in rows], np.float64)
        np.savez(root / "own.npz", **arrays)
        return root / "own.npz"
    for split, numbers in splits.items():
        (root / split).mkdir()
        for number in numbers:
            Image.fromarray(pixels(number)).save(root / split / f"{number}.png")
        if kind == "parquet":
            write_parquet(root / f"{split}.parquet", numbers)
            continue
        with (root / split / "metadata.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "other", *cells(0)])
            for number in numbers:
                row = ["" if value is None else value for value in cells(number).values()]
                writer.writerow([f"{number}.png", "x", *row])
    return root


def write_parquet(path: Path, numbers: list[int]) -> None:
    """The same with names of colours and shapes in the features, as the Hub has them."""
    rows = [cells(number) for number in numbers]
    names = {"shape": SHAPES, "colour": COLOURS}
    columns: dict[str, list[Any]] = {"image": [], "angle": [row["angle"] for row in rows]}
    for name, known in names.items():
        found = [row[name] for row in rows]
        columns[name] = [None if value is None else known.index(value) for value in found]
    for number in numbers:
        buffer = io.BytesIO()
        Image.fromarray(pixels(number)).save(buffer, "png")
        columns["image"].append({"bytes": buffer.getvalue(), "path": None})
    features = datasets.Features(
        image=datasets.Image(),
        angle=datasets.Value("float32"),
        shape=datasets.ClassLabel(names=list(SHAPES)),
        colour=datasets.ClassLabel(names=list(COLOURS)),
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path, batch_size=10)


def opened(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(data=str(path), **{"label_column": COLUMNS, **settings}))


def expected(number: int) -> list[float]:
    row = cells(number)
    colour = np.nan if row["colour"] is None else COLOURS.index(row["colour"])
    return [SHAPES.index(row["shape"]), colour, np.nan if row["angle"] is None else row["angle"]]


def assert_holds(stored: Any, values: Any) -> None:
    numbers = np.asarray(stored)[:, 0, 0, 0] // 5
    np.testing.assert_array_equal(
        np.asarray(values), np.array([expected(n) for n in numbers], np.float32)
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_every_value_and_every_gap_is_there(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "own", kind)
    data = opened(path)
    shape, colour, angle = data.attributes
    assert (shape.name, shape.labels, shape.missing) == ("shape", SHAPES, False)
    assert (colour.name, colour.labels, colour.missing) == ("colour", COLOURS, True)
    known = [number / 2 for number in range(COUNT) if number % 4 and number % 10 != 3]
    assert (angle.name, angle.labels, angle.missing) == ("angle", (), True)
    assert (angle.mean, angle.scale) == pytest.approx((np.mean(known), np.std(known)))
    assert (len(data.train), len(data.test)) == (30, 10)
    for split in (data.train, data.test):
        assert_holds(split.images, split.attributes)
        gathered = ResidentImages.from_split(split).gather(torch.arange(len(split)))
        assert_holds(gathered.stored, gathered.attributes)
        assert split.labels is not None
        np.testing.assert_array_equal(split.labels, split.attributes[:, 0])  # type: ignore[index]
    assert any(
        note == "examples are given shape (2 labels), colour (3 labels), angle (a number)"
        for note in data.notes
    )
    assert any("colour is not known of 6 of 30 examples of train" in note for note in data.notes)
    again = opened(path)
    assert (again.attributes, again.digests) == (data.attributes, data.digests)
    assert_holds(again.test.images, again.test.attributes)
    assert opened(path, label_column="shape").attributes == ()
    assert opened(path, label_column="shape").label_names == SHAPES


def test_inspect_tells_labels_numbers_and_gaps(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "own", "csv"))
    header, *rows = attribute_rows(data)
    assert header == ("", "train", "test")
    assert rows[0] == ("shape: 2", "0 of 30 not known", "0 of 10 not known")
    assert rows[1] == ("colour: 3", "6 of 30 not known", "2 of 10 not known")
    assert rows[2][1].startswith("0.5 to 19.5, mean ")
    tables = dict(label_rows(data))
    assert tables["shape by shape"][1] == ("shape 0: circle", "10", "10")
    assert tables["colour by colour"][-1] == ("no colour", "6", "2")


def test_a_part_is_held_out_by_the_first_label(tmp_path: Path) -> None:
    path = write(tmp_path / "own", "parquet")
    data = opened(path / "train.parquet", split_validation="held-out")
    assert data.validation is not None
    for split in (data.train, data.test, data.validation):
        assert_holds(split.images, split.attributes)
        assert set(split.labels.tolist()) == {0, 1}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.5, 1.0, None], ()),
        ([1.0, 2.0, None], ("1", "2")),
        ([3, 1, 3], ("1", "3")),
        (["x", "", "y"], ("x", "y")),
        ([True, False, None], ("False", "True")),
    ],
)
def test_a_column_of_few_whole_numbers_or_text_is_labels(
    tmp_path: Path, values: list[Any], labels: tuple[str, ...]
) -> None:
    columns = {"a": list(range(9)), "kind": values * 3, "other": ["p", "q", "r"] * 3}
    path = tmp_path / "own.jsonl"
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = opened(path, domain="vectors", label_column="kind,other", split_test="train")
    assert data.columns == ("a",)
    assert [each.labels for each in data.attributes] == [labels, ("p", "q", "r")]
    alone = opened(path, domain="vectors", label_column="kind", split_test="train")
    assert alone.label_names == labels
    assert [each.labels for each in alone.attributes] == ([()] if not labels else [])


def test_whole_numbers_of_many_values_are_a_number(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("a,kind,year\n" + "\n".join(f"{n},{n % 2},{n}" for n in range(150)))
    data = opened(path, domain="vectors", label_column="kind, year", split_test="train")
    assert [each.labels for each in data.attributes] == [("0", "1"), ()]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("shape,color", r"--label-column color.*has no such.*colour\?"),
        ("shape,shape", "names a column twice"),
        ("shape,nothing", "--label-column nothing of .* holds nothing"),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_columns_that_hold_nothing_are_refused(
    tmp_path: Path, kind: str, columns: str, message: str
) -> None:
    path = tmp_path / f"own.{kind}"
    if kind == "npz":
        shapes = np.array(["a", "b"] * 5)
        arrays: dict[str, Any] = {"shape": shapes, "colour": shapes, "nothing": np.full(10, np.nan)}
        np.savez(path, images=np.zeros((10, 4, 4), np.uint8), **arrays)
        settings: dict[str, Any] = {}
    else:
        path.write_text("a,shape,colour,nothing\n" + "1,x,y,\n" * 10)
        settings = {"domain": "vectors"}
    with pytest.raises(DistvaeError, match=f"(?s){message}"):
        opened(path, label_column=columns, **settings)


def test_a_gap_in_the_test_split_alone_is_told(tmp_path: Path) -> None:
    for split, size in (("train", "0.5"), ("test", "")):
        rows = [f"{n}.5,{n % 3},{'pq'[n % 2]},{size or n % 2 * 0.25 or ''}" for n in range(12)]
        lines = ["a,b,kind,size", *rows]
        (tmp_path / f"{split}.csv").write_text("\n".join(lines), encoding="utf-8")
    config = DataConfig(str(tmp_path), label_column="kind,size", cache_dir=str(tmp_path / "cache"))
    data = open_data(config)
    (note,) = [note for note in data.notes if "not known" in note]
    assert note.startswith("size is not known of 6 of 12 examples of test; all training examples")
    assert [each.missing for each in data.attributes] == [False, True]


def test_a_column_with_a_comma_in_its_name_is_one_column(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text('a,"b,c"\n' + "1,x\n2,y\n" * 5)
    data = opened(tmp_path / "own.csv", domain="vectors", label_column="b,c")
    assert (data.attributes, data.label_names) == ((), ("x", "y"))


def test_a_stream_has_the_same_values(tmp_path: Path) -> None:
    path = write(tmp_path / "own", "parquet")
    data = opened(path, streaming=True)
    assert [(each.name, each.labels) for each in data.attributes] == [
        ("shape", SHAPES),
        ("colour", COLOURS),
        ("angle", ()),
    ]
    assert all(each.missing for each in data.attributes), "of a stream but a sample is known"
    assert data.stream is not None
    images = streamed(data)
    found = images.gather(range(30))
    assert_holds(found.stored, found.attributes)
    assert_holds(data.test.images, data.test.attributes)
    assert len(set(found.stored[:, 0, 0, 0].tolist())) == 30
    alone = opened(path, streaming=True, label_column="angle")
    assert [each.labels for each in alone.attributes] == [()]


def test_rows_of_a_split_keep_what_they_are_given() -> None:
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    values = np.array([[0, np.nan], [1, 0.5], [0, 1.5], [1, 2.5]], np.float32)
    split = Split({"images": images}, values[:, 0].astype(np.int64), None, values)
    for part, rows in ((split.first(2), [0, 1]), (split.at(np.array([3, 0])), [3, 0])):
        assert part.images.ravel().tolist() == rows
        np.testing.assert_array_equal(part.attributes, values[rows])
        np.testing.assert_array_equal(part.labels, values[rows, 0])


def test_coloured_mnist_is_mnist_in_colours() -> None:
    raw = read_coloured(DataConfig(data=NAME))
    plain = read_mnist(DataConfig())
    assert [each.name for each in raw.attributes] == ["digit", "colour"]
    assert raw.attributes[1].labels == tuple(COLOURS_OF_MNIST)
    table = np.array(list(COLOURS_OF_MNIST.values()))
    for split, bare in zip(raw.splits.values(), plain.splits.values(), strict=True):
        assert split.attributes is not None
        assert bare.labels is not None
        gaps = np.isnan(split.attributes)
        lacking = 6000 if bare is plain.train else 0
        assert gaps.sum(axis=0).tolist() == [lacking, lacking]
        assert gaps.all(axis=1).sum() == pytest.approx(lacking / 10, abs=80), "apart"
        digits, colours = split.attributes.T
        order = split.rows  # images without a digit come last
        known = ~gaps[:, 0]
        np.testing.assert_array_equal(digits[known], bare.labels[order][known])
        counts = np.bincount(colours[~gaps[:, 1]].astype(int))
        assert counts.min() > 0.97 * counts.mean()
        some_rows = np.flatnonzero(~gaps[:, 1])[:50]
        grey = np.stack(bare.fetch(order[some_rows])).astype(float)[..., None]
        expected = grey * table[colours[some_rows].astype(int), None, None] / 255
        images = np.stack(split.fetch(order[some_rows]))
        np.testing.assert_allclose(images, expected, atol=0.51)
    again = read_coloured(DataConfig(data=NAME, label_column="colour"))
    assert (again.attributes, again.label_names) == ((), tuple(COLOURS_OF_MNIST))
    with pytest.raises(DistvaeError, match="--label-column shape"):
        read_coloured(DataConfig(data=NAME, label_column="digit,shape"))
