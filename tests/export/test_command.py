"""`distvae export` as its users type it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distvae.config import ModelConfig
from distvae.export.sampler import Sampler
from distvae.files import write_json
from distvae.models import VAE, build_model
from distvae.reading import read_json
from distvae.tensors import read_tensors, write_tensors
from tests.conftest import COMMAND, HANG, SHAPES, SIDE, Command, assert_refused, listing
from tests.warm import begin

WITHOUT_TORCH = "import sys\nfor name in ('torch', 'distvae'): sys.modules[name] = None\n"


@pytest.fixture(scope="module")
def exported(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Path:
    """A finished run with int8 files and a page; not to be changed."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(finished, folder)
    words = ["export", str(folder), "--onnx", "--precision", "int8", "--web"]
    process = begin([*COMMAND, *words], folder, environment)
    said, err = process.communicate(timeout=HANG)
    assert process.wait() == 0, err
    (folder / "said.txt").write_text(said)
    return folder


@pytest.mark.slow
def test_everything_is_written_and_told(exported: Path) -> None:
    files = {path.name for path in (exported / "onnx").iterdir()}
    graphs = {"decoder.onnx", "encoder.onnx", "decoder-int8.onnx", "encoder-int8.onnx"}
    graphs.add("score.onnx")
    assert files == {*graphs, "README.md", "sample.py", "web"}
    said = (exported / "said.txt").read_text()
    told = ("error", "judge", "images/s", "distvae sample", "http.server")
    for word in (*graphs, *SHAPES, *told):
        assert word in said
    assert not list((exported / "onnx").glob(".*"))


@pytest.mark.slow
def test_the_seed_means_the_same_with_and_without_torch(exported: Path) -> None:
    model, sampler = VAE.from_pretrained(exported), Sampler(exported / "onnx" / "decoder.onnx")
    theirs = model.sample(labels=["square", 0], n=20, seed=5).numpy() * 255.0
    mine = sampler.sample(labels=["square", 0], count=20, seed=5)
    assert np.abs(theirs - mine).max() <= 0.51
    assert mine.std() > 10.0


