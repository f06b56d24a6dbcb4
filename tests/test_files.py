"""Files and folders that are there whole or not at all, killed writers included."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distvae.errors import DistvaeError
from distvae.files import TEMPORARY, new_folder, replacing_file, write_json, write_text
from distvae.reading import read_json, signed
from tests.conftest import HANG

IN_THE_MIDDLE_OF_A_FILE = """
import sys, time
from pathlib import Path
from distvae.files import replacing_file
with replacing_file(Path(sys.argv[1])) as temporary, temporary.open("w") as file:
    file.write("half of the n")
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""
IN_THE_MIDDLE_OF_A_FOLDER = """
import sys, time
from pathlib import Path
from distvae.files import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "one").write_text("new")
    print("written", flush=True)
    time.sleep(60)
"""
LARGE_FOLDER = """
import sys
from pathlib import Path
from distvae.files import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "one").write_text("new")
    print("written", flush=True)
"""
FILES_FOR_EVER = """
import itertools, sys
from pathlib import Path
from distvae.files import write_text
for letter in itertools.cycle("abc"):
    write_text(Path(sys.argv[1]), 100_000 * letter)
    print("written", flush=True)
"""
FOLDERS_FOR_EVER = """
import itertools, sys
from pathlib import Path
from distvae.files import new_folder
for letter in itertools.cycle("abc"):
    with new_folder(Path(sys.argv[1])) as folder:
        for number in range(50):
            (folder / str(number)).write_text(letter)
    print("written", flush=True)
"""


def kill_while(
    script: str, path: Path, lines: int = 1, delay: float = 0.0, may_end: bool = False
) -> None:
    """Run a script until it has printed some lines and a moment has passed, then SIGKILL it."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parent.parent,
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline() == b"written\n"
        time.sleep(delay)
        process.kill()
        code = process.wait(timeout=HANG)
        assert code == -signal.SIGKILL or (may_end and code == 0)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_is_replaced_when_its_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for text in ("one", "two"):
        with replacing_file(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert contents(path.parent) == {"file": text}


def test_a_file_is_kept_when_its_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail() -> None:
        with replacing_file(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert contents(tmp_path) == {"file": "old"}


def test_a_folder_appears_whole_and_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "folder"
    for names in (["one", "two"], ["three"]):
        with new_folder(path) as folder:
            assert list(folder.iterdir()) == []
            for name in names:
                (folder / name).write_text(name)
            assert not path.exists() or contents(path) == {"one": "one", "two": "two"}
        assert contents(path) == {name: name for name in names}
        assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_kept_when_its_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with new_folder(path) as folder:
        (folder / "one").write_text("old")

    def fail() -> None:
        with new_folder(path) as folder:
            (folder / "one").write_text("new")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fail()
    assert contents(path) == {"one": "old"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    kill_while(IN_THE_MIDDLE_OF_A_FILE, path)
    assert path.read_text() == "old"
    (leftover,) = set(tmp_path.iterdir()) - {path}
    assert leftover.name.startswith(TEMPORARY)
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_writer_killed_in_the_middle_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with new_folder(path) as folder:
        (folder / "one").write_text("old")
    kill_while(IN_THE_MIDDLE_OF_A_FOLDER, path)
    assert contents(path) == {"one": "old"}
    assert all(other.name.startswith(TEMPORARY) for other in set(tmp_path.iterdir()) - {path})


@pytest.mark.parametrize("delay", [0.002, 0.006, 0.012, 0.02])
def test_a_large_folder_is_never_seen_half_deleted(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    for number in range(5000):
        (path / str(number)).touch()
    kill_while(LARGE_FOLDER, path, delay=delay, may_end=True)
    assert not path.exists() or len(list(path.iterdir())) in (1, 5000)


@pytest.mark.parametrize("delay", [0.0, 0.0007, 0.0013, 0.0029, 0.0071])
def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "file"
    kill_while(FILES_FOR_EVER, path, lines=2, delay=delay)
    text = path.read_text()
    assert len(text) == 100_000
    assert len(set(text)) == 1


@pytest.mark.parametrize("delay", [0.0, 0.0013, 0.0029, 0.0047, 0.0071])
def test_a_folder_is_whole_whenever_its_writer_is_killed(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "folder"
    kill_while(FOLDERS_FOR_EVER, path, lines=2, delay=delay)
    if path.exists():
        found = contents(path)
        assert set(found) == {str(number) for number in range(50)}
        assert len(set(found.values())) == 1


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"name": "café", "numbers": [1, 2.5, None], "nested": {"yes": True}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert json.loads((tmp_path / "a.json").read_bytes()) == signed(content)


def test_what_is_no_json_is_not_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert contents(tmp_path) == {"a.json": "1\n"}


@pytest.mark.parametrize("damage", [b"", b'{"step": 1', b"\xff\xfe{}"])
def test_damaged_json_is_refused_by_name(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.json").write_bytes(damage)
    with pytest.raises(DistvaeError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
    with pytest.raises(DistvaeError, match=r"b\.json is missing"):
        read_json(tmp_path / "b.json")
