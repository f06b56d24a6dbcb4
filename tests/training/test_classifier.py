"""A classifier of the run's own images: what it sees, where it is kept, and runs that go on."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from distvae.checkpoint import load_checkpoint
from distvae.config import DataConfig
from distvae.data.image_data import ImageData
from distvae.data.store import open_data
from distvae.errors import DistvaeError
from distvae.evaluation.ensemble import JUDGES
from distvae.evaluation.judge import JudgeNetwork
from distvae.evaluation.own_classifier import get_classifier, labels_alone, maps_of
from distvae.runs import Run, checkpoints
from distvae.training.accelerator import build_accelerator
from distvae.training.engine import build_engine
from distvae.training.run import run_training
from tests.training.conftest import Settings, lines, trained


@pytest.fixture(scope="module")
def data(shapes: Path) -> ImageData:
    return open_data(DataConfig(data=str(shapes)))


def test_maps_are_those_of_the_layers(data: ImageData, tmp_path: Path) -> None:
    """The classifier's own layers, one after another, beside what norms were made part of."""
    found = get_classifier(data, tmp_path)
    assert len(found.members) == 1 < JUDGES
    network = found.members[0].model
    assert found.test_accuracy.value > 0.9
    images = torch.rand(3, *data.shape)
    layers, expected, maps = list(network.features), [], images
    for layer in layers[: layers.index(next(x for x in layers if isinstance(x, nn.Flatten)))]:
        maps = layer(maps)
        if isinstance(layer, nn.ReLU):
            expected.append(maps)
    assert [each.shape[2] for each in expected] == [4, 2, 1]
    torch.testing.assert_close(maps_of(network)(images), expected, rtol=1e-4, atol=1e-5)


def test_gradients_pass_through_maps_and_stop_at_weights() -> None:
    torch.manual_seed(0)
    maps = maps_of(JudgeNetwork((2, 9, 12), 3)).double()
    assert not list(maps.parameters())
    images = torch.rand(1, 2, 9, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: tuple(maps(given)), images)


def test_it_is_kept_by_what_it_learned_from(data: ImageData, tmp_path: Path) -> None:
    first = get_classifier(data, tmp_path)
    weights = first.path / "model.safetensors"
    before = weights.read_bytes(), weights.stat().st_mtime_ns
    assert get_classifier(data, tmp_path).path == first.path
    assert (weights.read_bytes(), weights.stat().st_mtime_ns) == before
    assert data.train.labels is not None
    hidden = np.where(np.arange(len(data.train)) < 60, data.train.labels, -1)
    fewer = dataclasses.replace(data, train=data.train.with_labels(hidden))
    assert get_classifier(fewer, tmp_path).path != first.path
    shutil.rmtree(first.path)
    get_classifier(data, tmp_path)
    assert weights.read_bytes() == before[0]


@pytest.mark.parametrize("left", [(), (0,)])
def test_without_labels_to_tell_apart_it_is_said_what_else(
    data: ImageData, left: tuple[int, ...]
) -> None:
    assert data.train.labels is not None
    labels = np.where(np.isin(data.train.labels, left), data.train.labels, -1)
    bare = dataclasses.replace(data, train=data.train.with_labels(labels))
    with pytest.raises(DistvaeError, match=r"needs labelled images.*--perceptual ms_ssim or"):
        labels_alone(bare)


def test_a_run_goes_on_with_the_classifier_that_it_began_with(
    settings: Settings, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"perceptual": "classifier", "perceptual_weight": 3.0, "checkpoint_every": 2}
    cache = here / "cache"
    config = settings(**given, max_steps=6, keep=9, cache_dir=str(cache))
    whole = trained(config, here / "whole")
    assert "the test images, and lies in" in capsys.readouterr().out
    assert all(line["perceptual_distance"] > 0 for line in lines(whole))
    held = load_file(checkpoints(whole)[-1] / "optimizer.safetensors")
    names = [name for name in held if name.startswith("parameters/objective.perceptual.network.")]
    assert len(names) == 2 + 3 * 2
    assert not [name for name in load_file(whole / "model.safetensors") if "perceptual" in name]
    run = shutil.copytree(whole, here / "run")
    for path in checkpoints(run)[1:]:
        shutil.rmtree(path)
    (kept,) = cache.glob("classifier-*")
    shutil.rmtree(kept)
    assert run_training(Run(run, run).config(), run, resume=True).finished
    one, other = (checkpoints(each)[-1] / "optimizer.safetensors" for each in (run, whole))
    assert one.read_bytes() == other.read_bytes()


def test_the_checkpoint_has_the_last_word(settings: Settings, here: Path) -> None:
    """A classifier that came out otherwise, as on another processor, is filled from it."""
    config = settings(perceptual="classifier", max_steps=2, epochs=1)
    run = trained(config, here / "run")
    images = open_data(config.data)
    accelerator = build_accelerator(config, str(here))
    engine = build_engine(config.resolved(images.channels), images, accelerator)
    maps = engine.training.objective.get_submodule("perceptual.network")
    began = {name: value.clone() for name, value in maps.state_dict().items()}
    assert len(began) == 8
    for buffer in maps.buffers():
        buffer.zero_()
    load_checkpoint(checkpoints(run)[-1], engine.trained)
    torch.testing.assert_close(maps.state_dict(), began, rtol=0, atol=0)
