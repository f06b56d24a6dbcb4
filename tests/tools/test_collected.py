"""What `score` and `reconstruct` keep of many examples, beside a command never killed."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command, listing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "kept", "table"),
    [("score", ".scores", "scores.csv"), ("reconstruct", ".figures", "reconstructions.csv")],
)
def test_a_killed_process_goes_on_with_the_same_figures(
    plain: Path,
    command: Command,
    start: Callable[..., "subprocess.Popen[str]"],
    tmp_path: Path,
    tool: str,
    kept: str,
    table: str,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12_000, 8, 8), np.uint8)
    np.savez(tmp_path / "many.npz", images=images)
    flags = (tool, plain, "--data", tmp_path / "many.npz", "--part-rows", 1000)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended = command(*flags, "--output", whole)
    assert ended.code == 0, ended.err
    process = start(*flags, "--output", killed)
    parts = killed / kept
    while not (parts / "part-00001.npz").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = json.loads((parts / ".unfinished.json").read_text(encoding="utf-8"))["next"]
    assert 0 < done < 12_000
    assert not (killed / table).exists()
    resumed = command(*flags, "--output", killed)
    assert resumed.code == 0, resumed.err
    assert f"going on after {done:,} of 12,000" in resumed.out
    assert resumed.out.splitlines()[-2] == ended.out.splitlines()[-2]
    made, again = listing(whole), listing(killed)
    assert {p.name: made[p] for p in made} == {p.name: again[p] for p in again}
    assert not parts.exists()
    assert len((whole / table).read_text(encoding="utf-8").splitlines()) == 1 + 12_000
