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
def full_disk(limit: int = LIMIT) -> Iterator[None]:
    """No file of this process grows beyond ``limit`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
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
    "below a file": ("sample run --output file/s.png", "file is no folder"),
    "a folder below a file": ("sample run --output file/a/pictures", "file is no folder"),
    "an array below a file": ("sample run --output file/a/s.npy", "file is no folder"),
    "arrays below a link": ("sample run --output link/s.npz", "link is a link that leads nowhere"),
    "below a link in a circle": ("sample run --output circle/s.png", "circle is a link"),
    "a long name": (f"sample run --output {'x' * 300}.png", "File name too long"),
    "a long path": (f"sample run --output {'x/' * 3000}s.png", "File name too long"),
    "a long run": (f"sample {'x' * 300}", "x"),
    "proc": ("sample run --output /proc/s.png", "/proc"),
    "export below a file": ("export run --output file/onnx", "file is no folder"),
    "a run below a file": ("train --max-steps 1 --output file/new", "file is no folder"),
    "a run below a link": ("train --max-steps 1 --output link/new", "link is a link that leads"),
    "a sheet below a file": (
        "inspect shapes --output file/a/s.png",
        "error: file/a/s.png cannot be written: file is no folder. Move it away",
    ),
    "a cache below a file": (
        "inspect shapes --cache-dir file/a",
        "file/a: file is no folder. Move it away, or take another place. --cache-dir",
    ),
    "evaluation is a folder": ("evaluate run --metrics elbo", "Is a directory"),
    "prior is a folder": ("fit-prior run --components 2", "Is a directory"),
    "NUL": ("sample run --output a\0.png", "holds a NUL byte"),
    "NUL in a run": ("evaluate r\0un", "holds a NUL byte"),
}


@pytest.mark.parametrize(("line", "words"), PLACES.values(), ids=PLACES)
def test_a_place_that_cannot_be_written_is_told(
    run: Path, shapes: Path, command: Command, here: Path, line: str, words: str
) -> None:
    (here / "file").touch()
    (here / "link").symlink_to("nowhere")
    (here / "circle").symlink_to("circle")
    (here / "shapes").symlink_to(shapes)
    (run / "evaluation.md").mkdir()
    (run / "fitted-prior.safetensors").mkdir()
    before = set(listing(here)) | {run / "evaluation.json"}
    ended = command(*line.split(" "))
    assert_refused(ended)
    assert any(word in ended.err for word in words.split("|")), ended.err
    assert len(ended.err) < 1000
    assert "MB are free" not in ended.err  # there is room
    assert set(listing(here)) <= before


def test_a_training_that_found_no_room_for_its_first_checkpoint_is_gone_on_with(
    shapes: Path, command: Command, here: Path
) -> None:
    small = "--network mlp --hidden 256 --latent-dim 2 --batch-size 20 --max-steps 4 --threads 1"
    line = f"train --data {shapes} {small} --mixed-precision no --output run"
    with full_disk(150_000), contextlib.redirect_stdout(io.StringIO()):
        ended = command(*line.split())
    again = "Then go on from its start, as it has no checkpoint: distvae train --resume run"
    assert_refused(ended, "the checkpoint of step 4 cannot be written", "MB are free", again)
    left = ["config.json", "curves.png", "metrics.jsonl"]
    assert sorted(path.name for path in here.glob("run/*.*")) == left
    for words in ("sample run", "evaluate run", "export run --onnx"):
        assert_refused(command(*words.split()), "missing", "distvae train --resume run")
    assert_refused(command(*line.split()), "already holds a run", "--resume")

    resumed = command("train", "--resume", "run")
    assert resumed.code == 0, resumed.err
    assert "from the start: no checkpoint yet" in resumed.out
    assert command(*line.replace("--output run", "--output whole").split()).code == 0
    names = "run/model.safetensors", "whole/model.safetensors"
    assert (here / names[0]).read_bytes() == (here / names[1]).read_bytes()


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
