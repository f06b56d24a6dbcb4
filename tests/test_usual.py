"""Network and prior that fit the data, where none were asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distvae.config import ModelConfig, TrainConfig
from distvae.errors import DistvaeError
from distvae.models import build_model
from distvae.usual import fitting_pseudo_inputs
from tests.conftest import Command


def parts(
    images: int, side: int = 32, labels: int = 3, **asked: Any
) -> tuple[str | None, str | None, int | None]:
    """Network, prior and its components of a run on such data."""
    model = TrainConfig().updated(asked, "the test").fitted(images, side, labels).model
    return model.network, model.prior, vars(model)["prior_components"]


def test_few_images_get_a_convolution_and_pseudo_inputs() -> None:
    assert parts(324) == ("conv", "vamp", 50)
    assert parts(54, labels=6) == ("conv", "vamp", 9)
    assert parts(1000, labels=10) == ("conv", "vamp", 15)
    assert parts(2_559) == ("conv", "vamp", 50)
    assert parts(324, model="vae") == ("conv", "vamp", 50)


def test_many_or_tiny_images_get_what_they_had() -> None:
    assert parts(60_000, 28, 10) == ("mlp", "label", None)
    assert parts(2_560) == ("mlp", "label", None)
    assert parts(324, side=8) == ("mlp", "label", None)
    assert parts(60_000, model="vae") == ("mlp", "normal", None)
    assert parts(324, labels=200) == ("conv", "label", None), "one image a label is no aggregate"


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"network": "mlp"}, ("mlp", "vamp", 50)),
        ({"network": "resnet"}, ("resnet", "vamp", 50)),
        ({"hidden": [64]}, ("mlp", "vamp", 50)),
        ({"hidden": [512, 512]}, ("mlp", "vamp", 50)),
        ({"prior": "label"}, ("conv", "label", None)),
        ({"prior": "vamp"}, ("conv", "vamp", None)),
        ({"prior": "mixture", "prior_components": 7}, ("conv", "mixture", 7)),
        ({"prior_components": 7}, ("conv", "vamp", 7)),
        ({"pseudo_inputs": "mean"}, ("conv", "vamp", 50)),
        ({"free_bits": 0.1}, ("conv", "label", None)),
        ({"posterior": "flow"}, ("conv", "label", None)),
        ({"streaming": True}, ("conv", "label", None)),
        ({"objective": "dip_i"}, ("conv", "normal", None)),
    ],
)
def test_what_was_asked_for_stays(
    asked: dict[str, Any], taken: tuple[str, str, int | None]
) -> None:
    assert parts(324, **asked) == taken


def test_what_no_prior_goes_with_is_refused() -> None:
    with pytest.raises(DistvaeError, match=r"--prior-components 7 does not fit --prior label"):
        parts(60_000, prior_components=7)


@pytest.mark.parametrize("images", [1, 2, 11, 53, 54, 127, 360, 2_559])
def test_pseudo_inputs_are_no_more_than_the_images(images: int) -> None:
    for labels in range(200):
        found = fitting_pseudo_inputs(images, labels)
        assert found == 0 or 4 <= found <= 50
        assert found * max(1, labels) <= min(images, 150)


def test_a_bare_model_is_what_it_was() -> None:
    bare = build_model(ModelConfig(), (1, 32, 32), ("a", "b")).config
    assert (bare.network, bare.prior) == ("mlp", "label")
    assert build_model(ModelConfig(model="vae"), (1, 32, 32), ()).config.prior == "normal"


def test_a_run_says_and_records_what_was_chosen(command: Command, here: Path) -> None:
    for label in ("dark", "light"):
        (here / "few" / label).mkdir(parents=True)
        for number in range(6):
            grey = np.full((16, 16), 40 * number, dtype=np.uint8)
            Image.fromarray(grey).save(here / "few" / label / f"{number}.png")
    small = ("--data", "few", "--width", 0.1, "--max-steps", 2)
    ended = command("train", *small, "--output", "run")
    assert ended.code == 0, ended.err
    assert "--network conv --prior vamp --prior-components 5" in ended.out
    settings = json.loads((here / "run" / "config.json").read_text())["settings"]
    assert (settings["network"], settings["prior"], settings["prior_components"]) == (
        "conv", "vamp", 5,
    )  # fmt: skip
    assert command("sample", "run", "--count", 2, "--output", "one.png").code == 0
    assert settings["hidden"] == [512, 512], "recorded, though a convolution has no use for it"
    dense = command("train", *small, "--hidden", "512,512", "--output", "dense")
    assert dense.code == 0, dense.err
    assert "the model has --prior vamp" in dense.out
    assert " mlp, " in dense.out
    own = command("train", *small, "--network", "mlp", "--prior", "label", "--output", "own")
    assert own.code == 0, own.err
    assert "are few, so" not in own.out
