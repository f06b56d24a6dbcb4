"""Data that is odd, damaged or ambiguous: refused or told, never misread in silence."""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from distvae.config import DataConfig
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from tests.data.conftest import CLASSES, picture, write_folder

COUNT = 12
LABELS = np.arange(COUNT) % 3


def opened(path: Path) -> ImageData:
    return open_data(DataConfig(str(path)))


def told(data: ImageData, *words: str) -> bool:
    return any(all(word in note for word in words) for note in data.notes)


def write_table(folder: Path, text: str, name: str = "metadata.csv") -> Path:
    """Pictures 0.png to 11.png and a table beside them."""
    folder.mkdir()
    for number in range(COUNT):
        picture(number).save(folder / f"{number}.png")
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_links_that_lead_in_circles_are_not_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", 4)
    (tmp_path / "own" / CLASSES[0] / "up").symlink_to("..")
    (tmp_path / "own" / "self").symlink_to(".")
    write_folder(tmp_path / "elsewhere", 2)
    (tmp_path / "own" / "more").symlink_to(tmp_path / "elsewhere" / CLASSES[0])
    data = opened(tmp_path / "own")
    assert len(data.train) + len(data.test) == 4 * len(CLASSES) + 2
    assert set(data.label_names) == {*CLASSES, "more"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", 2)
    for pipe in (tmp_path / "pipe.csv", tmp_path / "own" / CLASSES[0] / "x.png"):
        os.mkfifo(pipe)
        with pytest.raises(DistvaeError, match="is a pipe or a device"):
            opened(pipe if pipe.suffix == ".csv" else tmp_path / "own")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_with_a_damaged_member_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "own.zip"
    write_folder(tmp_path / "own", 2)
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted((tmp_path / "own").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path))
        damaged = archive.infolist()[0]
    content = bytearray(path.read_bytes())
    start = damaged.header_offset + 30 + len(damaged.filename) + 12
    content[start : start + 30] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(DistvaeError, match=r"cannot read .*own\.zip/own/.*another copy"):
        opened(path)


def test_in_a_zip_only_hidden_folders_are_told_as_hidden(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", 2)
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for file in (tmp_path / "own").rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path))
            archive.writestr(f"__MACOSX/own/{file.parent.name}/._{file.name}", b"")
        archive.writestr("own/.DS_Store", b"")
    assert "skipped: hidden folders __MACOSX" in opened(tmp_path / "own.zip").notes


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are always UTF-8")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", 2)
    first = os.fsencode(tmp_path / "own" / CLASSES[0])
    Path(os.fsdecode(first + b"/x.\xff")).touch()
    assert told(opened(tmp_path / "own"), "skipped: 1 .\\udcff file")
    Path(os.fsdecode(first)).rename(os.fsdecode(first + b"\xff"))
    with pytest.raises(DistvaeError, match=r"label of .* is not UTF-8"):
        opened(tmp_path / "own")


def test_folders_that_say_no_label_are_told(tmp_path: Path) -> None:
    write_folder(tmp_path / "own" / "outer", 2)
    write_folder(tmp_path / "own" / "other", 2)
    (tmp_path / "own" / "void").mkdir()
    data = opened(tmp_path / "own")
    assert data.label_names == ("other", "outer")
    assert told(data, "no label", f"outer/{CLASSES[0]}")
    assert told(data, "empty folders void")


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    deep = '{"file_name": "0.png", "label": ' + "[" * 50_000 + "]" * 50_000 + "}\n"
    for name, text in (("one", deep), ("broken", deep.replace("[", "[\n"))):
        folder = write_table(tmp_path / name, text, "metadata.jsonl")
        with pytest.raises(DistvaeError, match="nested more than 64 deep"):
            opened(folder)
    text = '{"file_name": "%d.png", "label": "%s"}\n'
    flat = "".join(text % (number, "[{" * 60) for number in range(COUNT))
    assert opened(write_table(tmp_path / "flat", flat, "metadata.jsonl")).num_labels == 1


def test_columns_and_images_that_are_left_are_told(tmp_path: Path) -> None:
    rows = [f"{number}.png,2020-01-0{1 + number % 3},x\n" for number in range(COUNT - 2)]
    data = opened(write_table(tmp_path / "own", "file_name,label,kind\n" + "".join(rows)))
    assert data.num_labels == 0
    assert told(data, "no labels are found; left out: label (date", "kind (string)")
    assert told(data, "left out: 2 of 12 images, which no row names")


