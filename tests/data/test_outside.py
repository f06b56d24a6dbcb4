"""Tables of others that name files outside their folder, and files that only tables name."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from distvae.config import DataConfig
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from tests.data.conftest import picture, streamed

COUNT = 6


def open_path(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(data=str(path), **settings))


def as_csv(folder: Path, names: list[str]) -> Path:
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *([name, "a"] for name in names)])
    return folder / "list.csv"


def as_metadata(folder: Path, names: list[str]) -> Path:
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "label"], *([name, "a"] for name in names)])
    return folder


def as_jsonl(folder: Path, names: list[str]) -> Path:
    lines = [json.dumps({"file_name": name, "label": "a"}) for name in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def as_parquet(folder: Path, names: list[str]) -> Path:
    columns = {"image": [{"bytes": None, "path": name} for name in names]}
    features = datasets.Features(
        image={"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / "list.parquet"))
    return folder / "list.parquet"


def as_text_in_parquet(folder: Path, names: list[str]) -> Path:
    datasets.Dataset.from_dict({"image": names}).to_parquet(str(folder / "list.parquet"))
    return folder


WRITERS = [as_csv, as_metadata, as_jsonl, as_parquet, as_text_in_parquet]
Writer = Callable[[Path, list[str]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures in ``data``, and one beside it that is nobody's business."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    for number in range(COUNT):
        picture(number).save(tmp_path / "data" / "images" / f"{number}.png")
    (tmp_path / "private").mkdir()
    picture(99).save(tmp_path / "private" / "me.png")
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "private" / "me.png")
    return tmp_path / "data"


def names(last: str) -> list[str]:
    return [*(f"images/{number}.png" for number in range(COUNT)), last]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("last", ["../private/me.png", "{private}/me.png", "link.png"])
def test_what_lies_outside_is_refused_unless_it_is_allowed(
    folder: Path, cache: Path, write: Writer, last: str
) -> None:
    path = write(folder, names(last.format(private=folder.parent / "private")))
    row = r"(line 8,|row 6 of split train).* names .*(me|link)\.png"
    with pytest.raises(DistvaeError, match=row + r", which lies outside .*--allow-outside"):
        open_path(path)
    assert not list(cache.glob("*list*")) + list(cache.glob("data-*"))
    opened = open_path(path, allow_outside=True)
    assert len(opened.train) + len(opened.test) == COUNT + 1
    picture(98).save(folder.parent / "private" / "me.png")
    assert open_path(path, allow_outside=True).fingerprint != opened.fingerprint
    with pytest.raises(DistvaeError, match="outside"):
        open_path(path)


@pytest.mark.parametrize("write", [as_csv, as_parquet])
@pytest.mark.parametrize("last", ["https://example.com/1.png", "file:///etc/hostname"])
def test_addresses_are_refused(folder: Path, write: Writer, last: str) -> None:
    with pytest.raises(DistvaeError, match=r"(line 8|row 6).* names .*not fetched"):
        open_path(write(folder, names(last)), allow_outside=True)


@pytest.mark.parametrize("write", WRITERS)
def test_images_that_only_a_table_names_count(folder: Path, write: Writer) -> None:
    path = write(folder, names(str(folder / "images" / "0.png")))
    before = open_path(path)
    picture(50).save(folder / "images" / "3.png")
    assert open_path(path).fingerprint != before.fingerprint


def test_embedded_images_keep_paths_of_another_machine(folder: Path) -> None:
    cells = [
        {"bytes": (folder / "images" / "1.png").read_bytes(), "path": "/home/other/1.png"}
    ] * COUNT
    datasets.Dataset.from_dict({"image": cells}).to_parquet(str(folder / "list.parquet"))
    assert len(open_path(folder / "list.parquet", split_test="train").train) == COUNT


def test_streams_refuse_too(folder: Path) -> None:

    for split in ("train", "test"):
        (folder / split).mkdir()
        as_parquet(folder / split, [f"images/{n}.png" for n in range(3)])
    data = open_path(folder, streaming=True)
    assert data.stream is not None
    as_parquet(folder / "train", ["../private/me.png"] * 3)
    with pytest.raises(DistvaeError, match=r"a row of split train .*me\.png, which lies outside"):
        open_path(folder, streaming=True)
    allowed = open_path(folder, streaming=True, allow_outside=True)
    assert allowed.stream is not None
    images = streamed(allowed)
    assert images.gather(range(3))[0].shape == (3, 3, 8, 8)


def test_class_folders_may_be_links(tmp_path: Path, folder: Path) -> None:
    linked = tmp_path / "linked"
    for split in ("train", "test"):
        for name in ("a", "b"):
            (linked / split).mkdir(parents=True, exist_ok=True)
            (linked / split / name).symlink_to(folder / "images")
    assert len(open_path(linked).train) == 2 * COUNT
    assert open_path(linked, streaming=True).train_images == 2 * COUNT
