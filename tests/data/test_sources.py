import csv
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from distvae.config import DataConfig
from distvae.data.sources import RawData, load_source
from distvae.errors import DistvaeError
from tests.data.conftest import CLASSES, picture, write_folder


def read(path: Path | str, **settings: Any) -> RawData:
    return load_source(DataConfig(data=str(path), **settings)).read()


def first_pixels(raw: RawData) -> Any:
    split = raw.train
    return np.asarray(split.decode(split.fetch(split.rows[:1])[0], None))


def encoded(seed: int) -> bytes:
    buffer = BytesIO()
    picture(seed).save(buffer, "png")
    return buffer.getvalue()


def table(labels: list[Any], kind: Any) -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Image(), "label": kind})
    images = [picture(seed) for seed in range(len(labels))]
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def test_class_folders_become_labels_and_a_tenth_is_held_out(trees: Path) -> None:
    raw = read(trees)
    assert raw.label_names == CLASSES
    assert (len(raw.train.rows), len(raw.test.rows)) == (9, 3)
    assert raw.test_origin == "held-out tenth of train, by label, seed 0"
    assert sorted([*raw.train.rows, *raw.test.rows]) == list(range(12))
    assert raw.train.labels is not None
    np.testing.assert_array_equal(raw.train.labels, raw.train.rows // 4)
    assert raw.test.labels is not None
    assert raw.test.labels.tolist() == [0, 1, 2]


def test_held_out_rows_depend_on_the_seed_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_folder(tmp_path / name, count=40)
    one, two = (read(tmp_path / name, split_seed=1).test.rows for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    assert set(one) != set(read(tmp_path / "one", split_seed=2).test.rows)


@pytest.mark.parametrize("test", ["test", "validation", "val"])
def test_split_folders(tmp_path: Path, test: str) -> None:
    write_folder(tmp_path / "trees" / "train")
    write_folder(tmp_path / "trees" / test, count=2)
    raw = read(tmp_path / "trees")
    assert (len(raw.train.rows), len(raw.test.rows), raw.test_origin) == (12, 6, test)
    assert raw.label_names == CLASSES


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        (tmp_path / "traffic" / name).mkdir(parents=True)
        picture(0).save(tmp_path / "traffic" / name / "1.png")
    assert read(tmp_path / "traffic").label_names == ("bus", "train")


def test_classes_are_numbered_as_people_count(tmp_path: Path) -> None:
    names = [str(number) for number in range(12)]
    for name in names:
        (tmp_path / "folders" / name).mkdir(parents=True)
        picture(0).save(tmp_path / "folders" / name / "1.png")
    table(names[::-1], datasets.Value("string")).to_parquet(str(tmp_path / "train.parquet"))
    for path in (tmp_path / "folders", tmp_path / "train.parquet"):
        assert read(path).label_names == tuple(names)


def test_pictures_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    (tmp_path / "flat[1]").mkdir()
    for number in range(3):
        picture(number).save(tmp_path / "flat[1]" / f"{number}.png")
    raw = read(tmp_path / "flat[1]")
    assert raw.label_names == ()
    assert raw.train.labels is None


def test_a_picture_beside_class_folders_is_refused(trees: Path) -> None:
    picture(0).save(trees / "stray.png")
    with pytest.raises(DistvaeError, match=r"stray\.png lies beside the class folders beech, fir"):
        read(trees)


def write_csv(root: Path) -> Path:
    root.mkdir()
    with (root / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "category"])
        for number, name in enumerate(["oak", "fir", "oak", "beech"]):
            picture(number).save(root / f"{number}.png")
            writer.writerow([f"{number}.png", name])
    return root / "list.csv"


def write_parquet(root: Path) -> Path:
    root.mkdir()
    images = [{"bytes": encoded(number), "path": None} for number in range(4)]
    columns = {"image": images, "category": ["oak", "fir", "oak", "beech"]}
    datasets.Dataset.from_dict(columns).to_parquet(str(root / "train.parquet"))
    return root / "train.parquet"


def write_disk(root: Path) -> Path:
    labels = datasets.ClassLabel(names=list(CLASSES))
    table([2, 1, 2, 0], labels).save_to_disk(str(root))
    return root


def write_disk_of_splits(root: Path) -> Path:
    train = table([2, 1, 2, 0], datasets.Value("string"))
    splits = datasets.DatasetDict({"train": train, "test": train.select([0])})
    splits.save_to_disk(str(root))
    return root


def write_arrow(root: Path) -> Path:
    return next(write_disk(root).glob("*.arrow"))


@pytest.mark.parametrize("write", [write_csv, write_parquet, write_disk, write_arrow])
def test_tables(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    raw = read(write(tmp_path / "data"), split_test="train")
    assert raw.label_names == CLASSES
    assert raw.train.labels is not None
    assert raw.train.labels.tolist() == [2, 1, 2, 0]
    np.testing.assert_array_equal(first_pixels(raw), np.asarray(picture(0)))


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_folders_of_tables(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    raw = read(write(tmp_path / "data").parent, split_test="train")
    assert raw.label_names == CLASSES
    np.testing.assert_array_equal(first_pixels(raw), np.asarray(picture(0)))


def test_a_saved_dictionary_keeps_its_test_split(tmp_path: Path) -> None:
    raw = read(write_disk_of_splits(tmp_path / "data"))
    assert (len(raw.train.rows), len(raw.test.rows), raw.test_origin) == (4, 1, "test")
    assert raw.label_names == ("0", "1", "2")


def test_columns_by_name(tmp_path: Path) -> None:
    columns = {"left": [encoded(1)] * 3, "right": [encoded(2)] * 3, "n": [5, 7, 5]}
    datasets.Dataset.from_dict(columns).to_parquet(str(tmp_path / "pairs.parquet"))
    settings = {"split_test": "train", "image_column": "right", "label_column": "n"}
    raw = read(tmp_path / "pairs.parquet", **settings)
    assert raw.label_names == ("5", "7")
    assert raw.train.labels is not None
    assert raw.train.labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(first_pixels(raw), np.asarray(picture(2)))
    with pytest.raises(DistvaeError, match=r"no image column.*left, right, n.*--image-column"):
        read(tmp_path / "pairs.parquet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split_train": "trian"}, "--split-train trian.*its splits are train.*mean train"),
        ({"split_test": "test"}, "--split-test test.*its splits are train"),
        ({"image_column": "imag"}, "--image-column imag.*image, label.*mean image"),
        ({"image_column": "label"}, "--image-column label .* holds ClassLabel"),
        ({"label_column": "lable"}, "--label-column lable.*mean label"),
        ({"label_column": "image"}, "--label-column image .* expected one number or text"),
    ],
)
def test_wrong_settings_name_what_there_is(
    trees: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(DistvaeError, match=message):
        read(trees, **settings)


def test_unknown_data_names_the_nearest(trees: Path) -> None:
    with pytest.raises(DistvaeError, match=r"Did you mean mnist\?"):
        read("minst")
    with pytest.raises(DistvaeError, match=rf"Did you mean {trees}\?"):
        read(trees.with_name("tree"))


def test_the_hub_out_of_reach_is_one_message() -> None:
    with pytest.raises(DistvaeError, match=r"nobody/nothing .* Hugging Face Hub.*network"):
        read("nobody/nothing")


def test_an_empty_folder_and_a_strange_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DistvaeError, match="holds no images"):
        read(tmp_path / "empty")
    with pytest.raises(DistvaeError, match=r"notes\.txt is no table or set of images.*\.parquet"):
        read(tmp_path / "notes.txt")