def test_a_table_without_a_header_is_told(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{number % 3}\n" for number in range(COUNT))
    data = opened(write_table(tmp_path / "own", rows))
    assert told(data, "metadata.csv has no header: its columns are image, label")
    assert data.label_names == ("0", "1", "2")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DistvaeError, match="two columns are called 'label'"):
        opened(write_table(tmp_path / "own", "file_name,label,label\n0.png,1,2\n"))


def test_labels_that_floats_cannot_tell_apart_are_none(tmp_path: Path) -> None:
    rows = [f"{number}.png,1000000000000000000{number % 3:02}\n" for number in range(COUNT)]
    data = opened(write_table(tmp_path / "own", "file_name,label\n" + "".join(rows)))
    assert data.num_labels == 0
    assert told(data, "holds no labels", "not told apart")


def test_labels_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    pixels = [np.full((4, 4), number, np.uint8).tolist() for number in range(100, 100 + COUNT)]
    written = pa.array([b"\xff", b"ab"] * (COUNT // 2))
    text = pa.Array.from_buffers(pa.string(), COUNT, written.buffers())
    parquet.write_table(pa.table({"image": pixels, "label": text}), tmp_path / "own.parquet")
    with pytest.raises(DistvaeError, match=r"column label of .* is not UTF-8"):
        opened(tmp_path / "own.parquet")


def test_pixels_that_are_missing_are_no_matter_of_range(tmp_path: Path) -> None:
    cells: list[Any] = np.full((COUNT, 4, 4), 200).tolist()
    cells[3][0][0] = None
    parquet.write_table(pa.table({"image": cells, "label": LABELS}), tmp_path / "own.parquet")
    with pytest.raises(DistvaeError, match="pixels that are missing or infinite"):
        opened(tmp_path / "own.parquet")


@pytest.mark.parametrize(
    ("train", "test"), [("uint8", "unit"), ("unit", "float"), ("signed", "unit"), ("unit", "uint8")]
)
def test_splits_in_different_units_are_refused(tmp_path: Path, train: str, test: str) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4))
    grey[0, 0, :2] = 0, 255
    units: dict[str, Any] = {
        "uint8": grey.astype(np.uint8),
        "float": grey.astype(np.float32),
        "unit": grey / 255,
        "signed": grey / 127.5 - 1,
    }
    np.savez(tmp_path / "own.npz", x_train=units[train], x_test=units[test])
    with pytest.raises(DistvaeError, match=r"different ranges: .* in train, .* in test"):
        opened(tmp_path / "own.npz")
    np.savez(tmp_path / "same.npz", x_train=units["uint8"], x_test=units["float"])
    assert len(opened(tmp_path / "same.npz").test) == COUNT


@pytest.mark.parametrize("header", ["(" * 500, "{'descr': '|u1', 'shape': (2, 4", "[" * 60_000])
def test_damaged_headers_of_arrays_are_refused(tmp_path: Path, header: str) -> None:
    text = header.encode() + b"\n"
    size = len(text).to_bytes(2, "little")
    (tmp_path / "own.npy").write_bytes(b"\x93NUMPY\x01\x00" + size + text + bytes(99))
    with pytest.raises(DistvaeError, match="cannot be read"):
        opened(tmp_path / "own.npy")


def test_numbers_that_are_no_grey_levels_are_refused(tmp_path: Path) -> None:
    images = np.full((COUNT, 4, 4), 2**64 - 1, np.uint64)
    np.savez(tmp_path / "own.npz", images=images)
    with pytest.raises(DistvaeError, match="are no grey levels"):
        opened(tmp_path / "own.npz")


def test_bytes_that_are_no_text_are_no_labels(tmp_path: Path) -> None:
    images = np.zeros((COUNT, 4, 4), np.uint8)
    labels = np.array([b"\xff", b"\xfe", b"a"])[LABELS]
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    data = opened(tmp_path / "own.npz")
    assert data.num_labels == 0
    assert told(data, "labels are left out", "not UTF-8")


def test_lines_may_end_as_they_did_on_old_machines(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{number % 3}\r" for number in range(COUNT))
    folder = write_table(tmp_path / "own", "")
    (folder / "metadata.csv").write_bytes(f"file_name,label\r{rows}".encode())
    assert opened(folder).num_labels == 3
