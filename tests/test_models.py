"""Every composition of parts, by one table; models on disk; samples by seed."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig, ObjectiveConfig
from distvae.drawn import SAMPLE_BATCH
from distvae.errors import DistvaeError
from distvae.models import VAE, ConditionalVAE, build_model
from distvae.networks.layers import Modulation
from distvae.objectives import negative_elbo
from distvae.tensors import load_weights
from tests.spaces import gaussian

NAMES = ("oak", "fir", "5")
LATENTS = 3
BATCH = 6


class Row(NamedTuple):
    network: str
    model: str
    prior: str
    likelihood: str
    shape: tuple[int, int, int]
    conditioning: str = "modulate"
    norm: str = "none"
    posterior: str = "gaussian"

    @property
    def closed(self) -> bool:
        """Whether the KL of posterior to prior has a closed form."""
        return self.posterior == "gaussian" and self.prior in ("normal", "label")


TABLE = [
    Row("mlp", "vae", "normal", "bernoulli", (1, 28, 28)),
    Row("mlp", "cvae", "label", "bernoulli", (1, 28, 28)),
    Row("mlp", "cvae", "normal", "gaussian", (3, 9, 13), "concat"),
    Row("mlp", "cvae", "label", "discretized_logistic", (3, 16, 16), "concat", "layer"),
    Row("mlp", "cvae", "label", "bernoulli", (1, 1, 1), norm="layer"),
    Row("mlp", "vae", "normal", "discretized_logistic", (1, 8, 8)),
    Row("conv", "vae", "normal", "gaussian", (3, 32, 32)),
    Row("conv", "cvae", "label", "bernoulli", (1, 28, 28)),
    Row("conv", "cvae", "normal", "discretized_logistic", (3, 9, 13), norm="layer"),
    Row("conv", "cvae", "label", "discretized_logistic", (3, 16, 16), "concat", "layer"),
    Row("conv", "cvae", "label", "bernoulli", (1, 1, 1), "concat"),
    Row("conv", "vae", "normal", "bernoulli", (1, 8, 8)),
    Row("resnet", "vae", "normal", "bernoulli", (1, 28, 28)),
    Row("resnet", "cvae", "label", "discretized_logistic", (3, 16, 16)),
    Row("resnet", "cvae", "normal", "gaussian", (3, 9, 13), "concat"),
    Row("resnet", "cvae", "label", "bernoulli", (1, 1, 1)),
    Row("resnet", "cvae", "label", "gaussian", (1, 8, 8), "concat"),
    Row("resnet", "vae", "normal", "discretized_logistic", (3, 9, 13)),
    Row("mlp", "vae", "mixture", "continuous_bernoulli", (1, 8, 8)),
    Row("mlp", "cvae", "mixture", "categorical", (3, 4, 5), "concat", posterior="flow"),
    Row("mlp", "vae", "vamp", "bernoulli", (1, 4, 5)),
    Row("mlp", "vae", "normal", "laplace", (3, 4, 5)),
    Row("conv", "cvae", "vamp", "discretized_logistic_mixture", (3, 9, 13)),
    Row("conv", "vae", "flow", "gaussian", (1, 8, 8), norm="layer"),
    Row("resnet", "cvae", "flow", "continuous_bernoulli", (3, 8, 8), posterior="flow"),
    Row("resnet", "vae", "normal", "discretized_logistic_mixture", (1, 8, 8), posterior="flow"),
]
table = pytest.mark.parametrize("row", TABLE, ids=lambda row: "-".join(map(str, row)))


def build(row: Row, width: float | None = None, random: bool = True) -> VAE:
    """A model of this row; ``random`` moves every parameter away from where it begins."""
    settings: dict[str, Any] = row._asdict()
    shape = settings.pop("shape")
    scale = width or (1.0 if row.network == "mlp" else 0.25)
    torch.manual_seed(0)
    config = ModelConfig(**settings, hidden=(12, 10), latent_dim=LATENTS, width=scale)
    model = build_model(config, shape, NAMES)
    if random:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def batch(model: VAE) -> tuple[Tensor, Tensor | None, Tensor]:
    """Images, labels and noise."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (BATCH, *model.image_shape), generator=generator) / 255
    labels = torch.arange(BATCH) % len(NAMES) if model.conditional else None
    return images, labels, torch.randn(BATCH, LATENTS, generator=generator)