def test_folders_of_tables_tell_splits_by_word(tmp_path: Path) -> None:
    folder = tmp_path / "shards [latest]"
    write_parquet(folder).rename(folder / "train-00000-of-00001.parquet")
    images = [{"bytes": encoded(9), "path": None}]
    columns = {"image": images, "category": ["fir"]}
    datasets.Dataset.from_dict(columns).to_parquet(
        str(folder / "validation-00000-of-00001.parquet")
    )
    raw = read(folder)
    assert (len(raw.train.rows), len(raw.test.rows), raw.test_origin) == (4, 1, "validation")
    assert raw.test.labels is not None
    assert raw.test.labels.tolist() == [1]


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DistvaeError, match=r"broken\.parquet could not be read"):
        read(tmp_path / "broken.parquet")


def test_a_csv_that_names_a_missing_image_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data")
    (path.parent / "2.png").unlink()
    with pytest.raises(DistvaeError, match=r"line 4: there is no image file .*2\.png"):
        load_source(DataConfig(data=str(path)))


KNOWN = datasets.ClassLabel(names=list(CLASSES))
OTHERS = datasets.ClassLabel(names=["ash", "elm"])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (([0, 1], KNOWN), ([0], OTHERS), "train and test .* beech, fir, oak against ash, elm"),
        ((["a", "b"], "string"), (["c"], "string"), "split test .* labels .* has not: c"),
        (([], KNOWN), ([0], KNOWN), "could not be read .* Every split needs at least one row"),
    ],
)
def test_unfit_labels_are_refused(
    tmp_path: Path, train: tuple[Any, Any], test: tuple[Any, Any], message: str
) -> None:
    tables = {
        name: table(labels, datasets.Value(kind) if isinstance(kind, str) else kind)
        for name, (labels, kind) in {"train": train, "test": test}.items()
    }
    datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(DistvaeError, match=message):
        read(tmp_path / "data")


def test_one_image_cannot_be_divided(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    picture(0).save(tmp_path / "one" / "1.png")
    with pytest.raises(DistvaeError, match="at least 2 are needed"):
        read(tmp_path / "one")


def test_changed_files_change_the_identity(trees: Path) -> None:
    config = DataConfig(data=str(trees))
    before = load_source(config).identity
    assert load_source(config).identity == before
    picture(7, side=9).save(trees / "oak" / "new.png")
    assert load_source(config).identity != before
