"""Settings from recipes, their refusals, and the names that other modules are held to."""

import ast
import dataclasses
import inspect
import typing
from typing import Any

import pytest
import yaml

from distvae import config
from distvae.arguments import training
from distvae.config import TrainConfig
from distvae.declarations import helps_below
from distvae.errors import DistvaeError
from distvae.networks.layers import ACTIVATIONS
from distvae.recipes import read_recipe

CONCERNS = [
    getattr(config, str(getattr(concern.type, "__name__", concern.type)))
    for concern in dataclasses.fields(TrainConfig)
]


def read(recipe: str) -> TrainConfig:
    """The configuration that a YAML recipe gives."""
    return TrainConfig().updated(yaml.safe_load(recipe), "recipe.yaml")


@pytest.mark.parametrize(
    ("recipe", "name", "value"),
    [
        ("learning_rate: 1e-3", "learning_rate", 1e-3),
        ("compile: on", "compile", "on"),
        ("compile: off", "compile", "off"),
        ("mixed_precision: no", "mixed_precision", "no"),
        ("learning_rate: 0.5", "learning_rate", 0.5),
        ("beta: 4", "beta", 4.0),
        ("ema: '0.9'", "ema", 0.9),
        ("clip: null", "clip", None),
        ("clip: '2'", "clip", 2.0),
        ("sigma: 1e-1", "sigma", 0.1),
        ("epochs: 3", "epochs", 3),
        ("max_steps: 3", "max_steps", 3),
        ("hidden: [256, 128]", "hidden", (256, 128)),
        ("hidden: [7]", "hidden", (7,)),
        ("tracker: [tensorboard]", "tracker", ("tensorboard",)),
        ("tracker: []", "tracker", ()),
        ("channels: 3", "channels", 3),
        ("overwrite: true", "overwrite", True),
        ("network: resnet", "network", "resnet"),
        ("likelihood: gaussian", "likelihood", "gaussian"),
        ("split_test: null", "split_test", None),
    ],
)
def test_a_recipe_gives_values_of_the_declared_type(recipe: str, name: str, value: object) -> None:
    found = read(recipe).to_flat()
    assert found[name] == value
    assert type(found[name]) is type(value)
    others = {key: rest for key, rest in found.items() if key != name}
    assert others == {key: rest for key, rest in TrainConfig().to_flat().items() if key != name}


@pytest.mark.parametrize(
    ("recipe", "name", "expected"),
    [
        ("epochs: 1.5", "epochs", "a whole number"),
        ("epochs: '3'", "epochs", "a whole number"),
        ("epochs: true", "epochs", "a whole number"),
        ("keep: null", "keep", "a whole number"),
        ("beta: much", "beta", "a finite number"),
        ("beta: true", "beta", "a finite number"),
        ("beta: [1]", "beta", "a finite number"),
        ("overwrite: 1", "overwrite", "true or false"),
        ("data: 5", "data", "text"),
        ("hidden: 256", "hidden", "a list of a whole number"),
        ("hidden: [256, wide]", "hidden", "a whole number"),
        ("channels: 2", "channels", "one of 1, 3"),
        ("channels: true", "channels", "one of 1, 3"),
        ("network: resnets", "network", "Did you mean resnet?"),
        ("likelihood: bernouli", "likelihood", "Did you mean bernoulli?"),
    ],
)
def test_a_wrong_type_is_refused_by_name_and_origin(recipe: str, name: str, expected: str) -> None:
    with pytest.raises(DistvaeError) as caught:
        read(recipe)
    assert name in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("found", "meant"),
    [("latnet_dim", "latent_dim"), ("lerning_rate", "learning_rate"), ("batchsize", "batch_size")],
)
def test_an_unknown_name_is_refused_with_the_nearest(found: str, meant: str) -> None:
    with pytest.raises(DistvaeError, match=rf"{found}.*recipe\.yaml.*Did you mean {meant}\?"):
        read(f"{found}: 1")
    with pytest.raises(DistvaeError) as caught:
        read("zzzzzzzz: 1")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"model": "vae", "prior": "label"}, ["--model vae", "--prior label"]),
        ({"batch_size": 10, "accumulate": 3}, ["--batch-size 10", "--accumulate 3"]),
        (
            {"likelihood": "gaussian", "binarize": "dynamic"},
            ["--likelihood gaussian", "--binarize dynamic"],
        ),
        (
            {"likelihood": "discretized_logistic", "binarize": "threshold"},
            ["--likelihood discretized_logistic", "--binarize threshold"],
        ),
    ],
)
def test_a_contradiction_names_both_flags(settings: dict[str, Any], flags: list[str]) -> None:
    with pytest.raises(DistvaeError) as caught:
        TrainConfig().updated(settings, "the command line")
    for flag in flags:
        assert flag in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("epochs", "batch_size", "accumulate", "latent_dim", "keep")),
        *((name, 0) for name in ("checkpoint_every", "eval_every", "sample_every", "log_every")),
        *((name, 0) for name in ("kl_cycles", "max_steps", "image_size", "early_stopping")),
        *((name, 0.0) for name in ("learning_rate", "width", "clip", "sigma")),
        *((name, -0.1) for name in ("beta", "kl_start", "kl_warmup_epochs", "free_bits")),
        *((name, -0.1) for name in ("warmup_epochs", "weight_decay")),
        ("ema", 1.0),
        ("ema", -0.1),
        ("hidden", []),
        ("hidden", [3, 0]),
    ],
)
def test_a_number_out_of_range_names_its_flag(name: str, value: object) -> None:
    with pytest.raises(DistvaeError, match=f"--{name.replace('_', '-')} is "):
        TrainConfig().updated({name: value}, "recipe.yaml")