@table
def test_forward_gives_an_objective_its_terms(row: Row) -> None:
    model = build(row, random=False)
    assert isinstance(model, ConditionalVAE) == (row.model == "cvae")
    images, labels, noise = batch(model)
    terms = model(images, labels, noise)
    (draw,) = terms.draws
    posterior = draw.posterior
    assert posterior is not None
    assert torch.equal(draw.z, draw.rows)
    parts = posterior.mean, posterior.log_variance, *posterior.base, draw.z
    parts = *parts, terms.log_likelihood, terms.rate, terms.parameters
    assert [part.shape for part in parts[:5]] == [(BATCH, LATENTS)] * 5
    assert terms.log_likelihood.shape == (BATCH,)
    assert terms.rate.shape == (BATCH, LATENTS if row.closed else 1)
    assert all(part.dtype == torch.float32 for part in parts)
    assert (draw.level, draw.z.shape[1:]) == model.latents.levels[0][:2]
    assert row.closed == (draw.log_p is None) == (draw.log_q is None)
    torch.testing.assert_close(draw.z, posterior.sample(noise))
    expected = model.likelihood.log_prob(images, terms.parameters)
    torch.testing.assert_close(terms.log_likelihood, expected)
    assert not row.closed or (terms.rate.sum(1) > 0).all()
    assert torch.isfinite(negative_elbo(terms, 1.0, ObjectiveConfig(), 1).loss)
    decoded = model.decode(noise, labels)
    assert decoded.shape == images.shape
    assert ((decoded >= 0) & (decoded <= 1)).all()


@table
def test_several_samples_are_as_good_as_each_alone(row: Row) -> None:
    model = build(row)
    images, labels, _ = batch(model)
    noise = torch.randn(BATCH, 4, LATENTS, generator=torch.Generator().manual_seed(2))
    terms = model(images, labels, noise, draws=4, densities=True)
    rates = []
    for number in range(4):
        alone = model(images, labels, noise[:, number])
        (draw,) = alone.draws
        assert draw.posterior is not None
        torch.testing.assert_close(terms.draws[0].z[:, number], draw.z)
        torch.testing.assert_close(terms.draws[0].rows[number::4], draw.z)
        torch.testing.assert_close(
            terms.parameters[:, number], alone.parameters, rtol=1e-5, atol=1e-4
        )
        torch.testing.assert_close(
            terms.log_likelihood[:, number], alone.log_likelihood, rtol=1e-5, atol=1e-4
        )
        log_prior = gaussian(model).prior.log_prob(draw.z, Context.of_label(labels))
        torch.testing.assert_close(terms.log_p[:, number], log_prior, rtol=1e-5, atol=1e-5)
        log_posterior = draw.posterior.log_prob(draw.z)
        torch.testing.assert_close(terms.log_q[:, number], log_posterior, rtol=1e-5, atol=1e-5)
        rates.append(alone.rate)
    torch.testing.assert_close(terms.rate, torch.stack(rates).mean(0), rtol=1e-4, atol=1e-5)


@table
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_model_in_another_precision_samples_encodes_and_decodes(
    row: Row, dtype: torch.dtype
) -> None:
    model, other = build(row), build(row).to(dtype)
    images, labels, noise = batch(model)
    asked = [0, 2] if model.conditional else None
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    off = {torch.float16: 0.01, torch.bfloat16: 0.1, torch.float64: 1e-4}[dtype]
    drawn = other.sample(labels=asked, n=3, seed=1)
    assert drawn.dtype == wide
    close: dict[str, Any] = {"atol": off, "rtol": 0.0, "check_dtype": False}
    torch.testing.assert_close(drawn, model.sample(labels=asked, n=3, seed=1), **close)
    with torch.no_grad():
        posterior = other.encode(images.to(dtype), labels)
        assert posterior.mean.dtype == posterior.log_variance.dtype == wide
        close = {"atol": 3 * off, "rtol": 3 * off, "check_dtype": False}
        torch.testing.assert_close(posterior.mean, model.encode(images, labels).mean, **close)
        decoded = other.decode(posterior.mean.to(dtype), labels)
        assert decoded.dtype == wide
        torch.testing.assert_close(
            decoded, model.decode(noise * 0 + posterior.mean.float(), labels), **close
        )
        for part, draws in ((noise, None), (noise.unsqueeze(1).repeat(1, 2, 1), 2)):
            terms = other(images, labels, part.to(dtype), draws)
            expected = model(images, labels, part, draws)
            assert terms.log_likelihood.dtype == wide
            close = {"atol": 3 * off, "rtol": 30 * off, "check_dtype": False}
            torch.testing.assert_close(terms.log_likelihood, expected.log_likelihood, **close)
            assert terms.rate.isfinite().all()


