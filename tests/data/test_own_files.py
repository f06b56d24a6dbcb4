"""Folders, zips and tables as people have them, and what is said of them."""

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image, features

from distvae.config import DataConfig
from distvae.data.encoded import decode_image, encoded_image, pictures
from distvae.data.sources.splits import roles
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from tests.data.conftest import CLASSES, picture, write_folder


def opened(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(str(path), **settings))


def told(data: ImageData, *words: str) -> bool:
    """Whether one note has all these words."""
    return any(all(word in note for word in words) for note in data.notes)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Train", "Test"), ("train", "test")),
        (("training", "testing"), ("train", "test")),
        (("TRAIN", "Valid"), ("train", "validation")),
        (("train", "dev"), ("train", "validation")),
        (("training_set", "test_set"), ("train", "test")),
        (("trainset", "testset"), ("train", "test")),
        (("train2017", "val2017"), ("train", "validation")),
        (("seg_train", "seg_test"), ("train", "test")),
        (("Training Data", "Validation Data"), ("train", "validation")),
        (("trainImages", "evalImages"), ("train", "validation")),
    ],
)
def test_splits_of_any_case_and_habit(
    tmp_path: Path, names: tuple[str, str], expected: tuple[str, str]
) -> None:
    assert tuple(roles(names).values()) == expected
    write_folder(tmp_path / "own" / names[0], 2)
    write_folder(tmp_path / "own" / names[1], 1)
    data = opened(tmp_path / "own")
    assert (len(data.train), len(data.test), data.label_names) == (6, 3, CLASSES)
    assert data.test_origin == names[1]
    assert told(data, "split", names[0], "is trained on", names[1])


