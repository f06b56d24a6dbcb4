"""A folder of one's own pictures, one subfolder for each class: from training to what is drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHAPES, SIDE, SMALL, Command, write_shapes

WIDTH, HEIGHT = 20, 12
COLOURS = {"circle": 0, "cross": 1, "square": 2}
"""The channel in which a class is bright."""


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if line["split"] == "test"]


@pytest.mark.slow
def test_grey_pictures_by_name_and_range(
    distvae: Command, command: Command, tmp_path: Path
) -> None:
    write_shapes(tmp_path / "mine", 40, 0)
    small = "--hidden 32 --latent-dim 3 --batch-size 12 --epochs 8 --learning-rate 0.01 --ema 0.9"
    ended = distvae("train", "--data", "mine", *small.split(), "--output", "run")
    assert ended.code == 0, ended.err
    assert "108 images 1x8x8, 3 labels" in ended.out
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]
    config = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["label_names"] == list(SHAPES)
    assert config["data"]["test_images"] == 12
    assert "circle, cross, square" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")

    from distvae import VAE

    for words, labels in (("circle", ["circle"]), ("1-2", ["cross", "square"])):
        ended = command("sample", "run", "--label", words, "--count", 4, "--output", "x.png")
        assert ended.code == 0, ended.err
        images = VAE.from_pretrained(tmp_path / "run").sample(labels=labels, n=4)
        assert images.shape == (4 * len(labels), 1, SIDE, SIDE)
        with Image.open(tmp_path / "x.png") as sheet:
            pixels = np.asarray(sheet)
        step = SIDE + 2  # two pixels between neighbours
        factor = pixels.shape[1] // (4 * step - 2)
        for number, image in enumerate(images.numpy()):
            top, left = number // 4 * step, number % 4 * step  # a row for each label
            cell = pixels[::factor, ::factor][top : top + SIDE, left : left + SIDE]
            np.testing.assert_allclose(cell / 255, image[0], atol=0.51 / 255)
    assert VAE.from_pretrained(tmp_path / "run").sample(labels=["circle"], n=2).shape[0] == 2


@pytest.fixture
def coloured(here: Path) -> Path:
    """Pictures of 20 x 12 pixels, each class in a colour of its own."""
    random = np.random.default_rng(0)
    for name, channel in COLOURS.items():
        (here / "photos" / name).mkdir(parents=True)
        for number in range(40):
            pixels = random.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            pixels[..., channel] += np.uint8(random.integers(100, 190))
            Image.fromarray(pixels).save(here / "photos" / name / f"{number}.png")
    return here / "photos"


@pytest.mark.slow
def test_colour_pictures_of_another_size(coloured: Path, command: Command, here: Path) -> None:
    flags = "--network conv --width 0.25 --latent-dim 4 --batch-size 18 --epochs 12"
    steady = "--learning-rate 0.01 --ema 0.9 --output run"
    ended = command("train", "--data", coloured, *flags.split(), *steady.split())
    assert ended.code == 0, ended.err
    config = json.loads((here / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["domain"]["shape"] == [3, HEIGHT, WIDTH]
    assert config["label_names"] == sorted(COLOURS)
    assert config["settings"]["likelihood"] == "gaussian"
    assert config["settings"]["binarize"] == "none"

    ended = command("sample", "run", "--count", 5, "--output", "pictures")
    assert ended.code == 0, ended.err
    pictures = list((here / "pictures").iterdir())
    for name, channel in COLOURS.items():
        colours = []
        for path in pictures:
            if path.name.startswith(name):
                with Image.open(path) as picture:
                    assert picture.size == (WIDTH, HEIGHT)
                    colours.append(np.asarray(picture).mean(axis=(0, 1)))
        assert len(colours) == 5
        assert np.mean(colours, axis=0).argmax() == channel

    ended = command("evaluate", "run")
    assert ended.code == 0, ended.err
    values = json.loads((here / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert min(values["judge_test_accuracy"], values["judge_accuracy"]) > 0.9


def test_images_without_a_label_are_for_unconditional_models(
    command: Command, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 6, 6), dtype=np.uint8)
    labels: Any = np.where(np.arange(70) % 7 == 0, np.nan, np.arange(70) % 2)
    train: dict[str, Any] = {"train_images": images, "train_labels": labels}
    test: dict[str, Any] = {"test_images": images[:20], "test_labels": labels[:20]}
    np.savez(tmp_path / "some.npz", **train, **test)
    for model, count, tested in (("cvae", 60, 17), ("vae", 70, 20)):
        flags = ("--model", model, "--prior", "normal", *SMALL, "--output", tmp_path / model)
        ended = command("train", "--data", tmp_path / "some.npz", *flags)
        assert ended.code == 0, ended.err
        assert f"{count} images 1x6x6" in ended.out
        assert "10 of 70 images of train" in ended.out
        alone = "only labelled images are used, as labels are needed: 60 of 70 train"
        assert (alone in ended.out) is (model == "cvae")
        ended = command("evaluate", tmp_path / model, "--metrics", "elbo,likelihood,latents")
        assert ended.code == 0, ended.err
        assert ended.out.count(f"{tested} test images") >= 2