@table
def test_every_parameter_gets_a_gradient(row: Row) -> None:
    model = build(row)
    negative_elbo(model(*batch(model)), 1.0, ObjectiveConfig(), 1).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@table
def test_one_image_has_the_same_result_in_every_batch(row: Row) -> None:
    model = build(row)
    images, labels, noise = batch(model)
    whole = model(images, labels, noise)
    one = model(images[3:4], None if labels is None else labels[3:4], noise[3:4])
    torch.testing.assert_close(one.log_likelihood, whole.log_likelihood[3:4], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(one.rate, whole.rate[3:4], rtol=1e-4, atol=1e-5)


@table
def test_the_label_reaches_encoder_and_decoder(row: Row) -> None:
    model = build(row)
    images, labels, noise = batch(model)
    if labels is None:
        return
    other = (labels + 1) % len(NAMES)
    for find in (
        lambda y: model.encode(images, y).mean,
        lambda y: model.decoder(noise, Context(y)),
    ):
        assert torch.equal(find(labels), find(labels))
        assert ((find(labels) - find(other)).abs().flatten(1).amax(1) > 1e-6).all()


@table
def test_a_saved_model_comes_back_exactly(row: Row, tmp_path: Path) -> None:
    model = build(row)
    model.save_pretrained(tmp_path / "model")
    loaded = VAE.from_pretrained(tmp_path / "model")
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.hub_config() == model.hub_config()
    assert loaded.label_names == (NAMES if model.conditional else ())
    assert loaded.config == model.config
    expected = model.state_dict()
    found = loaded.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(loaded.sample(n=2), model.sample(n=2))


@table
def test_a_seed_is_an_image_whatever_their_number(row: Row) -> None:
    model = build(row)
    many = model.sample(n=7, seed=4)
    assert many.shape == (7, *model.image_shape)
    torch.testing.assert_close(model.sample(n=3, seed=4), many[:3])
    if row.shape != (1, 1, 1):
        assert not torch.allclose(model.sample(n=7, seed=5), many)
        assert len(many.unique(dim=0)) == 7


@table
def test_the_image_a_decoder_starts_at_is_added_to_its_output(row: Row) -> None:
    model = build(row)
    one, other = torch.rand(2, *model.image_shape, generator=torch.Generator().manual_seed(0))
    _, labels, noise = batch(model)
    outputs = []
    for image in (one, other):
        model.initialize_output(image)
        outputs.append(model.decoder(noise, Context.of_label(labels)))
    shift = model.likelihood.parameters_of(one) - model.likelihood.parameters_of(other)
    torch.testing.assert_close(
        outputs[0] - outputs[1], shift.expand(BATCH, *shift.shape), rtol=1e-4, atol=1e-5
    )


SMALL = TABLE[1]._replace(shape=(1, 2, 3))


def test_samples_by_number_and_by_name() -> None:
    model = build(SMALL)
    found = model.sample(labels=["fir", 2, "5", "1"], n=2, seed=3)
    assert torch.equal(found, model.sample(labels=[1, 2, 2, 1], n=2, seed=3))
    assert found.shape == (8, 1, 2, 3)
    turn = model.sample(n=7, seed=3)
    assert torch.equal(turn, model.sample(labels=[0, 1, 2, 0, 1, 2, 0], seed=3))


def test_a_sample_is_its_batches() -> None:
    for row in (SMALL, TABLE[0]):
        model = build(row)
        count = 2 * SAMPLE_BATCH + 5
        batches = list(model.sample_batches(n=count, seed=1))
        assert [len(part) for part in batches] == [SAMPLE_BATCH, SAMPLE_BATCH, 5]
        assert torch.equal(torch.cat(batches), model.sample(n=count, seed=1))
        torch.testing.assert_close(model.sample(n=9, seed=1), batches[0][:9])
        assert not batches[0].requires_grad
    assert build(SMALL).sample(labels=[], n=5).shape == (0, 1, 2, 3)


def test_more_images_than_fit_into_memory_are_refused_at_once() -> None:
    for row, labels in ((SMALL, None), (SMALL, [0, 2]), (TABLE[0], None)):
        with pytest.raises(DistvaeError, match=r"0,000 images take .* GB of memory.*in parts"):
            build(row).sample(labels, n=10**12)
        first = next(build(row).sample_batches(labels, n=10**12, seed=3))
        expected = build(row).sample(labels, n=SAMPLE_BATCH, seed=3)[:SAMPLE_BATCH]
        assert torch.equal(first, expected)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"n": -1}, "n is -1"),
        ({"n": 1.5}, "n is 1.5"),
        ({"n": "2"}, "n is '2'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"seed": 2**128}, "seed is 340282366920938463463374607431768211456"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"labels": ""}, "label '' is not in this model"),
        ({"labels": -1}, "label -1 is not in this model"),
    ],
)
def test_numbers_that_draw_nothing_are_refused(given: dict[str, Any], told: str) -> None:
    model = build_model(ModelConfig(hidden=(4,), latent_dim=2), (1, 4, 4), NAMES)
    with pytest.raises(DistvaeError, match=re.escape(told)):
        model.sample(**{"labels": ["fir"], **given})