@pytest.mark.parametrize("names", [("train", "bus"), ("test tube", "test strip"), ("Test", "cat")])
def test_classes_may_sound_like_splits(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(3):
            picture(number).save(tmp_path / "own" / name / f"{number}.png")
    assert opened(tmp_path / "own").label_names == tuple(sorted(names))


@pytest.mark.usefixtures("no_plugin")
def test_all_that_is_skipped_is_told(tmp_path: Path) -> None:
    root = tmp_path / "own"
    write_folder(root / "Train", 3)
    write_folder(root / "Test", 1)
    write_folder(root / "spare", 1)
    (root / "Train" / "yew").mkdir()
    for number in range(4):
        (root / "Train" / "yew" / f"{number}.HEIC").write_bytes(b"no picture")
    (root / "Train" / "fir" / "notes.txt").write_text("mine")
    (root / ".thumbs").mkdir()
    data = opened(root)
    assert data.label_names == CLASSES
    for words in (
        ("4 .heic files", "yew 4", "pillow-heif"),
        ("1 .txt file", "fir 1"),
        ("hidden", ".thumbs"),
        ("3 images beside", "spare"),
    ):
        assert told(data, *words), (words, data.notes)
    assert opened(root).notes == data.notes, "not told again when the store was opened"


def test_held_out_images_are_of_every_label(tmp_path: Path) -> None:
    for name, count in (("common", 60), ("rare", 5), ("two", 2), ("one", 1)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(count):
            picture(number, 4, "L").save(tmp_path / "own" / name / f"{number}.png")
    data = opened(tmp_path / "own")
    assert data.train.labels is not None
    assert data.test.labels is not None
    assert data.label_names == ("common", "one", "rare", "two")
    assert np.bincount(data.test.labels, minlength=4).tolist() == [6, 0, 1, 1]
    assert np.bincount(data.train.labels).tolist() == [54, 1, 4, 1]
    assert told(data, "no test split", "8 examples")


def test_a_folder_in_a_folder_is_looked_into(tmp_path: Path) -> None:
    write_folder(tmp_path / "own" / "trees" / "train" / "train", 3)
    write_folder(tmp_path / "own" / "trees" / "test" / "test", 1)
    data = opened(tmp_path / "own")
    assert (data.label_names, len(data.train), len(data.test)) == (CLASSES, 9, 3)


def test_a_test_split_may_lack_classes_and_labels(tmp_path: Path) -> None:
    write_folder(tmp_path / "own" / "train", 3)
    (tmp_path / "own" / "test" / "fir").mkdir(parents=True)
    picture(7).save(tmp_path / "own" / "test" / "fir" / "1.png")
    data = opened(tmp_path / "own")
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [1]
    (tmp_path / "own" / "test" / "fir").rename(tmp_path / "own" / "test" / "palm")
    with pytest.raises(DistvaeError, match="split test has a class folder palm"):
        opened(tmp_path / "own")
    (tmp_path / "own" / "test" / "palm" / "1.png").rename(tmp_path / "own" / "test" / "1.png")
    (tmp_path / "own" / "test" / "palm").rmdir()
    bare = opened(tmp_path / "own")
    assert told(bare, "test without labels")
    assert bare.test_origin.startswith("held-out tenth of train")


def pack(root: Path, path: Path, above: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in root.rglob("*"):
            if file.is_file():
                archive.write(file, above + str(file.relative_to(root)))
        archive.writestr("__MACOSX/._1.png", b"no picture")
    return path


def test_a_zip_is_its_folder(tmp_path: Path, cache: Path) -> None:
    write_folder(tmp_path / "own" / "train", 3)
    write_folder(tmp_path / "own" / "test", 1)
    folder = opened(tmp_path / "own")
    for above in ("", "trees/"):
        data = opened(pack(tmp_path / "own", tmp_path / f"own{len(above)}.zip", above))
        assert data.digests == folder.digests
    assert {path.name.split("-")[0] for path in cache.iterdir()} <= {
        "own",
        "own0",
        "own6",
        ".digests",
    }


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png", "..\\out.png"])
def test_a_zip_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = pack(write_folder(tmp_path / "own"), tmp_path / "own.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"out")
    with pytest.raises(DistvaeError, match=r"leads outside"):
        opened(path)
    assert not (tmp_path / "out.png").exists()


def test_a_zip_of_no_images_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("data.csv", "a,b\n1,2\n")
    with pytest.raises(DistvaeError, match=r"holds no images.*1 \.csv"):
        opened(tmp_path / "own.zip")
    (tmp_path / "own.zip").write_bytes(b"PK and no more")
    with pytest.raises(DistvaeError, match="cannot be read"):
        opened(tmp_path / "own.zip")


def write_images(root: Path, count: int = 8) -> list[str]:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(number).save(root / f"{number}.png")
    return [f"{number}.png" for number in range(count)]


KINDS = ["fir", "oak", "fir", "ash", "oak", "fir", "ash", "oak"]


def as_text(separator: str, end: str) -> Callable[[Path, list[str], list[Any]], None]:
    def write(root: Path, names: list[str], labels: list[Any]) -> None:
        rows = [("file_name", "label"), *zip(names, labels, strict=True)]
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
        (root / f"data{end}").write_text("\n".join(map(separator.join, cells)) + "\n")

    return write


def as_lines(name: str) -> Callable[[Path, list[str], list[Any]], None]:
    def write(root: Path, names: list[str], labels: list[Any]) -> None:
        rows = [{"file_name": n, "label": label} for n, label in zip(names, labels, strict=True)]
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    return write


TABLES = {
    "csv": as_text(",", ".csv"),
    "semicolons": as_text(";", ".csv"),
    "tsv": as_text("\t", ".tsv"),
    "upper case": as_text(",", ".CSV"),
    "jsonl": as_lines("data.jsonl"),
    "metadata": as_lines("metadata.jsonl"),
}


@pytest.mark.parametrize("write", TABLES.values(), ids=TABLES)
def test_tables_of_text(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "own", write_images(tmp_path / "own"), KINDS)
    data = opened(tmp_path / "own", split_test="train")
    assert data.label_names == ("ash", "fir", "oak")
    assert data.train.labels is not None
    assert [data.label_names[label] for label in data.train.labels] == KINDS
    np.testing.assert_array_equal(data.train.images[3].transpose(1, 2, 0), np.asarray(picture(3)))
    single = next(path for path in (tmp_path / "own").iterdir() if path.suffix != ".png")
    assert opened(single, split_test="train").digests == data.digests


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_of_each_split(tmp_path: Path, name: str) -> None:
    write = as_lines(name) if name.endswith("jsonl") else as_text(",", ".csv")
    for split in ("train", "test"):
        folder = tmp_path / "own" / split
        write(folder, write_images(folder), KINDS)
        if name.endswith("csv"):
            (folder / "data.csv").rename(folder / name)
    data = opened(tmp_path / "own")
    assert (data.label_names, len(data.train), len(data.test)) == (("ash", "fir", "oak"), 8, 8)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1.0, 0.0, None, 1.0, 2.0, 0.0, 10.0, 2.0], ("0", "1", "2", "10")),
        ([" fir", "fir", "oak ", "oak", None, "fir", "oak", "fir"], ("fir", "oak")),
        (["caf\u00e9", "cafe\u0301", "x", "x", "x", "x", "x", "x"], ("caf\u00e9", "x")),
        ([True, False, True, False, True, False, None, True], ("False", "True")),
    ],
    ids=["floats", "spaces", "normal forms", "truth"],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_labels_as_they_are_written(
    tmp_path: Path, kind: str, labels: list[Any], names: tuple[str, ...]
) -> None:
    if kind == "csv" and isinstance(labels[0], bool):
        labels = [None if label is None else str(label).lower() for label in labels]
    TABLES[kind](tmp_path / "own", write_images(tmp_path / "own"), labels)
    data = opened(tmp_path / "own", split_test="train")
    assert data.label_names == names
    assert data.train.labelled == 8 - labels.count(None)
    assert told(data, "without a label: 1 of 8 images of train") is (None in labels)
    assert len(data.labelled().train) == data.train.labelled
    assert told(data.labelled(), "only labelled images") is (None in labels)


def test_of_several_columns_it_is_told_which_is_taken(tmp_path: Path) -> None:
    names = write_images(tmp_path / "own")
    pairs = enumerate(zip(names, KINDS, strict=True))
    rows = [f"{name},{number / 2},{kind},x" for number, (name, kind) in pairs]
    (tmp_path / "own" / "t.csv").write_text("\n".join(["Image,label,class,target", *rows]))
    data = opened(tmp_path / "own")
    assert data.label_names == ("ash", "fir", "oak")
    assert told(data, "column label holds no labels", "0.5")
    assert told(data, "labels are taken from column class", "left out: target")
    numbers = opened(tmp_path / "own", label_column="label")
    assert [(each.name, each.labels) for each in numbers.attributes] == [("label", ())]


def test_text_in_another_encoding(tmp_path: Path) -> None:
    names = write_images(tmp_path / "own")
    rows = [f"{name},caf\u00e9 {place % 2}" for place, name in enumerate(names)]
    for encoding in ("utf-8-sig", "utf-16"):
        text = "\r\n".join(["file,label", *rows]).encode(encoding)
        (tmp_path / "own" / "t.csv").write_bytes(text)
        assert opened(tmp_path / "own").label_names == ("caf\u00e9 0", "caf\u00e9 1")
    for encoding in ("latin-1", "utf-16-le"):
        text = "\n".join(["file,label", *rows]).encode(encoding)
        (tmp_path / "own" / "t.csv").write_bytes(text)
        with pytest.raises(DistvaeError, match=r"cannot be read as a table.*UTF-8"):
            opened(tmp_path / "own")


def test_a_table_beside_images_that_names_none_is_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path / "own")
    (tmp_path / "own" / "classes.csv").write_text("number,meaning\n1,tree\n")
    data = opened(tmp_path / "own")
    assert data.label_names == CLASSES
    assert told(data, "skipped", ".csv")


