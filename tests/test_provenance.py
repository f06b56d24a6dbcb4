"""A run is gone on with, measured and fitted on the data that it was trained on, or not at all."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SMALL, Command, Ended, assert_refused, draw_shape, listing

COMMANDS = {
    "resume": ("train", "--max-steps", 4, "--resume"),
    "evaluate": ("evaluate", "--metrics", "elbo"),
    "fit-prior": ("fit-prior", "--components", 1),
}


@pytest.fixture
def data(shapes: Path, here: Path) -> Path:
    """A copy of the pictures, in ``mine``."""
    return shutil.copytree(shapes, here / "mine")


@pytest.fixture
def trained(data: Path, here: Path, command: Command) -> Path:
    """A run on them, which was told of them by a relative path."""
    ended = command("train", "--data", "mine", *SMALL, "--output", "run")
    assert ended.code == 0, ended.err
    return here / "run"


def on(command: Command, name: str, run: Path, *words: object) -> Ended:
    first, *flags = COMMANDS[name]
    if name == "resume":
        return command(first, *flags, run, *words)
    return command(first, run, *flags, *words)


def add_an_image(data: Path) -> None:
    draw_shape("cross", np.random.default_rng(7)).save(data / "train" / "circle" / "new.png")


def change_a_pixel(data: Path) -> None:
    path = data / "test" / "cross" / "003.png"
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0] += 1
    Image.fromarray(pixels).save(path)


def rename_a_class(data: Path) -> None:
    for split in ("train", "test"):
        (data / split / "cross").rename(data / split / "plus")


def swap_two_classes(data: Path) -> None:
    folder = data / "train"
    (folder / "cross").rename(folder / "other")
    (folder / "square").rename(folder / "cross")
    (folder / "other").rename(folder / "square")


def enlarge(data: Path) -> None:
    for path in data.rglob("*.png"):
        with Image.open(path) as image:
            larger = image.resize((9, 9))
        larger.save(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add_an_image, "training images: 120 then, 121 now"),
        (change_a_pixel, "it has other test images"),
        (rename_a_class, "label names: circle, cross, square then, circle, plus, square now"),
        (swap_two_classes, "it has other train images"),
        (enlarge, "shape of images: 1x8x8 then, 1x9x9 now"),
    ],
)
def test_changed_data_is_refused_by_what_differs(
    change: Callable[[Path], None], words: str, data: Path, trained: Path, command: Command
) -> None:
    change(data)
    before = listing(trained)
    for name in COMMANDS:
        ended = on(command, name, trained)
        assert_refused(ended, f"{data} is not what the run was trained on, ", words, "--data")
    assert listing(trained) == before


@pytest.mark.slow
def test_other_data_and_other_settings_are_refused(
    trained: Path, data: Path, here: Path, command: Command
) -> None:
    before = listing(trained)
    other = shutil.copytree(data, here / "other")
    change_a_pixel(other)
    for name in COMMANDS:
        ended = on(command, name, trained, "--data", "other")
        assert_refused(ended, f"{other} is not", "other test images", f"trained on {data}")
    ended = on(command, "resume", trained, "--split-test", "train")
    assert_refused(ended, "--split-test: None then, train now", "test images: 51 then, 120 now")
    ended = on(command, "resume", trained, "--image-size", 6)
    assert_refused(ended, "--image-size: None then, 6 now", "1x8x8 then, 1x6x6 now")
    ended = on(command, "resume", trained, "--data", "mnist")
    assert_refused(ended, "bundled mnist is not what the run was trained on")
    assert listing(trained) == before


def test_moved_data_is_found_or_named(
    trained: Path,
    data: Path,
    here: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = json.loads((trained / "config.json").read_text())["data"]
    assert (recorded["source"], recorded["from_run"]) == (str(data), "../mine")

    (here / "away").mkdir()
    monkeypatch.chdir(here / "away")  # found where it was
    ended = on(command, "evaluate", trained)
    assert ended.code == 0, ended.err
    assert f"was found in {data}" in ended.err

    project = here / "project"  # found beside the run
    project.mkdir()
    for folder in (trained, data):
        folder.rename(project / folder.name)
    for name in COMMANDS:
        ended = on(command, name, project / "run")
        assert ended.code == 0, ended.err
        assert f"was found in {project / 'mine'}" in ended.err + ended.out

    moved = (project / "mine").rename(here / "elsewhere")
    for file in moved.rglob("*"):
        os.utime(file, (5, 5))
    for name in COMMANDS:
        ended = on(command, name, project / "run")
        assert_refused(ended, "there is no data of", str(project / "mine"), "--data")
        ended = on(command, name, project / "run", "--data", "../elsewhere")
        assert ended.code == 0, ended.err
        assert "was found" not in ended.err
    ended = command("train", "--resume", project / "run", "--data", moved, "--max-steps", 6)
    assert ended.code == 0, ended.err
    now = json.loads((project / "run" / "config.json").read_text())["data"]
    assert {**now, "source": 0, "from_run": 0} == {**recorded, "source": 0, "from_run": 0}
    assert (now["source"], now["from_run"]) == (str(moved), "../../elsewhere")
    assert on(command, "evaluate", project / "run").code == 0


def test_other_files_of_the_name_in_the_working_directory_are_not_the_data(
    trained: Path, data: Path, here: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = here / "runs"
    runs.mkdir()
    trained.rename(runs / data.name)  # a run is often called as its data
    monkeypatch.chdir(runs)
    ended = on(command, "evaluate", Path(data.name))
    assert ended.code == 0, ended.err
    assert f"was found in {data}" in ended.err


def as_it_was_written_before(run: Path) -> dict[str, object]:
    """Without the digests, and with another fingerprint."""
    record = json.loads((run / "config.json").read_text())
    del record["sha256"], record["data"]["digests"], record["data"]["from_run"]
    record["data"]["fingerprint"] = "0123456789abcdef"
    (run / "config.json").write_text(json.dumps(record))
    return dict(record["data"])


def test_a_run_of_an_earlier_version_is_told_and_not_refused(
    trained: Path, data: Path, command: Command
) -> None:
    before = as_it_was_written_before(trained)
    for name in COMMANDS:
        ended = on(command, name, trained)
        assert ended.code == 0, ended.err
        told = ended.err + ended.out
        assert told.count("more could not be compared") == 1
    now = json.loads((trained / "config.json").read_text())["data"]
    assert now["fingerprint"] == before["fingerprint"]
    assert not now["digests"]
    add_an_image(data)
    for name in COMMANDS:
        assert_refused(on(command, name, trained), "120 then, 121 now")


def test_a_run_of_an_earlier_version_does_not_take_other_images_for_its_test(
    shapes: Path, here: Path, command: Command
) -> None:
    ended = command("train", "--data", shapes / "train", *SMALL, "--output", "run")
    assert ended.code == 0, ended.err
    run = here / "run"
    as_it_was_written_before(run)
    assert on(command, "evaluate", run).code == 0
    record = json.loads((run / "config.json").read_text())
    record.pop("sha256", None)
    assert record["data"]["test_split"].startswith("held-out tenth of train, by label")
    record["data"]["test_split"] = "held-out tenth of train, seed 0"  # as many, and others
    (run / "config.json").write_text(json.dumps(record))
    for name in COMMANDS:
        ended = on(command, name, run)
        assert_refused(ended, "seed 0 then", "earlier version", "a tenth of every label")
        assert "distvae train --init-from" in ended.err
    record["data"]["train_images"] += 1  # the data has changed too
    record["data"]["test_split"] = "held-out tenth of train, by label, seed 0"
    (run / "config.json").write_text(json.dumps(record))
    ended = on(command, "evaluate", run)
    assert_refused(ended, "training images: 109 then, 108 now", "Put the data back")


def test_labels_in_the_order_of_an_earlier_version(here: Path, command: Command) -> None:
    random = np.random.default_rng(0)
    for name in ("2", "10"):
        (here / "mine" / name).mkdir(parents=True)
        for number in range(20):
            draw_shape("cross", random).save(here / "mine" / name / f"{number}.png")
    ended = command("train", "--data", "mine", *SMALL, "--output", "run")
    assert ended.code == 0, ended.err
    as_it_was_written_before(here / "run")
    record = json.loads((here / "run" / "config.json").read_text())
    record["label_names"] = ["10", "2"]
    (here / "run" / "config.json").write_text(json.dumps(record))
    ended = on(command, "evaluate", here / "run")
    assert_refused(
        ended, "label names: 10, 2 then, 2, 10 now", "sorts numbers by value", "--init-from"
    )
