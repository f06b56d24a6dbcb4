"""Weights of one model in another: by name of the label, else by shape, and what is said of it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.models import VAE, build_model
from distvae.tensors import checksum
from distvae.training.transfer import Origin, label_axes
from tests.conftest import Command, assert_refused, listing, write_shapes
from tests.spaces import gaussian

SMALL = ModelConfig(hidden=(48, 32), latent_dim=3, width=0.25, prior_components=None)
OLD, NEW = ("cat", "dog", "eel"), ("ant", "eel", "cat", "fox", "gnu")
BOTH = {"eel": (2, 1), "cat": (0, 2)}
"""Number of a label there and here."""


def model(
    labels: tuple[str, ...] = OLD, shape: tuple[int, int, int] = (1, 8, 8), **parts: Any
) -> VAE:
    """A small model in which each number is another."""
    config = dataclasses.replace(SMALL, **{"network": "mlp", **parts})
    made = build_model(config, shape, labels)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.copy_(0.3 * torch.randn_like(tensor))
    return made


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
@pytest.mark.parametrize("conditioning", ["modulate", "concat"])
@pytest.mark.parametrize("prior", ["label", "mixture", "vamp"])
def test_a_label_means_the_same_after_the_move(network: str, conditioning: str, prior: str) -> None:
    """The likelihood, rate and draws of a label that both know are those of the old model."""
    parts: dict[str, Any] = {"network": network, "conditioning": conditioning, "prior": prior}
    if prior == "vamp":
        parts["prior_components"] = 4
    old, new = model(OLD, **parts), model(NEW, **parts)
    told = Origin("old", old).fill(new)
    assert told.labels == ("eel", "cat")
    assert told.new_labels == ("ant", "fox", "gnu")
    assert told.fresh == ()
    images, noise = torch.rand(6, 1, 8, 8), torch.randn(6, 3)
    drawn = torch.randn(6, old.latents.noise_dim)
    for there, here in BOTH.values():
        labels = [torch.full((6,), number) for number in (there, here)]
        found, expected = new(images, labels[1], noise), old(images, labels[0], noise)
        torch.testing.assert_close(found.log_likelihood, expected.log_likelihood)
        torch.testing.assert_close(found.rate, expected.rate, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            gaussian(new).prior.transform(drawn, Context(labels[1])),
            gaussian(old).prior.transform(drawn, Context(labels[0])),
        )


def test_labels_that_are_new_stay_as_they_were() -> None:
    old, new = model(OLD), model(NEW)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    Origin("old", old).fill(new)
    after = new.state_dict()
    for name in ("prior.means", "prior.off_diagonals", "encoder.layers.modulation.0.table.weight"):
        for label in (0, 3, 4):
            assert torch.equal(after[name][label], before[name][label])
        for there, here in BOTH.values():
            assert torch.equal(after[name][here], old.state_dict()[name][there])


def test_the_same_number_of_labels_does_not_make_them_the_same() -> None:
    old, new = model(("a", "b", "c")), model(("c", "x", "a"))
    before = gaussian(new).prior.state_dict()["means"].clone()
    told = Origin("old", old).fill(new)
    mean = gaussian(new).prior.state_dict()["means"]
    assert torch.equal(mean[0], gaussian(old).prior.state_dict()["means"][2])
    assert torch.equal(mean[1], before[1])
    assert (told.labels, told.new_labels) == (("c", "a"), ("x",))


def taken(old: VAE, new: VAE) -> tuple[dict[str, bool], Any]:
    """Whether each tensor of the new model is that of the old one, and what was told."""
    told = Origin("old", old).fill(new)
    there = old.state_dict()

    def same(name: str, tensor: Tensor) -> bool:
        return name in there and torch.equal(there[name], tensor)

    return {name: same(name, tensor) for name, tensor in new.state_dict().items()}, told


def test_images_of_another_size_and_colour_take_what_fits() -> None:
    found, told = taken(
        model(shape=(1, 8, 8), network="conv", likelihood="gaussian"),
        model(shape=(3, 12, 12), network="conv", likelihood="gaussian"),
    )
    assert found["to_posterior.weight"]
    assert found["prior.means"]
    assert found["decoder.dense.weight"]
    assert not found["encoder.layers.0.conv.weight"]  # other channels
    assert not found["decoder.offset"]  # other pixels
    assert {name for name, same in found.items() if same} == set(told.taken)
    assert {name for name, same in found.items() if not same} == set(told.fresh)


def test_with_and_without_labels() -> None:
    old, new = (
        model(conditioning="concat", prior="mixture"),
        model((), model="vae", prior="mixture"),
    )
    assert not label_axes(new)
    told = Origin("old", old).fill(new)
    weight = new.state_dict()["encoder.layers.dense.0.weight"]
    assert torch.equal(weight, old.state_dict()["encoder.layers.dense.0.weight"][:, :64])
    assert "prior.weight_logits" in told.fresh
    assert (told.labels, told.new_labels) == ((), ())
    back = model(conditioning="concat", prior="mixture")
    Origin("new", new).fill(back)
    assert torch.equal(back.state_dict()["encoder.layers.dense.0.weight"][:, :64], weight)


@pytest.mark.parametrize("parts", [{"network": "conv"}, {"hidden": (52, 36), "latent_dim": 4}])
def test_what_does_not_fit_at_all_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(DistvaeError, match="nothing of old fits this model") as error:
        Origin("old", model()).fill(model(("other",), **parts))
    assert "--network mlp" in str(error.value)


def test_a_new_run_starts_from_a_finished_one(finished: Path, here: Path, command: Command) -> None:
    """On other data, with one class that is known and one that is not."""
    write_shapes(here / "other", 30, 5)
    (here / "other" / "circle").rename(here / "other" / "ring")
    flags = ("--data", "other", "--batch-size", 20, "--epochs", 1, "--output", "new")
    ended = command("train", "--init-from", finished, *flags, "--learning-rate", "1e-12")
    assert ended.code == 0, ended.err
    assert f"weights of {finished}: " in ended.out
    assert "labels taken by name: cross, square" in ended.out
    assert "labels left fresh: ring" in ended.out
    old, new = (VAE.from_pretrained(folder) for folder in (finished, here / "new"))
    assert (old.label_names, new.label_names) == (
        ("circle", "cross", "square"),
        ("cross", "ring", "square"),
    )
    drawn = (one.sample(labels=["square"], n=4, seed=3) for one in (old, new))
    torch.testing.assert_close(*drawn)
    told = json.loads((here / "new" / "config.json").read_text())["init_from"]
    assert told["source"] == str(finished)
    assert told["weights_sha256"] == checksum(old.state_dict())
    assert told["new_labels"] == ["ring"]


def test_it_is_resumed_exactly_also_before_its_first_checkpoint(
    run: Path, here: Path, command: Command
) -> None:
    model = VAE.from_pretrained(run)
    model.save_pretrained(here / "bare")
    small = ("--epochs", 2, "--batch-size", 24)
    assert command("train", "--init-from", run, *small, "--output", "new").code == 0
    written = (here / "new" / "model.safetensors").read_bytes()
    shutil.rmtree(here / "new" / "checkpoints")
    ended = command("train", "--resume", "new")
    assert (ended.code, ended.err) == (0, "")
    assert (here / "new" / "model.safetensors").read_bytes() == written
    assert "init_from" in json.loads((here / "new" / "config.json").read_text())
    # without a run there is no data to take from it
    data = json.loads((run / "config.json").read_text())["settings"]["data"]
    flags = ("--data", data, *small, "--output", "same")
    for name in ("bare", "run/checkpoints/step-00000018"):
        ended = command("train", "--init-from", name, *flags, "--overwrite")
        assert ended.code == 0, ended.err
    command("train", "--init-from", "bare", *flags[:-1], "changed")
    shutil.rmtree(here / "changed" / "checkpoints")
    gaussian(model).to_posterior.bias.data += 1.0
    model.save_pretrained(here / "bare")
    assert_refused(command("train", "--resume", "changed"), "bare has other weights")


def test_what_contradicts_it_is_refused(run: Path, here: Path, command: Command) -> None:
    assert_refused(command("train", "--init-from", run, "--resume", run), "both given")
    assert_refused(command("train", "--init-from", "nowhere"), "nowhere is not a run")
    before = listing(run)
    refused = command("train", "--init-from", run, "--output", run, "--overwrite")
    assert_refused(refused, "a folder of its own")
    other = ("--network", "conv", "--latent-dim", 7, "--batch-size", 24, "--output", "new")
    assert_refused(command("train", "--init-from", run, *other), "nothing of", "--network mlp")
    assert not (here / "new" / "config.json").exists()
    assert listing(run) == before
