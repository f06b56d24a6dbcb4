"""What makes two data sets the same, and what the cache does about damage."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distvae.config import DataConfig
from distvae.data.cache import SUFFIX
from distvae.data.identity import PIECE, ROWS, digest_of, files_identity, state_of
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from distvae.files import LOCK
from tests.conftest import flip_a_bit
from tests.data.conftest import picture, write_folder


def open_path(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(data=str(path), **settings))


def write_csv(root: Path) -> Path:
    """Six pictures below ``files`` and a csv beside it that names them."""
    write_folder(root / "files", 2)
    files = sorted((root / "files").rglob("*.png"))
    rows = [f"{file.relative_to(root)},{file.parent.name}" for file in files]
    (root / "list.csv").write_text("\n".join(["image,label", *rows]))
    return root / "list.csv"


class Watch:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @contextmanager
    def __call__(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        self.told.append(description)
        yield lambda count: None


def test_a_digest_is_that_of_pieces_of_64_rows() -> None:
    array = np.random.default_rng(0).integers(0, 256, (150, 1, 2, 2), dtype=np.uint8)
    whole = hashlib.sha256(b"|u1 (150, 1, 2, 2)\n")
    for start in (0, 64, 128):
        whole.update(hashlib.sha256(array[start : start + 64].tobytes()).digest())
    assert ROWS == 64
    assert digest_of(array) == whole.hexdigest()
    assert digest_of(array.reshape(150, 1, 1, 4)) != whole.hexdigest()


def copied(trees: Path) -> Path:
    return shutil.copytree(trees, trees.parent / "elsewhere" / "woods", copy_function=shutil.copy)


def touched(trees: Path) -> Path:
    for file in trees.rglob("*"):
        os.utime(file, (1, 1))
    return trees


def annotated(trees: Path) -> Path:
    (trees / "notes.txt").write_text("They are trees.")
    return trees


@pytest.mark.parametrize("change", [copied, touched, annotated])
def test_it_is_the_same_data_wherever_and_whenever_it_was_written(
    trees: Path, change: Callable[[Path], Path], cache: Path
) -> None:
    before = open_path(trees)
    place = change(trees)
    after = open_path(place)
    assert (after.fingerprint, after.digests) == (before.fingerprint, before.digests)
    assert (after.source, after.name) == (str(place), place.name)
    elsewhere = open_path(place, cache_dir=str(cache.with_name("another")))
    assert elsewhere.fingerprint == before.fingerprint


def test_a_table_and_a_folder_of_the_same_images_are_the_same_data(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "data")
    assert open_path(table).fingerprint == open_path(tmp_path / "data" / "files").fingerprint


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def swapped_within(trees: Path) -> None:
    swap(trees / "fir" / "test_0.png", trees / "fir" / "test_1.png")


def swapped_between(trees: Path) -> None:
    swap(trees / "fir" / "test_0.png", trees / "oak" / "test_0.png")


def renamed(trees: Path) -> None:
    (trees / "fir").rename(trees / "elm")


def removed(trees: Path) -> None:
    (trees / "fir" / "test_1.png").unlink()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (swapped_within, {"train images"}),
        (swapped_between, {"train images"}),
        (renamed, {"label names"}),
        (removed, {"train images", "train labels", "test images", "test labels"}),
    ],
)
def test_other_content_is_told_by_part(
    trees: Path, change: Callable[[Path], None], parts: set[str]
) -> None:
    before = open_path(trees)
    change(trees)
    after = open_path(trees)
    assert after.fingerprint != before.fingerprint
    different = {name for name, told in after.digests.items() if before.digests[name] != told}
    assert different <= parts
    assert different


def test_a_change_that_keeps_size_and_time_is_found(tmp_path: Path) -> None:
    root = tmp_path / "greys"
    root.mkdir()
    for number in range(4):
        Image.new("L", (4, 4), number).save(root / f"{number}.pgm")  # not compressed
    before, file = open_path(root), root / "0.pgm"
    times = file.stat()
    Image.new("L", (4, 4), 100).save(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert open_path(root).fingerprint != before.fingerprint


def test_an_edited_csv_and_an_image_that_only_it_names_count(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "data")
    seen = [open_path(table).fingerprint]
    picture(77).save(table.parent / "files" / "oak" / "test_1.png")
    seen.append(open_path(table).fingerprint)
    table.write_text(table.read_text().replace("test_0.png,oak", "test_0.png,fir"))
    seen.append(open_path(table).fingerprint)
    assert len(set(seen)) == 3


def test_files_are_read_once(trees: Path, cache: Path) -> None:
    watch = Watch()
    open_data(DataConfig(data=str(trees)), watch)
    assert watch.told == ["reading files", "decoding trees train", "decoding trees test"]
    again = Watch()
    open_data(DataConfig(data=str(trees)), again)
    assert again.told == []
    touched(trees)
    open_data(DataConfig(data=str(trees)), again)
    assert again.told == ["reading files"]
    assert not list(cache.rglob(".writing-*"))


def test_large_files_are_read_whole_unless_they_are_sampled(tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    content = bytearray(np.random.default_rng(0).bytes(2 * PIECE + 5))
    file.write_bytes(content)

    def known(sampled: bool) -> str:
        return files_identity(tmp_path, [file], tmp_path / "cache", sampled)

    whole, sampled = known(False), known(True)
    content[600_000] ^= 1
    file.write_bytes(content)
    assert known(False) != whole
    assert known(True) == sampled
    content[-1] ^= 1
    file.write_bytes(content)
    assert known(True) != sampled
    file.rename(tmp_path / "other.bin")
    renamed = files_identity(tmp_path, [tmp_path / "other.bin"], tmp_path / "cache")
    assert renamed != known_of(tmp_path, content)


def known_of(root: Path, content: bytearray) -> str:
    (root / "again.bin").write_bytes(content)
    return files_identity(root, [root / "again.bin"], root / "cache")


def test_sampled_files_tell_what_was_added_and_resized(tmp_path: Path) -> None:
    files = []
    for number in range(3000):
        (tmp_path / f"{number:04}").write_bytes(bytes(number % 7))
        files.append(tmp_path / f"{number:04}")
    seen = {files_identity(tmp_path, files, tmp_path / "cache", sampled=True)}
    seen.add(files_identity(tmp_path, files[:-1], tmp_path / "cache", sampled=True))
    files[1001].write_bytes(bytes(9))
    seen.add(files_identity(tmp_path, files, tmp_path / "cache", sampled=True))
    assert len(seen) == 3


def test_a_pipe_in_the_folder_is_not_read(trees: Path) -> None:
    os.mkfifo(trees / "fir" / "pipe")
    assert open_path(trees).label_names == ("beech", "fir", "oak")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DistvaeError, match=r"cannot look at .*gone"):
        state_of(tmp_path, [tmp_path / "gone"])


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train-images", "train-labels", "test-images", "test-labels"])
def test_a_flipped_bit_in_the_cache_is_found_and_mended(
    trees: Path, cache: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = open_path(trees)
    [folder] = cache.glob("trees-*")
    flip_a_bit(folder / f"{name}.npy")
    mended = open_path(trees)
    assert mended.digests == fresh.digests
    told = capsys.readouterr().err
    assert f"damaged ({name}.npy is not what was written); decoding" in told
    assert told.count("\n") == 1
    np.testing.assert_array_equal(mended.train.images, open_path(trees).train.images)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("oak", "elm"),
        lambda text: text[: len(text) // 2],
        lambda text: "[1, 2]",
        lambda text: "[" * 20_000,
        lambda text: json.dumps({"digest": 0}),
        lambda text: "\x00",
    ],
)
def test_damaged_metadata_is_mended(
    trees: Path,
    cache: Path,
    damage: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fresh = open_path(trees)
    [meta] = cache.glob("trees-*/meta.json")
    meta.write_text(damage(meta.read_text()))
    assert open_path(trees).fingerprint == fresh.fingerprint
    assert capsys.readouterr().err.count("decoding anew") == 1


def test_a_damaged_memory_costs_no_more_than_reading_again(trees: Path, cache: Path) -> None:
    fresh = open_path(trees)
    for memory in [*cache.glob(".digests/*"), *cache.glob("trees-*/verified.json")]:
        memory.write_text('{"state": 1, "digest": []}')
    watch = Watch()
    data = open_data(DataConfig(data=str(trees)), watch)
    assert data.fingerprint == fresh.fingerprint
    assert watch.told == ["reading files", "checking decoded images"]


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from distvae.config import DataConfig
from distvae.data.store import open_data

@contextmanager
def progress(description, total):
    if "test" in description:
        print("half", flush=True)
        os.kill(os.getpid(), signal.{how})
    yield lambda count: None

open_data(DataConfig(data=sys.argv[1]), progress)
"""


