"""Which run a command means."""

import shutil
from pathlib import Path

from tests.conftest import SMALL, Command


def test_data_and_its_run_may_have_one_name(shapes: Path, here: Path, command: Command) -> None:
    shutil.copytree(shapes, here / "mine")
    ended = command("train", "--data", "mine", *SMALL, "--output", "runs/mine")
    assert ended.code == 0, ended.err
    data = command("inspect", "mine", "--output", "sheet.png")
    assert data.code == 0, data.err
    assert (here / "sheet.png").is_file()  # the folder here is the data
    assert command("inspect", "runs/mine").code == 0
    drawn = command("sample", "mine", "--label", "cross")
    assert drawn.code == 0, drawn.err
    assert str(Path("runs", "mine")) in drawn.out  # of the run, which data is not
