"""``accelerate launch launch/train.py``, from the checkout and from elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, run_process

SCRIPT = CHECKOUT / "launch" / "train.py"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["the checkout", "elsewhere"])
def test_accelerate_launches_a_run(
    place: str, shapes: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = CHECKOUT if place == "the checkout" else tmp_path
    words = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--cpu"),
        *("--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no"),
        *(os.path.relpath(SCRIPT, folder), "--data", str(shapes), "--max-steps", "5"),
        *("--batch-size", "12", "--hidden", "16", "--output", str(tmp_path / "run")),
    ]
    ended = run_process(words, folder, environment)
    assert ended.code == 0, ended.err
    assert "5 steps of 12 images" in ended.out
    assert (tmp_path / "run" / "checkpoints" / "step-00000005" / "model.safetensors").is_file()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["world"]["processes"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_the_package_it_says_what_to_do(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-S", "-E", str(SCRIPT)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "distvae is not installed: run `pip install -e .` at the top of the checkout\n"
    )
