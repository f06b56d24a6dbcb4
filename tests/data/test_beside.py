"""Tables beside images: which column names them, and where they are found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from distvae.config import DataConfig
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from tests.data.conftest import picture, write_folder

COUNT = 8
LABELS = ["oak", "fir"] * (COUNT // 2)


def opened(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(str(path), **{"split_test": "train", **settings}))


def told(data: ImageData, *words: str) -> bool:
    return any(all(word in note for word in words) for note in data.notes)


def write_images(folder: Path, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for number in range(COUNT):
        picture(first + number).save(folder / f"im{number}.png")


def pixels(number: int) -> Any:
    return np.asarray(picture(number)).transpose(2, 0, 1)


def assert_paired(data: ImageData, first: int = 0) -> None:
    """That the images are those of the rows, in their order, with their labels."""
    assert data.label_names == ("fir", "oak")
    assert data.train.labels is not None
    assert [data.label_names[label] for label in data.train.labels] == LABELS
    for number in range(COUNT):
        np.testing.assert_array_equal(data.train.images[number], pixels(first + number))


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("image_id,breed", "im{}"),
        ("id,label", "im{}.png"),
        ("Photo,what", "im{}.png"),
        ("Image Path,Class Name", "im{}.png"),
        ("path,label", "C:\\\\data\\im{}.png"),
        ("path,label", "/home/me/pictures/im{}.png"),
    ],
)
@pytest.mark.parametrize("below", ["", "pictures/raw"])
def test_images_are_found_by_the_names_that_people_write(
    tmp_path: Path, header: str, cell: str, below: str
) -> None:
    root = tmp_path / "own"
    write_images(root / below)
    rows = [f"{cell.format(number)},{label}" for number, label in enumerate(LABELS)]
    (root / "train.csv").write_text("\n".join([header, *rows]))
    data = opened(root)
    assert_paired(data)
    column = header.split(",")[0]
    if column in ("image_id", "id", "Photo"):
        assert told(data, f"column {column} of train.csv names images")
    again = opened(root / "train.csv")
    assert_paired(again)
    assert again.digests == data.digests
    Image.new("RGB", (8, 8)).save(root / below / "im3.png")
    assert opened(root / "train.csv").digests != data.digests, "a changed image is other data"


def test_tables_and_folders_of_splits_belong_together(tmp_path: Path) -> None:
    for first, split in ((0, "train"), (50, "test")):
        write_images(tmp_path / "own" / f"{split}_images", first)
        rows = [f"im{number},{label}" for number, label in enumerate(LABELS)]
        table = tmp_path / "own" / f"{split}.csv"
        table.write_text("\n".join(["id,label", *rows]))
    data = opened(tmp_path / "own", split_test=None)
    assert_paired(data)
    np.testing.assert_array_equal(data.test.images[1], pixels(51))
    assert told(
        data, "column id of test.csv names images without their ending, in folder test_images"
    )


def test_a_name_that_two_images_have_is_not_guessed(tmp_path: Path) -> None:
    write_images(tmp_path / "own" / "a")
    write_images(tmp_path / "own" / "b", 20)
    rows = [f"im{number}.png,{label}" for number, label in enumerate(LABELS)]
    (tmp_path / "own" / "x.csv").write_text("\n".join(["file_name,label", *rows]))
    with pytest.raises(DistvaeError, match=r"im\d\.png.*No such file"):
        opened(tmp_path / "own")


def test_a_table_that_says_no_labels_leaves_class_folders_alone(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "own")
    files = sorted(root.rglob("*.png"))
    rows = [f"{file.relative_to(root)},{n},{n * 2}" for n, file in enumerate(files)]
    (root / "sizes.csv").write_text("\n".join(["id,width,height", *rows]))
    data = opened(root)
    assert data.num_labels == 3
    assert told(data, "no column of the tables names images")


def with_header(root: Path) -> None:
    rows = [f"im{number}.png,{label}" for number, label in enumerate(LABELS)]
    (root / "x.csv").write_text("\n".join(rows))


def as_medmnist(root: Path) -> None:
    rows = [f"TRAIN,im{number}.png,{label}" for number, label in enumerate(LABELS)]
    (root / "x.csv").write_text("\n".join(rows))


def in_lines(root: Path) -> None:
    rows = [
        json.dumps({"photo": f"im{number}.png", "label": label})
        for number, label in enumerate(LABELS)
    ]
    (root / "x.jsonl").write_text("\n".join(rows))


def as_bytes(root: Path) -> None:
    encoded = [(root / f"im{number}.png").read_bytes() for number in range(COUNT)]
    table = datasets.Dataset.from_dict({"content": encoded, "kind": LABELS})
    table.to_parquet(root / "x.parquet")


@pytest.mark.parametrize("write", [with_header, as_medmnist, in_lines, as_bytes])
def test_columns_without_a_usual_name(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write_images(tmp_path / "own")
    write(tmp_path / "own")
    assert_paired(opened(tmp_path / "own"))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (LABELS, ("fir", "oak")),
        ([1, 2] * 4, ("1", "2")),
        (["", "a", "b", "a"] * 2, ("a", "b")),
        ([f"picture {number}" for number in range(COUNT)], ()),
        ([0.5, 1.5] * 4, ()),
    ],
)
def test_the_only_other_column_is_the_label_if_its_values_recur(
    tmp_path: Path, values: list[Any], names: tuple[str, ...]
) -> None:
    write_images(tmp_path / "own")
    rows = [f"im{number}.png,{value}" for number, value in enumerate(values)]
    (tmp_path / "own" / "x.csv").write_text("\n".join(["image,whatever", *rows]))
    data = opened(tmp_path / "own")
    assert data.label_names == names
    assert told(data, "whatever")
    if not names:
        assert told(data, "no labels") or told(data, "holds no labels")
    if values[0] == "picture 0":
        assert opened(tmp_path / "own", label_column="whatever").num_labels == COUNT


def test_fractions_written_with_a_comma(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 16))
    lines = [";".join(["label", *(f"pixel{number}" for number in range(16))])]
    for number, row in enumerate(images / 255):
        lines.append(";".join([str(number % 2), *(f"{v:.5f}".replace(".", ",") for v in row)]))
    (tmp_path / "x.csv").write_text("\n".join(lines))
    data = opened(tmp_path / "x.csv")
    np.testing.assert_array_equal(data.train.images.reshape(10, 16), images)
    assert told(data, "have a comma before their fractions")


def test_one_class_folder_is_told(tmp_path: Path) -> None:
    write_images(tmp_path / "own" / "only")
    data = opened(tmp_path / "own")
    assert data.num_labels == 0
    assert told(data, "all images lie in one folder, only: they have no labels")


def test_a_table_that_is_named_after_no_split_is_left_out_beside_those_that_are(
    tmp_path: Path,
) -> None:
    for first, split in ((0, "train"), (50, "test")):
        write_images(tmp_path / "own" / split, first)
    rows = [f"im{number},{label}" for number, label in enumerate(LABELS)]
    (tmp_path / "own" / "train.csv").write_text("\n".join(["id,breed", *rows]))
    rows = [f"im{number},0.5,0.5" for number in range(COUNT)]
    (tmp_path / "own" / "sample_submission.csv").write_text("\n".join(["id,fir,oak", *rows]))
    bare = "\n".join(["id", *(f"im{number}" for number in range(COUNT))])
    (tmp_path / "own" / "test.csv").write_text(bare)
    data = opened(tmp_path / "own", split_test="test")
    assert_paired(data)
    assert told(data, "left out: sample_submission.csv")
    assert told(data, "without a label: 8 of 8 images of test")
    np.testing.assert_array_equal(data.test.images[2], pixels(52))
    assert told(opened(tmp_path / "own", split_test=None), "left out: split test", "without labels")


def test_tables_of_the_same_rows_are_joined(tmp_path: Path) -> None:
    root = tmp_path / "own"
    write_images(root / "img_align" / "img_align")
    rows = [f"im{number}.png,{label},1" for number, label in enumerate(LABELS)]
    (root / "list_attr.csv").write_text("\n".join(["image_id,Kind,Male", *rows]))
    parts = [
        f"im{number}.png,{2 * (number > 5) + (number == 5)}" for number in (*range(4, 8), *range(4))
    ]
    (root / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *parts]))
    data = opened(root, split_test=None, label_column="Kind")
    assert told(data, "list_attr.csv, list_eval_partition.csv", "joined by column image_id")
    assert (len(data.train), len(data.test)) == (5, 2)
    for split, numbers in ((data.train, range(5)), (data.test, (6, 7))):
        assert split.labels is not None
        for place, number in enumerate(numbers):
            np.testing.assert_array_equal(split.images[place], pixels(number))
            assert data.label_names[split.labels[place]] == LABELS[number]
    assert len(opened(root, split_test=None).train) == 5


def test_masks_are_no_class(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        write_images(tmp_path / "own" / "train" / name, 20 * (name == "masks"))
    write_images(tmp_path / "own" / "test" / "images", 40)
    data = opened(tmp_path / "own", split_test=None)
    assert (len(data.train), len(data.test), data.num_labels) == (COUNT, COUNT, 0)
    np.testing.assert_array_equal(data.train.images[0], pixels(0))
    assert told(data, "left out: 8 images in masks")


@pytest.mark.parametrize("name", ["a" * 5000, "a" * 300 + ".png", "x/" * 3000 + "0.png", "\\u0000"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    write_images(tmp_path / "own")
    rows = [f'{{"file_name": "{name}", "label": 1}}', '{"file_name": "im0.png", "label": 1}']
    (tmp_path / "own" / "x.jsonl").write_text("\n".join(rows))
    for path in (tmp_path / "own", tmp_path / "own" / "x.jsonl"):
        with pytest.raises(DistvaeError):
            opened(path)
