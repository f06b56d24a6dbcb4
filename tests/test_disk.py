"""Disks that are full and places that cannot be written: exit code 2, one message, nothing left."""

import contextlib
import io
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from distvae.files import TEMPORARY, new_folder, replacing_file
from tests.conftest import Command, assert_refused, listing

LIMIT = 900
"""Bytes of the longest file, as on a disk that is nearly full."""


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond ``LIMIT`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        *("sample run", "sample run --output new/deep/s.png", "sample run --output s.npz"),
        *("sample run --count 100 --output s.npy", "fit-prior run --components 10"),
        *("evaluate run --metrics elbo", "export run --onnx"),
        "export run --output new/onnx",
    ],
)
def test_a_full_disk_is_told_and_leaves_all_as_it_was(
    run: Path, command: Command, here: Path, line: str
) -> None:
    words = line.split()
    if words[0] in ("evaluate", "fit-prior"):
        assert command("evaluate", "run", "--metrics", "elbo").code == 0  # its data is in the cache
    before = listing(here)
    with full_disk(), contextlib.redirect_stdout(io.StringIO()):  # what is captured is a file too
        ended = command(*words)
    assert_refused(ended, "cannot be written", "MB are free", "Make it writable")
    assert listing(here) == before


PLACES = {
    "below a file": ("sample run --output file/s.png", "Not a directory|File exists"),
    "a folder below a file": ("sample run --output file/a/pictures", "Not a directory|exists"),
    "an array below a file": ("sample run --output file/a/s.npy", "Not a directory|exists"),
    "a long name": (f"sample run --output {'x' * 300}.png", "File name too long"),
    "a long path": (f"sample run --output {'x/' * 3000}s.png", "File name too long"),
    "a long run": (f"sample {'x' * 300}", "x"),
    "proc": ("sample run --output /proc/s.png", "/proc"),
    "export below a file": ("export run --output file/onnx", "Not a directory|exists"),
    "evaluation is a folder": ("evaluate run --metrics elbo", "Is a directory"),
    "prior is a folder": ("fit-prior run --components 2", "Is a directory"),
    "NUL": ("sample run --output a\0.png", "holds a NUL byte"),
    "NUL in a run": ("evaluate r\0un", "holds a NUL byte"),
}


@pytest.mark.parametrize(("line", "words"), PLACES.values(), ids=PLACES)
def test_a_place_that_cannot_be_written_is_told(
    run: Path, command: Command, here: Path, line: str, words: str
) -> None:
    (here / "file").touch()
    (run / "evaluation.md").mkdir()
    (run / "fitted-prior.safetensors").mkdir()
    before = set(listing(here)) | {run / "evaluation.json"}
    ended = command(*line.split(" "))
    assert_refused(ended)
    assert any(word in ended.err for word in words.split("|")), ended.err
    assert len(ended.err) < 1000
    assert set(listing(here)) <= before


def test_folders_that_a_failed_write_made_are_gone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(KeyError), replacing_file(tmp_path / "kept/new/deep/file"):
        raise KeyError
    with pytest.raises(KeyError), new_folder(tmp_path / "kept/new/deep/folder"):
        raise KeyError
    assert set(tmp_path.rglob("*")) == {tmp_path / "kept"}


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"
    with new_folder(path) as folder:
        (folder / "old").touch()
    with pytest.raises(OSError, match="No such file"), new_folder(path) as folder:  # noqa: PT012
        (folder / "new").touch()
        hidden = folder.rename(tmp_path / "elsewhere")
        assert hidden.is_dir()
    assert [file.name for file in path.iterdir()] == ["old"]
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))
