"""Output that nobody reads, or that finds no place, ends no run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HANG, SMALL, Ended

"""Seconds after which a command hangs; none is that slow."""
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which Linux has")
SHELL = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
pytestmark = SHELL


class Shell:
    """Runs commands with redirections."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def __call__(self, line: str, *words: object) -> Ended:
        """``line`` is shell, in which ``"$@"`` is a command of distvae with these words."""
        ended = subprocess.run(
            [
                *("bash", "-o", "pipefail", "-c", line, "bash"),
                *(sys.executable, "-m", "distvae.cli", *map(str, words)),
            ],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def shell(tmp_path: Path, environment: dict[str, str]) -> Shell:
    return Shell(tmp_path, environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        '"$@" >&- 2>&- <&-',
        '"$@" | head -1',
        '"$@" 2>&1 | true',
        pytest.param('"$@" >/dev/full', marks=needs_full),
        pytest.param('"$@" >/dev/full 2>/dev/full', marks=needs_full),
    ],
)
def test_a_run_goes_on_to_its_end(line: str, shell: Shell, shapes: Path) -> None:
    flags = ("--epochs", "3", "--max-steps", "30", "--log-every", "1")
    ended = shell(line, "train", "--data", shapes, *SMALL, *flags, "--output", "run")
    assert ended.code == 0, ended.out + ended.err
    assert "Traceback" not in ended.out + ended.err
    assert "BrokenPipe" not in ended.err
    log = (shell.folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line["step"] for line in map(json.loads, log) if line["split"] == "train"]
    assert steps == list(range(1, 31))
    assert (shell.folder / "run" / "README.md").is_file(), "it came to its end"


@pytest.mark.parametrize("words", [["inspect"], ["--help"], ["train", "--help"]])
def test_other_commands_leave_quietly(words: list[str], shell: Shell, finished: Path) -> None:
    words = [*words, str(finished)] if words == ["inspect"] else words
    for line in ('"$@" | true', '"$@" >&-'):
        ended = shell(line, *words)
        assert (ended.code, ended.err) == (0, ""), line


@needs_full
def test_a_table_that_finds_no_place_is_an_error(shell: Shell, finished: Path) -> None:
    for words in (("inspect", finished), ("train", "--help")):
        ended = shell('"$@" >/dev/full', *words)
        assert ended.code == 2
        assert ended.err == "error: standard output cannot be written: No space left on device\n"