def test_leftovers_of_a_killed_decode_go_and_those_of_a_live_one_stay(
    trees: Path, tmp_path: Path, cache: Path
) -> None:
    other = write_folder(tmp_path / "woods", 3)
    killed = [sys.executable, "-c", KILLED.format(how="SIGKILL"), str(trees)]
    assert subprocess.run(killed, check=False).returncode == -signal.SIGKILL
    [left] = cache.glob(f".trees-*{SUFFIX}")
    assert (left / "store" / "train-images.npy").exists()
    stopped = subprocess.Popen([sys.executable, "-c", KILLED.format(how="SIGSTOP"), str(other)])
    try:
        while not (live := list(cache.glob(f".woods-*{SUFFIX}/store/train-images.npy"))):
            time.sleep(0.01)
        third = write_folder(tmp_path / "third", 2)
        open_path(third)  # of other data: it removes what nobody holds
        assert not left.exists()
        assert live[0].exists()
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(60) == 0
    finally:
        stopped.kill()
        stopped.wait()
    assert not list(cache.glob(f".*{SUFFIX}"))
    assert len(open_path(other).train) == 6


def test_a_lock_that_was_left_alone_is_taken_over(trees: Path, cache: Path) -> None:
    open_path(trees)
    [folder] = cache.glob("trees-*")
    left = folder.with_name(f".{folder.name}{SUFFIX}")
    left.mkdir()
    (left / LOCK).touch()
    (left / "store").mkdir()
    shutil.rmtree(folder)
    assert open_path(trees).label_names == ("beech", "fir", "oak")
    assert not left.exists()