def pixel_rows(count: int = 9) -> tuple[np.ndarray[Any, Any], list[int]]:
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 5))
    images[:, 0, 0] = 255
    return images, [number % 3 for number in range(count)]


@pytest.mark.parametrize("header", ["pixel{}", "{}", "rows and columns", None, "one column"])
def test_tables_of_pixels(tmp_path: Path, header: str | None) -> None:
    images, labels = pixel_rows()
    names = [str(header).format(number) for number in range(25)]
    if header == "rows and columns":
        names = [f"{row + 1}x{column + 1}" for row in range(5) for column in range(5)]
    lines = [] if header is None else [",".join(["label", *names])]
    lines += [",".join(map(str, [k, *i.ravel()])) for k, i in zip(labels, images, strict=True)]
    if header == "one column":
        lines = ["emotion,pixels"]
        lines += [
            f"{k},{' '.join(map(str, i.ravel()))}" for k, i in zip(labels, images, strict=True)
        ]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    data = opened(tmp_path / "train.csv", split_test="train")
    np.testing.assert_array_equal(data.train.images[:, 0], images)
    assert data.train.labels is not None
    assert (data.train.labels.tolist(), data.label_names) == (labels, ("0", "1", "2"))
    assert told(data, "read as HW: 5 high, 5 wide")