def test_numbers_of_numpy_are_numbers() -> None:
    model = build_model(ModelConfig(hidden=(4,), latent_dim=2), (1, 4, 4), NAMES)
    found: dict[str, Any] = {
        "n": np.int64(2),
        "seed": np.uint8(3),
        "temperature": np.float32(0.5),
    }
    plain = {name: each.item() for name, each in found.items()}
    assert torch.equal(model.sample(["fir"], **found), model.sample(["fir"], **plain))


def test_a_temperature_of_zero_gives_the_typical_image_of_a_label() -> None:
    model = build(SMALL)
    found = model.sample(labels=[0, 1], n=4, temperature=0.0)
    assert torch.equal(found[:4], found[:1].expand(4, -1, -1, -1))
    assert not torch.equal(found[0], found[4])


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(DistvaeError, match=r"label 3 is not in this model: it knows 0\.\.2 \(oak"):
        build(SMALL).sample(labels=[0, 3])
    with pytest.raises(DistvaeError, match="without labels"):
        build(TABLE[0]).sample(labels=[0])


def test_a_conditional_model_needs_labels() -> None:
    with pytest.raises(DistvaeError, match="--model cvae needs labels"):
        build_model(ModelConfig(model="cvae"), (1, 4, 4), ())


@pytest.mark.parametrize("sides", [(), (4, 5)])
def test_modulation_scales_and_shifts_by_label(sides: tuple[int, ...]) -> None:
    modulation = Modulation(ContextShape(3), features=2)
    features = torch.randn(4, 2, *sides, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0, 1, 2])
    assert torch.equal(modulation(features, Context(labels)), features)
    assert modulation.table is not None
    table = torch.tensor([[0.5, 1.0, 3.0, 4.0], [0.0, -1.0, 0.0, 7.0], [2.0, 2.0, -5.0, 0.0]])
    modulation.table.weight.data.copy_(table)
    found = modulation(features, Context(labels))
    for image, label in enumerate(labels.tolist()):
        for channel in (0, 1):
            scale, shift = table[label, channel], table[label, 2 + channel]
            torch.testing.assert_close(
                found[image, channel], features[image, channel] * (1 + scale) + shift
            )


def test_a_large_image_passes_a_resnet() -> None:
    row = Row("resnet", "cvae", "label", "discretized_logistic", (3, 256, 256))
    model = build(row, width=0.1)
    with torch.no_grad():
        terms = model(torch.rand(1, 3, 256, 256), torch.tensor([1]), torch.zeros(1, LATENTS))
    assert torch.isfinite(terms.log_likelihood).all()
    assert model.sample(n=1).shape == (1, 3, 256, 256)