@pytest.mark.slow
def test_the_printed_lines_of_python_run(exported: Path, tmp_path: Path) -> None:
    readme = (exported / "onnx" / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert first.count("\n") == 5
    for code in (WITHOUT_TORCH + first, "import sys; sys.modules['torch'] = None\n" + second):
        shown = "\nprint(images.dtype, *images.shape)"
        ended = subprocess.run(
            [sys.executable, "-c", code + shown],
            cwd=exported / "onnx",
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.stdout.strip(), ended.stderr) == ("uint8 16 1 8 8", "")
    assert "| 2 | square |" in readme
    assert "$" not in readme
    words = re.findall(r"^python (sample.py .*)$", readme, flags=re.MULTILINE)[0].split()
    subprocess.run(
        [sys.executable, *words[:-1], tmp_path / "images.png"], cwd=exported / "onnx", check=True
    )
    with Image.open(tmp_path / "images.png") as sheet:
        assert sheet.size > (8, 8)


@pytest.mark.slow
def test_a_written_file_can_be_checked_again(
    exported: Path, tmp_path: Path, command: Command
) -> None:
    run = shutil.copytree(exported, tmp_path / "run")
    for name in ("decoder.onnx", "encoder.onnx", "score.onnx", "decoder-int8.onnx"):
        ended = command("export", "--check", run / "onnx" / name)
        assert ended.code == 0, ended.err
        assert "images compared" in ended.out
        assert "768" in ended.out
    alone = shutil.copy(run / "onnx" / "decoder.onnx", tmp_path)
    assert_refused(
        command("export", "--check", alone), "does not lie in a run", "export RUN --check"
    )
    assert command("export", run, "--check", alone).code == 0
    before = listing(run)
    assert_refused(command("export", "--check", run / "config.json"), "ONNX")
    assert listing(run) == before


@pytest.mark.slow
def test_a_file_of_older_weights_is_not_taken_for_the_run(run: Path, command: Command) -> None:
    assert command("export", run).code == 0
    tensors = read_tensors(run / "model.safetensors")
    write_tensors(run / "model.safetensors", {name: one * 1.01 for name, one in tensors.items()})
    shutil.rmtree(run / "checkpoints")
    ended = command("export", "--check", run / "onnx" / "decoder.onnx")
    assert_refused(ended, "the weights that", "are not there")


@pytest.mark.slow
def test_a_model_that_cannot_be_matched_leaves_nothing_behind(run: Path, command: Command) -> None:
    """Steep enough, and any rounding of float32 shows in the image."""
    assert command("export", run).code == 0
    tensors = read_tensors(run / "model.safetensors")
    steep = {
        name: one * 300.0 if name.startswith("decoder") and one.dim() == 2 else one
        for name, one in tensors.items()
    }
    write_tensors(run / "model.safetensors", steep)
    before = listing(run)
    ended = command("export", run)
    assert_refused(ended, "does not draw what the model draws", "noise", "pixel")
    assert listing(run) == before
    assert_refused(command("export", run, "--output", run.parent / "new"), "does not draw")
    assert not (run.parent / "new").exists()


@pytest.mark.slow
def test_two_exports_are_the_same_bytes_wherever_the_run_lies(
    exported: Path, finished: Path, tmp_path: Path, distvae: Command
) -> None:
    run = shutil.copytree(finished, tmp_path / "two" / "three")
    ended = distvae("export", run, "--output", run / "files")
    assert ended.code == 0, ended.err
    for place, folder in ((tmp_path, run / "files"), (exported, exported / "onnx")):
        contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert not any(bytes(place) in content for content in contents)
    for name in ("decoder.onnx", "encoder.onnx", "score.onnx"):
        assert (run / "files" / name).read_bytes() == (exported / "onnx" / name).read_bytes()


@pytest.mark.slow
def test_folders_of_this_machine_are_not_told(exported: Path, shapes: Path) -> None:
    for name in ("decoder.onnx", "README.md", "web/manifest.json"):
        content = (exported / "onnx" / name).read_bytes()
        assert bytes(shapes) not in content
        assert bytes(shapes.parent) not in content
    manifest = Sampler(exported / "onnx" / "decoder.onnx").manifest
    assert manifest.settings["data"] == manifest.data["source"] == shapes.name
    assert manifest.settings["hidden"] == [16]
    assert "cache_dir" not in manifest.settings
    assert "output" not in manifest.settings


@pytest.mark.slow
def test_a_checkpoint_can_be_exported(run: Path, command: Command, tmp_path: Path) -> None:
    (checkpoint, *_) = sorted((run / "checkpoints").iterdir())
    ended = command("export", checkpoint, "--output", tmp_path / "files")
    assert ended.code == 0, ended.err
    assert Sampler(tmp_path / "files" / "decoder.onnx").manifest.conditional
    assert not (run / "onnx").exists()


@pytest.mark.slow
def test_wrong_words_are_refused_before_anything_is_written(
    run: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    ended = command("export", run, "--output", tmp_path / "mine")
    assert_refused(ended, "something else than an export", "Choose another --output")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    assert_refused(command("export", "nowhere"), "nowhere is not a run")
    record = read_json(run / "config.json")
    record["settings"]["data"] = record["data"]["source"] = str(tmp_path / "gone")
    record["data"]["from_run"] = None
    write_json(run / "config.json", record)
    ended = command("export", run, "--precision", "int8")
    assert_refused(ended, "there is no data of")
    assert not (run / "onnx").exists()


@pytest.mark.slow
def test_integers_too_coarse_for_steep_weights_are_warned_of(
    command: Command, here: Path, shapes: Path
) -> None:
    """Each layer seven times as steep: rounding decides which pixel is white."""
    for steepness in (1.0, 50.0):
        torch.manual_seed(0)
        config = ModelConfig(model="vae", prior="normal", hidden=(64, 64), latent_dim=4)
        model = build_model(config, (1, SIDE, SIDE), ())
        with torch.no_grad():
            for weights in model.decoder.parameters():
                weights.mul_(steepness**0.5)
        folder = here / f"steep-{steepness:g}"
        model.save_pretrained(folder)
        ended = command("export", folder, "--precision", "int8", "--data", shapes)
        assert ended.code == 0, ended.err
        readme = (folder / "onnx" / "README.md").read_text(encoding="utf-8")
        told = "decoder-int8.onnx is off by"
        assert (folder / "onnx" / "decoder-int8.onnx").is_file()
        assert (f"warning: {told}" in ended.err) == (told in readme) == (steepness > 1.0)
        if steepness > 1.0:
            assert ended.err.count("\n") == ended.err.count("warning: ")
            assert "so use decoder.onnx" in ended.err