def written(path: Path, columns: Any, white: float = 255) -> ImageData:
    path.write_text("\n".join(",".join(f"{value:g}" for value in row) for row in columns))
    return opened(path, split_test="train", white=white)


@pytest.mark.parametrize("place", [0, 25])
@pytest.mark.parametrize("kind", ["digits", "binary", "photos", "noise", "floats", "framed"])
def test_a_label_without_a_name_is_found_at_either_end(
    tmp_path: Path, kind: str, place: int
) -> None:
    random = np.random.default_rng(len(kind))
    noise = random.integers(0, 256, (60, 5, 5))
    photos = (random.normal(120, 60, (60, 1, 1)) + random.normal(0, 8, (60, 5, 5))).clip(0, 255)
    inner = np.pad(noise[:, 1:4, 1:4], ((0, 0), (1, 1), (1, 1)))
    images = {
        "digits": inner,
        "binary": inner > 128,
        "photos": photos.astype(int),
        "noise": noise,
        "floats": noise / 255,
        "framed": np.where(np.arange(25).reshape(5, 5) == 24 * (place == 0), 255, noise),
    }[kind]
    labels = random.integers(0, 2 if kind == "floats" else 4, 60)
    columns = np.insert(images.reshape(60, 25) * 1.0, place, labels, 1)
    data = written(tmp_path / "x.csv", columns, 255 if images.max() > 1 else 1)
    assert data.train.labels is not None
    assert data.train.labels.tolist() == labels.tolist()
    expected = np.rint(images * 255.0) if images.max() <= 1 else images
    np.testing.assert_array_equal(data.train.images[:, 0], expected)
    assert told(data, "no header", f"the {'first' if place == 0 else 'last'} is taken")


def test_a_label_that_may_be_at_either_end_is_asked_for(tmp_path: Path) -> None:
    dark = np.zeros((8, 26))
    dark[:, 12] = range(8)
    with pytest.raises(DistvaeError, match=r"26 columns without names.*first or last.*label,pixel"):
        written(tmp_path / "x.csv", dark)
    squares = np.random.default_rng(0).integers(0, 256, (30, 49))  # 48 are 4 x 4 in colour
    data = written(tmp_path / "y.csv", squares)
    assert (data.image_shape, data.num_labels) == ((1, 7, 7), 0)


def write_parquet(root: Path, columns: dict[str, list[Any]]) -> None:
    bytes_of = [{"bytes": (root / name).read_bytes(), "path": name} for name in columns["image"]]
    datasets.Dataset.from_dict({**columns, "image": bytes_of}).to_parquet(root / "all.parquet")


def write_saved(root: Path, columns: dict[str, list[Any]]) -> None:
    names = sorted({value for value in columns["split"] if value})
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "split": datasets.ClassLabel(names=names),
            "label": datasets.Value("string"),
        }
    )
    paths = [str(root / name) for name in columns["image"]]
    table = datasets.Dataset.from_dict({**columns, "image": paths}, features=features)
    table.save_to_disk(root / "saved")


def write_lines(root: Path, columns: dict[str, list[Any]]) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (root / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))


def write_commas(root: Path, columns: dict[str, list[Any]]) -> None:
    rows = [[value or "" for value in row] for row in zip(*columns.values(), strict=True)]
    (root / "all.csv").write_text("\n".join(map(",".join, [[*columns], *rows])))