def cut_short(folder: Path) -> str:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    return "model.safetensors is damaged"


def flip_a_bit(folder: Path) -> str:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-50] ^= 4
    path.write_bytes(content)
    return r"model\.safetensors is damaged.*checksum"


def delete_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return "model.safetensors is missing"


def delete_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return r"config\.json is missing"


def change(name: str, value: object, message: str) -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        path = folder / "config.json"
        content = json.loads(path.read_text())
        del content["sha256"]
        (content["model"] if name in content["model"] else content)[name] = value
        path.write_text(json.dumps(content))
        return message

    damage.__name__ = f"{name} is {value}"
    return damage


def of_images(*shape: int) -> dict[str, Any]:
    return {"name": "images", "shape": shape}


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        flip_a_bit,
        delete_weights,
        delete_config,
        change("latent_dim", 4, r"model\.safetensors is of another architecture"),
        change("hidden", [12], r"model\.safetensors is of another architecture"),
        change("prior", "normal", r"another architecture.*prior\."),
        change("network", "conv", r"model\.safetensors is of another architecture"),
        change(
            "domain",
            {"name": "images", "shape": [1, 3, 3]},
            r"model\.safetensors is of another architecture",
        ),
        change(
            "network",
            "convv",
            r"config\.json cannot be used: network is 'convv' .*Did you mean conv\?",
        ),
        change("hidden", "wide", r"config\.json.*hidden is 'wide' .*a list of"),
        change("label_names", ["a"], r"model\.safetensors is of another architecture"),
        change("label_names", "abc", r"label_names is 'abc' in .*config\.json"),
        change(
            "domain",
            {"name": "images", "shape": [1, 3]},
            r"shape is \[1, 3\] in .*list of 3 values",
        ),
        change("sigma", [], r"config\.json.*sigma is \[\] .*expected a finite number"),
        change("hidden", [60_000, 60_000], r"model\.safetensors is of another architecture"),
        change("latent_dim", 2**62, r"--latent-dim is 4611686018427387904"),
        change("flow_layers", 10**9, r"--flow-layers is 1000000000"),
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_model_is_refused_by_file(damage: Callable[[Path], str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    build(SMALL).save_pretrained(folder)
    message = damage(folder)
    with pytest.raises(DistvaeError, match=message) as caught:
        VAE.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_refused_weights_leave_a_model_as_it_was(tmp_path: Path) -> None:
    build(SMALL).save_pretrained(tmp_path)
    other = build(SMALL._replace(shape=(1, 2, 4)))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(DistvaeError, match=r"bias is float \(6,\) there and float \(8,\) in"):
        load_weights(other, tmp_path / "model.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_the_names_in_a_saved_model_are_a_contract() -> None:
    # Weights that people have saved are found by these names.
    config = dataclasses.replace(
        ModelConfig(network="mlp", hidden=(5,), latent_dim=2, norm="layer"),
        model="cvae",
        prior="label",
        likelihood="gaussian",
        conditioning="modulate",
    )
    state = build_model(config, (1, 2, 3), NAMES).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "encoder.layers.dense.0.weight": (5, 6),
        "encoder.layers.dense.0.bias": (5,),
        "encoder.layers.norm.0.weight": (5,),
        "encoder.layers.norm.0.bias": (5,),
        "encoder.layers.modulation.0.table.weight": (3, 10),
        "to_posterior.weight": (4, 5),
        "to_posterior.bias": (4,),
        "decoder.layers.dense.0.weight": (5, 2),
        "decoder.layers.dense.0.bias": (5,),
        "decoder.layers.norm.0.weight": (5,),
        "decoder.layers.norm.0.bias": (5,),
        "decoder.layers.modulation.0.table.weight": (3, 10),
        "decoder.out.weight": (6, 5),
        "decoder.out.bias": (6,),
        "prior.means": (3, 2),
        "prior.log_diagonals": (3, 2),
        "prior.off_diagonals": (3, 2, 2),
        "likelihood.log_sigma": (),
    }
