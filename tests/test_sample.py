"""Drawing images from a run: sheets, arrays and pictures, by label and by seed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distvae.runs import checkpoints
from tests.conftest import SHAPES, SIDE, SMALL, Command, assert_refused


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def test_sample_writes_arrays_by_name_and_range(run: Path, command: Command, here: Path) -> None:
    ended = command("sample", run, "--label", "square,0-1", "--count", 4, "--output", "s.npz")
    assert ended.code == 0, ended.err
    found = arrays(here / "s.npz")
    assert found["images"].shape == (12, 1, SIDE, SIDE)
    assert found["images"].dtype == np.uint8
    assert found["labels"].tolist() == [2] * 4 + [0] * 4 + [1] * 4
    assert found["label_names"].tolist() == list(SHAPES)


def test_sample_without_labels_draws_all(run: Path, command: Command, here: Path) -> None:
    assert command("sample", run, "--count", 2, "--output", "s.npz").code == 0
    assert arrays(here / "s.npz")["labels"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_seed_is_its_images_whatever_else_is_drawn(
    run: Path, command: Command, here: Path
) -> None:
    for name, seed, count in (("a", 3, 5), ("b", 3, 5), ("c", 4, 5), ("d", 3, 2)):
        words = ("--label", 1, "--seed", seed, "--count", count, "--output", f"{name}.npz")
        assert command("sample", run, *words).code == 0
    a, b, c, d = ((here / f"{name}.npz").read_bytes() for name in "abcd")
    assert a == b != c
    assert len(d) < len(a)
    images = arrays(here / "a.npz")["images"]
    np.testing.assert_array_equal(images[:2], arrays(here / "d.npz")["images"])
    assert (images != arrays(here / "c.npz")["images"]).any()


def test_sample_writes_a_sheet_into_the_run_or_where_told(run: Path, command: Command) -> None:
    for words, path in (
        (("--label", "cross"), run / "samples" / "label-cross-seed-0.png"),
        (("--seed", 2), run / "samples" / "seed-2.png"),
        (("--output", "deep/sheet.png"), Path("deep/sheet.png")),
    ):
        ended = command("sample", run, *words)
        assert ended.code == 0, ended.err
        assert path.name in ended.out
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"


def test_sample_writes_a_folder_of_pictures(run: Path, command: Command, here: Path) -> None:
    assert command("sample", run, "--label", "0,2", "--count", 3, "--output", "pictures").code == 0
    assert command("sample", run, "--label", "0,2", "--count", 3, "--output", "a.npz").code == 0
    found = sorted((here / "pictures").iterdir())
    assert [path.name.split("-")[0] for path in found] == ["circle"] * 3 + ["square"] * 3
    for path, image in zip(found, arrays(here / "a.npz")["images"], strict=True):
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image[0])


def test_sample_of_a_checkpoint(run: Path, command: Command, here: Path) -> None:
    for name, model in (("run", run), ("checkpoint", checkpoints(run)[-1])):
        assert command("sample", model, "--output", f"{name}.npz").code == 0
    assert (here / "run.npz").read_bytes() == (here / "checkpoint.npz").read_bytes()


def test_sample_of_an_unconditional_model(command: Command, shapes: Path, here: Path) -> None:
    kind = ("--model", "vae", "--prior", "normal", "--output", "vae")
    assert command("train", "--data", shapes, *SMALL, *kind).code == 0
    assert command("sample", "vae", "--count", 7, "--output", "s.npz").code == 0
    assert arrays(here / "s.npz")["images"].shape == (7, 1, SIDE, SIDE)
    assert "labels" not in arrays(here / "s.npz")
    ended = command("sample", "vae", "--label", 1)
    assert_refused(ended, "label 1", "without labels")


def test_sample_in_a_folder_whose_name_looks_like_markup(
    finished: Path, command: Command, here: Path
) -> None:
    run = shutil.copytree(finished, here / "a[bold] run :smile:")
    ended = command("sample", run)
    assert ended.code == 0, ended.err
    assert str(run / "samples") in ended.out