@pytest.mark.parametrize("write", [write_commas, write_lines, write_parquet, write_saved])
def test_a_column_of_splits(tmp_path: Path, write: Callable[..., None]) -> None:
    root = tmp_path / "own"
    names = write_images(root)
    splits = ["Train", "test", "Train", "VALID", "Train", None, "test", "Train"]
    columns = {"image": names, "split": splits, "label": ["b", "a", "a", "b", "b", "a", "b", "a"]}
    write(root, columns)
    path = root / "saved" if write is write_saved else root
    data = opened(path)
    assert (len(data.train), len(data.test), data.test_origin) == (4, 2, "test")
    assert told(data, "column split: Train 4, test 2, VALID 1; 1 rows without one are left out")
    assert told(data, "left out: split VALID")
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [0, 1]
    for place, name in enumerate(("1.png", "6.png")):
        with Image.open(root / name) as image:
            pixels = np.asarray(image).transpose(2, 0, 1)
        np.testing.assert_array_equal(data.test.images[place], pixels)
    assert len(opened(path, split_test="validation").test) == 1
    judged = opened(path, split_validation="auto").validation
    assert judged is not None
    assert len(judged) == 1
    if write is not write_parquet:
        streamed = opened(path, streaming=True)
        assert (streamed.train_images, len(streamed.test)) == (4, 2)


@pytest.mark.parametrize(
    ("column", "values", "sizes"),
    [
        ("partition", [0, 1, 2, 0, 0, 0, 2, 1], (4, 2)),
        ("Usage", ["Training", "PublicTest", "Training", "PrivateTest"] * 2, (4, 2)),
        ("fold", ["train", "test"] * 4, (4, 4)),
        ("fold", [0, 1] * 4, None),
        ("subset", ["left", "right"] * 4, None),
    ],
)
def test_what_a_column_of_splits_may_hold(
    tmp_path: Path, column: str, values: list[Any], sizes: tuple[int, int] | None
) -> None:
    names = write_images(tmp_path / "own")
    rows = [f"{name},{value}" for name, value in zip(names, values, strict=True)]
    (tmp_path / "own" / "all.csv").write_text("\n".join([f"image,{column}", *rows]))
    data = opened(tmp_path / "own")
    assert told(data, f"splits are taken from column {column}") is (sizes is not None)
    assert (len(data.train), len(data.test)) == (sizes or (7, 1))
    labels = opened(tmp_path / "own", label_column=column)
    assert labels.label_names == tuple(sorted(set(map(str, values))))


def test_a_test_table_without_labels_is_not_tested_on(tmp_path: Path) -> None:
    images, labels = pixel_rows(20)
    flat = images.reshape(20, 25)
    names = [f"pixel{number}" for number in range(25)]
    for name, columns in (("train", ["label", *names]), ("test", names)):
        lines = [",".join(columns)]
        for label, row in zip(labels, flat, strict=True):
            lines.append(",".join(map(str, [*([label] if name == "train" else []), *row])))
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    data = opened(tmp_path)
    assert data.test_origin.startswith("held-out tenth of train")
    assert told(data, "left out: split test", "without labels")


def test_missing_labels_of_class_numbers(tmp_path: Path) -> None:
    kind = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features(image=datasets.Image(), label=kind)
    cells = {"image": [picture(n) for n in range(6)], "label": [0, None, 1, -1, 0, 1]}
    table = datasets.Dataset.from_dict(cells, features=features)
    table.to_parquet(str(tmp_path / "train.parquet"))
    data = opened(tmp_path / "train.parquet", split_test="train")
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [0, 1, 0, 1, -1, -1]
    np.testing.assert_array_equal(data.train.images[1].transpose(1, 2, 0), np.asarray(picture(2)))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "I;16", "CMYK", "turned"])
