"""A run given several attributes: two labels and a number, some of them missing."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from distvae import VAE
from tests.conftest import Command, assert_refused, run_process, train_apart

SIDE = 8
SHAPES, COLOURS = ("dot", "line"), ("red", "green", "blue")
SMALL = "--hidden 16 --latent-dim 3 --batch-size 20 --learning-rate 0.01"


def write_pictures(path: Path, count: int, gaps: float = 0.1) -> Path:
    """Dots and lines in one of three colours, of some brightness; a share of each is unknown."""
    random = np.random.default_rng(0)
    shapes, colours = (random.integers(size, size=count) for size in (2, 3))
    light = random.uniform(0.4, 1.0, count)
    images = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    for row in range(count):
        sides = slice(2, 6), (slice(2, 6) if shapes[row] == 0 else slice(0, 8))
        images[row, sides[0], sides[1], colours[row]] = 255 * light[row]
    known: dict[str, Any] = {
        "shape": np.array(SHAPES)[shapes],
        "colour": np.array(COLOURS)[colours],
        "light": light,
    }
    for name, values in known.items():
        missing = random.random(count) < gaps
        known[name] = np.where(missing, np.nan if name == "light" else "", values)
    np.savez(path, images=images, **known)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 of them."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "pictures.npz", 200)


@pytest.fixture(scope="session")
def described(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], pictures: Path
) -> Path:
    """A short run on them; not to be changed."""
    flags = f"--data {pictures} --label-column shape,colour,light {SMALL} --max-steps 40"
    flags += " --checkpoint-every 20 --keep 2"
    return train_apart(flags, tmp_path_factory.mktemp("described") / "run", environment)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return VAE.from_pretrained(run).state_dict()


@pytest.mark.slow
def test_a_run_knows_its_attributes_and_goes_on_exactly(
    command: Command, here: Path, pictures: Path, described: Path
) -> None:
    config = json.loads((described / "config.json").read_text(encoding="utf-8"))
    assert config["label_names"] == []
    assert [each["name"] for each in config["attributes"]] == ["shape", "colour", "light"]
    assert all(each["missing"] for each in config["attributes"])
    model = VAE.from_pretrained(described)
    assert [each.labels for each in model.attributes] == [SHAPES, ("blue", "green", "red"), ()]
    assert model.attributes[2].mean == pytest.approx(0.7, abs=0.05)
    assert "shape: dot, line, or not known" in (described / "README.md").read_text("utf-8")
    shutil.copytree(described, here / "run")
    shutil.rmtree(here / "run" / "checkpoints" / "step-00000040")
    ended = command("train", "--resume", "run")
    assert ended.code == 0, ended.err
    assert "shape of 2 labels, colour of 3 labels, light, a number" in ended.out
    whole, resumed = weights(described), weights(here / "run")
    assert all(torch.equal(each, resumed[name]) for name, each in whole.items())
    ended = command("evaluate", "run", "--metrics", "elbo,latents")
    assert ended.code == 0, ended.err
    ended = command("inspect", "run")
    assert "given colour" in ended.out
    flags = ["--data", pictures, "--label-column", "shape,colour,light", *SMALL.split()]
    ended = command("train", *flags, "--init-from", "run", "--max-steps", 1, "--output", "next")
    assert ended.code == 0, ended.err
    assert f"{len(resumed)} of {len(resumed)} tensors taken" in ended.out
    flags[3] = "colour,light"
    ended = command("train", *flags, "--init-from", "run", "--max-steps", 1, "--output", "other")
    assert ended.code == 0, ended.err
    taken = json.loads((here / "other" / "config.json").read_text(encoding="utf-8"))["init_from"]
    assert taken["taken"]
    assert taken["fresh"], "tables of other attributes"


@pytest.mark.slow
def test_every_metric_takes_attributes_or_says_why_not(
    command: Command, here: Path, described: Path
) -> None:
    shutil.copytree(described, here / "run")
    names = "judge,marginal,downstream,neighbours"
    ended = command("evaluate", "run", "--metrics", names)
    assert ended.code == 0, ended.err
    assert "figures of labels are those of shape" in ended.out
    found = json.loads((here / "run" / "evaluation.json").read_text(encoding="utf-8"))
    for name, labels in (("shape", SHAPES), ("colour", COLOURS)):
        shares = [found[f"judge_accuracy/{name}: {label}"] for label in labels]
        assert found[f"{name}: judge_accuracy"] == pytest.approx(sum(shares) / len(labels))
        assert found[f"{name}: judge_test_accuracy"] > 0.8
        assert (here / "run" / f"confusion-{name}.png").is_file()
    table = " ".join(ended.out.split())
    assert "colour: judge accuracy on generated images" in table
    assert "light: correlation of the number asked for and what is read from an image" in table
    assert found["light: number_test_correlation"] > 0.8
    assert 0.0 < found["light: number_test_error"] < 0.1
    assert -1.0 <= found["light: number_correlation"] <= 1.0
    assert "--metrics marginal sums over the labels of one attribute" in table
    assert "confusion-colour.png" in (here / "run" / "evaluation.md").read_text(encoding="utf-8")
    assert {"bayes_accuracy", "copies"} <= found.keys()
    assert 0.0 <= found["bayes_accuracy"] <= 1.0


def test_a_command_line_asks_for_attributes(command: Command, here: Path, described: Path) -> None:
    words = ("--count", 4, "--output")
    asked = ("--label", "shape=line,colour=red,blue,light=0.9")
    ended = command("sample", described, *asked, *words, "some.npz")
    assert ended.code == 0, ended.err
    with np.load(here / "some.npz") as found:
        arrays = dict(found)
    assert arrays["images"].shape == (8, 3, SIDE, SIDE)
    assert arrays["shape"].tolist() == ["line"] * 8
    assert arrays["colour"].tolist() == ["red"] * 4 + ["blue"] * 4
    assert set(arrays["light"].tolist()) == {"0.899999976"}
    model = VAE.from_pretrained(described)
    labels = {"shape": ["line"] * 8, "colour": ["red"] * 4 + ["blue"] * 4, "light": 0.9}
    drawn = model.sample(labels=labels, n=1).numpy()
    np.testing.assert_allclose(arrays["images"] / 255, drawn, atol=0.51 / 255)
    ended = command("sample", described, "--label", "red", *words, "pictures")
    assert ended.code == 0, ended.err
    assert "label red is taken as colour=red" in ended.out
    assert len(list((here / "pictures").glob("colour*red*.png"))) == 4
    ended = command("sample", described, *words, "all.npy")
    assert ended.code == 0, ended.err
    values = np.load(here / "all-attributes.npy")
    assert values.shape == (8, 3)
    assert values[:, 0].tolist() == [0] * 4 + [1] * 4, "a row for each shape"
    assert values[:4, 1].tolist() == [0, 1, 2, 0], "colours go round in it"
    for text, *parts in (
        ("shape=dot,size=3", "attribute size is not in this model", "shape, colour, light"),
        ("shape=ring", "shape: label ring is not in this model", "dot, line"),
    ):
        assert_refused(command("sample", described, "--label", text), *parts)


@pytest.mark.slow
def test_an_export_draws_what_is_asked_for(command: Command, here: Path, described: Path) -> None:
    shutil.copytree(described, here / "run")
    ended = command("export", "run", "--onnx")
    assert ended.code == 0, ended.err
    assert "--label shape=dot,colour=blue,light=0.7" in ended.out
    readme = (here / "run" / "onnx" / "README.md").read_text(encoding="utf-8")
    assert "| input `colour` | int64 `[batch]` | 0 to 2, -1 where it is not known |" in readme
    assert "| input `light` | float32 `[batch]` | a number, about 0.7" in readme
    (code,) = re.findall(r"```python\n(import numpy.*?)```", readme, re.DOTALL)
    drawn: dict[str, Any] = {}
    exec(code.replace("decoder.onnx", str(here / "run" / "onnx" / "decoder.onnx")), drawn)
    assert drawn["images"].shape == (16, 3, SIDE, SIDE)
    asked = ("--label", "shape=line,colour=red,blue", "--count", 3)
    for source, output in (("run", "a.npz"), (described, "b.npz")):
        assert command("sample", source, *asked, "--output", output).code == 0
    first, second = (dict(np.load(here / name)) for name in ("a.npz", "b.npz"))
    np.testing.assert_allclose(first["images"], second["images"].astype(int), atol=1)
    assert first["colour"].tolist() == second["colour"].tolist() == ["red"] * 3 + ["blue"] * 3
    script = here / "run" / "onnx" / "sample.py"
    ended = run_process([sys.executable, script, *asked], here, {"PATH": ""})
    assert ended.code == 0, ended.err
    with Image.open(here / "samples.png") as sheet:
        factor = sheet.width // (3 * (SIDE + 2) - 2)
        pixels = np.asarray(sheet)[::factor, ::factor]
    np.testing.assert_array_equal(pixels[:SIDE, :SIDE], first["images"][0].transpose(1, 2, 0))
    ended = run_process([sys.executable, script, "--label", "line"], here, {"PATH": ""})
    assert_refused(ended, "say what line is", "shape=")
    refused = command("export", "run", "--precision", "int8")
    assert_refused(refused, "--precision int8 does not fit", "shape, colour, light")
    assert "given colour" in command("inspect", here / "run" / "onnx" / "decoder.onnx").out