@pytest.mark.parametrize(
    ("settings", "channels", "likelihood", "binarize"),
    [
        ({}, 1, "bernoulli", "dynamic"),
        ({}, 3, "gaussian", "none"),
        ({"binarize": "none"}, 1, "bernoulli", "none"),
        ({"binarize": "threshold"}, 1, "bernoulli", "threshold"),
        ({"likelihood": "gaussian"}, 1, "gaussian", "none"),
        ({"likelihood": "discretized_logistic"}, 1, "discretized_logistic", "none"),
        ({"likelihood": "bernoulli"}, 3, "bernoulli", "dynamic"),
    ],
)
def test_resolved_fills_in_what_fits_the_images(
    settings: dict[str, Any], channels: int, likelihood: str, binarize: str
) -> None:
    resolved = TrainConfig().updated(settings, "a test").resolved(channels)
    assert (resolved.model.likelihood, resolved.data.binarize) == (likelihood, binarize)
    assert resolved.resolved(channels) == resolved


def test_resolved_refuses_what_does_not_fit_the_images() -> None:
    grey = TrainConfig().updated({"likelihood": "bernoulli", "binarize": "none"}, "a test")
    with pytest.raises(DistvaeError, match=r"--likelihood bernoulli .* 3 channels"):
        grey.resolved(3)
    with pytest.raises(DistvaeError, match=r"--likelihood gaussian .*--binarize"):
        TrainConfig().updated({"binarize": "dynamic"}, "a test").resolved(3)


def test_settings_survive_being_written_and_read() -> None:
    changed = read("{hidden: [5, 4], ema: 0.5, tracker: [wandb], image_size: 9, likelihood: null}")
    assert TrainConfig().updated(yaml.safe_load(yaml.safe_dump(_plain(changed))), "x") == changed


def _plain(settings: TrainConfig) -> dict[str, Any]:
    flat = settings.to_flat().items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat}


def test_activations_are_those_there_are() -> None:
    assert list(typing.get_args(config.ActivationName)) == list(ACTIVATIONS)


def test_names_are_unique_across_concerns() -> None:
    names = [field.name for concern in CONCERNS for field in dataclasses.fields(concern)]
    assert len(names) == len(set(names))
    assert list(TrainConfig().to_flat()) == names


@pytest.mark.parametrize("concern", CONCERNS)
def test_every_setting_has_help(concern: type) -> None:
    (definition,) = ast.parse(inspect.getsource(concern)).body
    assert isinstance(definition, ast.ClassDef)
    below = {name for name, text in helps_below(definition).items() if text}
    beside = {each.name for each in dataclasses.fields(concern) if each.metadata.get("help")}
    assert below | beside == {each.name for each in dataclasses.fields(concern)}
    assert not below & beside


def test_bundled_data_may_have_a_recipe() -> None:
    asked = training(["--data", "mnist:coloured", "--beta", "2"])
    assert (asked.folder.name, asked.config.objective.beta) == ("mnist-coloured", 2.0)
    assert asked.config.model == read_recipe("mnist-coloured").model
    other = training(["--data", "mnist:coloured", "--config", "mnist-cvae"]).config
    assert other.to_flat()["sigma"] is None