def test_odd_pictures(tmp_path: Path, mode: str) -> None:
    root = tmp_path / "own"
    root.mkdir()
    grey = picture(1, 8, "L")
    for number in range(2):
        path = root / f"{number}.png"
        if mode == "CMYK":
            picture(1).convert("CMYK").save(root / f"{number}.tif")
        elif mode == "turned":
            exif = Image.Exif()
            exif[0x0112] = 6  # the camera was turned: a quarter to the right
            picture(1).save(root / f"{number}.tif", exif=exif)
        elif mode == "I;16":
            Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(path)
        elif mode == "P":
            grey.convert("P").save(path)
        else:
            grey.convert(mode).save(path)
    data = opened(root)
    found = data.train.images[0]
    expected: Any = {
        "1": np.asarray(grey.convert("1")) * np.uint8(255),
        "I;16": np.asarray(grey).astype(np.uint16) * 257,
        "RGB": np.asarray(picture(1)),
        "CMYK": np.asarray(picture(1).convert("CMYK").convert("RGB")),
        "turned": np.rot90(np.asarray(picture(1)), -1),
    }.get(mode, np.asarray(grey))
    if mode in ("RGB", "RGBA"):
        expected = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    channels = 3 if mode in ("RGB", "RGBA", "CMYK", "turned") else 1
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected.reshape(8, 8, channels))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow is built without AVIF")
def test_avif(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for number in range(2):
        Image.new("RGB", (8, 8), (200, 30, 90)).save(tmp_path / "own" / f"{number}.avif")
    found = opened(tmp_path / "own").train.images
    assert np.abs(found.astype(int) - np.array([200, 30, 90])[:, None, None]).max() < 9


@pytest.fixture
def no_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without the plugin that reads HEIC."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    pictures.cache_clear()
    yield
    pictures.cache_clear()


@pytest.mark.usefixtures("no_plugin")
def test_heic_without_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for name in ("0.heic", "1.HIF"):
        (tmp_path / "own" / name).write_bytes(b"no picture")
    with pytest.raises(DistvaeError, match=r"holds no images.*pip install pillow-heif"):
        opened(tmp_path / "own")
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    (tmp_path / "own" / "2.jpg").write_bytes(head)
    (tmp_path / "own" / "3.jpg").write_bytes(head)
    with pytest.raises(DistvaeError, match=r"\.jpg.* is a HEIC image, .*pip install pillow-heif"):
        opened(tmp_path / "own")


def test_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    write_folder(tmp_path / "own", 3)
    heif = plugin.from_pillow(Image.new("RGB", (8, 8), (200, 30, 90)))
    (tmp_path / "own" / "yew").mkdir()
    for number in range(3):
        heif.save(tmp_path / "own" / "yew" / f"{number}.HEIC", quality=100)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        pictures.cache_clear()
        assert told(opened(tmp_path / "own"), "3 .heic files", "yew 3", "pip install pillow-heif")
    pictures.cache_clear()
    data = opened(tmp_path / "own")  # decoded anew, as more can be read now
    assert data.label_names == (*CLASSES, "yew")
    assert not told(data, "skipped")
    labels = data.train.labels
    assert labels is not None
    found = data.train.images[labels == 3].astype(int)
    assert len(found) == 2
    assert np.abs(found - np.array([200, 30, 90])[:, None, None]).max() < 9


@pytest.mark.slow
def test_huge_photographs_are_read(tmp_path: Path) -> None:
    pictures.cache_clear()  # which Pillow's warnings are settled with
    ramp = Image.linear_gradient("L").resize((11_000, 9_000), Image.Resampling.BILINEAR)
    for name in ("a.jpg", "b.png"):
        (tmp_path / "own").mkdir(exist_ok=True)
        ramp.save(tmp_path / "own" / name, quality=95, compress_level=1)
    data = opened(tmp_path / "own", image_size=16)
    expected = np.arange(8, 256, 16)[:, None]
    for split in (data.train, data.test):
        assert np.abs(split.images[0, 0].astype(int) - expected).max() <= 2
    encoded = encoded_image(str(tmp_path / "own" / "a.jpg"), None, "")
    assert decode_image(encoded, 16).width == 11_000 / 8
    Image.new("1", (20_000, 20_000)).save(tmp_path / "own" / "c.png")
    with pytest.raises(DistvaeError, match=r"c\.png.* 400 million pixels.* 179 million"):
        opened(tmp_path / "own", image_size=16)


def test_animations_and_transparency_are_told(tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    frames = [picture(number, 8, "L") for number in range(3)]
    frames[0].save(root / "1.gif", save_all=True, append_images=frames[1:])
    clear = picture(1, 8).convert("RGBA")
    clear.putpixel((0, 0), (9, 9, 9, 0))
    clear.save(root / "2.png")
    data = opened(root)
    assert told(data, "1 image with several frames")
    assert told(data, "1 image with transparent parts")
    assert told(data, "1 image in grey")
    assert data.image_shape == (3, 8, 8)


def test_colour_wins_wherever_it_comes(tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    for number in range(150):
        picture(number, 4, "RGB" if number == 101 else "L").save(root / f"{number:03}.png")
    assert opened(root).image_shape == (3, 4, 4)
    assert opened(root, channels=1).image_shape == (1, 4, 4)


@pytest.mark.parametrize(("bits", "ending"), [(12, "png"), (10, "tif"), (14, "tif"), (16, "png")])
def test_deep_images_take_their_own_depth(tmp_path: Path, bits: int, ending: str) -> None:
    root = tmp_path / "own"
    root.mkdir()
    values = np.arange(150 * 16, dtype=np.uint16).reshape(150, 4, 4) * (2**bits // 2400)
    values[141, 0, 0] = 2**bits - 1
    for number, image in enumerate(values):
        Image.fromarray(image).save(root / f"{number:03}.{ending}")
    data = opened(root, split_test="train")
    np.testing.assert_array_equal(data.train.images[:, 0], values)
    assert told(data, f"{2**bits - 1} is white", "--white", f"kept in {2**bits:,} levels")
    fewer = opened(root, split_test="train", bits=8)
    np.testing.assert_array_equal(fewer.train.images[:, 0], values >> (bits - 8))
    assert told(fewer, f"{2**bits - 1} is white", "their lower bits are lost")
    half = opened(root, split_test="train", white=2 ** (bits - 1) - 1, bits=8)
    expected = np.minimum(values >> (bits - 9), 255)
    np.testing.assert_array_equal(half.train.images[:, 0], expected)


def test_dark_bytes_are_told_and_brightened_on_request(tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    for number in range(4):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(root / f"{number}.png")
    data = opened(root, split_test="train")
    assert data.train.images[3, 0, 0, 0] == 3
    assert told(data, "nearly black", "--white")
    assert opened(root, split_test="train", white=3).train.images[:, 0, 0, 0].tolist() == [
        *(0, 85, 170, 255)
    ]


def test_floating_point_images(tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    for number in range(3):
        Image.fromarray(np.full((4, 4), number / 2, np.float32)).save(root / f"{number}.tif")
    data = opened(root, split_test="train")
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data.h5", "h5py.*np.savez.*data.npz"),
        ("data.mat", r"scipy\.io.*loadmat\('data.mat'\)"),
        ("data.pkl", "never opened.*np.savez"),
        ("data.pt", "weights_only=True"),
        ("data.tar", "unpack it|Unpack it"),
        ("data.json", "jq -c"),
        ("data.xlsx", "as csv"),
        ("one.png", "one image.*folder"),
        ("data.tfrecord", "as files"),
        ("data", r"expected a folder.*\.parquet"),
    ],
)
def test_what_is_refused_is_explained(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(DistvaeError, match=words):
        opened(tmp_path / name)
    if name not in ("one.png", "data"):
        with pytest.raises(DistvaeError, match=rf"holds no images: it has 1 \.{name[5:]}"):
            opened(tmp_path)


def test_two_labels_that_are_one_after_trimming_are_refused(tmp_path: Path) -> None:
    for name in ("fir", "fir ", "oak"):
        (tmp_path / "own" / name).mkdir(parents=True)
        picture(0).save(tmp_path / "own" / name / "1.png")
    with pytest.raises(DistvaeError, match=r"both called 'fir'.*'fir '"):
        opened(tmp_path / "own")
