"""A model that was saved by a loop of one's own: what the commands make of it, and its names."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distvae.config import ModelConfig
from distvae.export.sampler import Sampler
from distvae.models import VAE, build_model
from distvae.text import file_name
from tests.conftest import SHAPES, SIDE, Command, assert_refused

EVIL = (
    "x/../../../pwned",
    "\x1b[2Jred",
    "<b>a</b>",
    "a|b\n# c",
    "con",
    "",
    "A",
    "a",
    "é",
    "e\u0301",
)


def saved(folder: Path, names: tuple[str, ...]) -> Path:
    """A model of 8 x 8 pixels, as ``save_pretrained`` leaves it."""
    config = ModelConfig(hidden=(12,), latent_dim=2, prior="label")
    build_model(config, (1, SIDE, SIDE), names).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_model_without_a_run_is_inspected_drawn_from_measured_and_exported(
    command: Command, here: Path, shapes: Path
) -> None:
    folder = saved(here / "model", SHAPES)
    card = (folder / "README.md").read_text(encoding="utf-8")
    ended = command("inspect", folder)
    assert ended.code == 0, ended.err
    for word in ("8 x 8", "circle, cross, square", "not recorded", "mlp"):
        assert word in ended.out
    assert command("sample", folder, "--label", "cross", "--output", "s.npz").code == 0
    with np.load(here / "s.npz") as drawn:
        expected = VAE.from_pretrained(folder).sample(["cross"], n=10).numpy() * 255
        assert np.abs(drawn["images"] - expected).max() <= 0.5001

    for words in (("evaluate", folder, "--metrics", "elbo"), ("fit-prior", folder)):
        assert_refused(command(*words), "is a model and not a run", "Name data by --data")
    ended = command("evaluate", folder, "--metrics", "elbo", "--data", shapes)
    assert ended.code == 0, ended.err
    values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert np.isfinite(values["elbo"])
    assert "On 51 test images" in (folder / "evaluation.md").read_text(encoding="utf-8")
    assert (folder / "README.md").read_text(encoding="utf-8") == card
    ended = command("fit-prior", folder, "--data", shapes, "--components", 3)
    assert ended.code == 0, ended.err
    assert command("sample", folder, "--prior", "fitted", "--output", "f.png").code == 0

    ended = command("export", folder, "--onnx")
    assert ended.code == 0, ended.err
    assert "is a model and not a run" in ended.out
    sampler = Sampler(folder / "onnx" / "decoder.onnx")
    assert sampler.manifest.data["source"] == "not recorded"
    assert "Data: not recorded" in (folder / "onnx" / "README.md").read_text(encoding="utf-8")
    assert command("sample", folder / "onnx" / "decoder.onnx", "--label", "square").code == 0
    assert command("export", "--check", folder / "onnx" / "encoder.onnx").code == 0


@pytest.mark.slow
def test_data_that_a_model_does_not_fit_is_refused(
    command: Command, here: Path, shapes: Path
) -> None:
    folder = saved(here / "model", ("circle", "square", "cross"))
    ended = command("evaluate", folder, "--metrics", "elbo", "--data", shapes)
    assert_refused(ended, "does not fit the model", "circle, cross, square (3), not circle, square")
    ended = command("evaluate", folder, "--metrics", "elbo", "--data", "mnist")
    assert_refused(ended, "does not fit the model", "labels are 0, 1, 2")


@pytest.mark.slow
@pytest.mark.parametrize("onnx", [False, True])
def test_no_name_of_a_label_leaves_its_folder_or_reaches_the_terminal_raw(
    command: Command, here: Path, onnx: bool
) -> None:
    source = saved(here / "deep" / "er" / "model", EVIL)
    if onnx:
        ended = command("export", source, "--onnx")
        assert ended.code == 0, ended.err
        page = (source / "onnx" / "README.md").read_text(encoding="utf-8")
        assert "<b>" not in page
        assert "\x1b" not in page
        assert not any(line.startswith("# c") for line in page.splitlines())
        assert "--label ''" in page or "--label 9 " in page
        source = source / "onnx" / "decoder.onnx"
    known = {path.parent for path in here.rglob("*")} | {here / "pictures"}
    told = [command("inspect", source), command("sample", source, "--label", "nothing")]
    told.append(command("sample", source, "--count", 2, "--output", "pictures"))
    told += [command("sample", source, "--label", name) for name in EVIL[:2]]
    assert [ended.code for ended in told] == [0, 2, 0, 0, 0]
    assert not any("\x1b" in ended.out + ended.err for ended in told)
    pictures = sorted((here / "pictures").iterdir())
    assert len(pictures) == 2 * len(EVIL)
    assert {path.name[: -len("-00000.png")] for path in pictures} == {*map(file_name, EVIL)}
    assert len({path.name.lower().rpartition("-")[0] for path in pictures}) == len(EVIL)
    folders = {path.parent for path in here.rglob("*")}
    assert folders - known <= {folder / "samples" for folder in known}
    with Image.open(pictures[0]) as picture:
        assert picture.size == (SIDE, SIDE)
