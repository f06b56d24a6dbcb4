"""Several attributes, missing ones and numbers: what parts make of them, and a model that obeys."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from distvae.attributes import Attribute, label_attribute
from distvae.batch import Batch
from distvae.conditions import Conditioner, Conditions, ContextShape, in_turn, written_out
from distvae.config import ModelConfig
from distvae.distributions import DiagonalGaussian
from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.models import VAE, build_model
from distvae.networks.layers import Modulation
from distvae.priors import PRIORS

PLACE = Attribute("place", ("left", "right"), missing=True)
COLOUR = Attribute("colour", ("red", "green", "blue"), missing=True)
LIGHT = Attribute("light", mean=0.5, scale=0.25, missing=True)
ALL = (PLACE, LIGHT, COLOUR)
SHAPE = (3, 4, 4)


def conditions(*rows: tuple[float | None, ...]) -> Conditions:
    """Rows of values, None where one is not known."""
    known = torch.tensor([[value is not None for value in row] for row in rows])
    values = [[77 if value is None else value for value in row] for row in rows]
    return Conditions(torch.tensor(values), known)


def test_a_context_numbers_labels_through_and_has_a_row_for_what_is_missing() -> None:
    conditioner = Conditioner(ALL)
    assert conditioner.shape == ContextShape(3 + 4, 2, 3, is_label=False)
    context = conditioner(conditions((1, 1.0, 2), (None, 0.25, None), (0, None, 0)))
    assert context.rows.tolist() == [[1, 3 + 2], [2, 3 + 3], [0, 3]]
    assert context.numbers.tolist() == [[2.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]
    columns = written_out(context, conditioner.shape, torch.zeros(0))
    assert columns.tolist() == [
        [0, 1, 0, 0, 0, 1, 0, 2, 1],
        [0, 0, 1, 0, 0, 0, 1, -1, 1],
        [1, 0, 0, 1, 0, 0, 0, 0, 0],
    ]


def test_one_label_is_the_row_itself() -> None:
    conditioner = Conditioner(label_attribute(("a", "b", "c")))
    labels = torch.tensor([2, 0])
    context = conditioner.of_label(labels)
    assert context is not None
    assert torch.equal(context.label, labels)
    assert conditioner.shape == ContextShape(3, 0, 1)
    assert Conditioner(())(None) is None


@pytest.mark.parametrize("sides", [(), (2, 2)])
def test_modulation_adds_up_what_it_has_for_each_attribute(sides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    conditioner = Conditioner(ALL)
    modulation = Modulation(conditioner.shape, features=5)
    features = torch.randn(2, 5, *sides)
    context = conditioner(conditions((1, 0.75, 2), (None, None, 0)))
    assert torch.equal(modulation(features, context), features)
    for parameter in modulation.parameters():
        torch.nn.init.normal_(parameter)
    assert modulation.table is not None
    assert modulation.linear is not None
    table, linear = modulation.table.weight, modulation.linear.weight
    first = table[1] + table[3 + 2] + linear[:, 0] + linear[:, 1]
    second = table[2] + table[3]
    for row, expected in enumerate((first, second)):
        scale, shift = (half.view(-1, *(1 for _ in sides)) for half in expected.chunk(2))
        torch.testing.assert_close(
            modulation(features, context)[row], features[row] * (1 + scale) + shift
        )


def test_combinations_go_round() -> None:
    found = in_turn((PLACE, COLOUR), torch.arange(8))
    assert found is not None
    expected = [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [0, 0], [0, 1]]
    assert found.values.tolist() == expected
    assert found.known.all()


def synthetic(count: int, missing: float) -> tuple[Tensor, Conditions]:
    """A half of the image is lit in one colour; a share of the attributes is not known."""
    generator = torch.Generator().manual_seed(3)
    places = torch.randint(2, (count,), generator=generator)
    colours = torch.randint(3, (count,), generator=generator)
    images = torch.zeros(count, *SHAPE)
    for row, (place, colour) in enumerate(zip(places, colours, strict=True)):
        images[row, colour, :, 2 * place : 2 * place + 2] = 255
    known = torch.rand(count, 2, generator=generator) >= missing
    values = torch.where(known, torch.stack([places, colours], 1), -1)
    return images.to(torch.uint8), Conditions(values, known)


def trained(prior: str, conditioning: str) -> VAE:
    """A small model of such images, with a tenth of the attributes missing."""
    torch.manual_seed(0)
    config = ModelConfig(
        hidden=(64,),
        latent_dim=2,
        prior=prior,
        conditioning=conditioning,
        flow_layers=2,
        flow_width=8,
    )
    model = build_model(config, SHAPE, (), attributes=(PLACE, COLOUR))
    images, given = synthetic(512, 0.1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(500):
        rows = torch.arange(64 * step, 64 * step + 64) % 512
        noise = torch.randn(64, 2)
        terms = model.terms(Batch(images[rows], given.at(rows), noise, None))
        optimizer.zero_grad()
        (terms.rate.sum(1) - terms.log_likelihood).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("prior", "conditioning"), [("normal", "modulate"), ("flow", "concat")])
def test_a_model_obeys_each_attribute(prior: str, conditioning: str, tmp_path: Path) -> None:
    model = trained(prior, conditioning)
    for place, name in enumerate(PLACE.labels):
        for colour in range(3):
            drawn = model.sample(labels={"place": name, "colour": colour}, n=20, seed=1)
            lit = drawn.mean((0, 2))[:, 2 * place : 2 * place + 2].mean(1)
            assert lit[colour] > 0.9
            assert drawn.mean() == pytest.approx(1 / 6, abs=0.03), "and nothing else is lit"
    some = model.sample(labels={"place": "left"}, n=200, seed=1)
    assert some[..., 2:].mean() < 0.03
    assert (some[..., :2].mean((2, 3)).amax(1) > 0.5).float().mean() > 0.5
    several = model.sample(labels={"place": ["left", "right"], "colour": "red"}, n=3)
    right = model.sample(labels={"place": 1, "colour": 0}, n=6)
    assert torch.equal(several[3:], right[3:])
    assert model.sample(n=7).shape == (7, *SHAPE)
    model.save_pretrained(tmp_path / "model")
    again = VAE.from_pretrained(tmp_path / "model")
    assert again.attributes == (PLACE, COLOUR)
    assert torch.equal(again.sample(n=7), model.sample(n=7))
    asked = {"place": "left", "colour": ["red", "blue"]}
    images = torch.rand(2, *SHAPE)
    expected = again.encode(images, {"place": 0, "colour": [0, 2]}).mean
    assert torch.equal(model.encode(images, asked).mean, expected)


def test_a_number_moves_what_is_drawn() -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden=(16,), latent_dim=2)
    light = Attribute("light", mean=0.5, scale=0.25)
    model = build_model(config, (1, 2, 2), (), attributes=(light,))
    assert model.config.prior == "normal"
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        values = torch.rand(64, 1)
        stored = (255 * values).round().to(torch.uint8)[:, :, None, None].expand(-1, 1, 2, 2)
        given = Conditions(values, torch.ones_like(values, dtype=torch.bool))
        terms = model.terms(Batch(stored, given, torch.randn(64, 2), None))
        optimizer.zero_grad()
        (terms.rate.sum(1) - terms.log_likelihood).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = model.eval().sample(labels={"light": [0.2, 0.8]}, n=10).view(2, -1).mean(1)
    assert found.tolist() == pytest.approx([0.2, 0.8], abs=0.1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"place": "left", "color": "red"}, r"attribute color is not in this model.*colour\?"),
        ({"place": "up"}, "label up is not in this model"),
        ("left", r"takes them by name.*labels=\{'place': \.\.\., 'light'"),
        ({"light": "bright"}, "expected a finite number"),
        ({"light": float("nan")}, "expected a finite number"),
        ({"place": [0, 1], "colour": [0, 1, 2]}, "attributes have 2 and 3 values"),
    ],
)
def test_what_is_no_condition_is_refused(asked: Any, message: str) -> None:
    model = build_model(ModelConfig(hidden=(4,)), SHAPE, (), attributes=ALL)
    with pytest.raises(DistvaeError, match=f"(?s){message}"):
        model.sample(labels=asked)


def test_an_attribute_that_was_never_missing_must_be_given() -> None:
    one = Attribute("one", ("a", "b"))
    model = build_model(ModelConfig(hidden=(4,)), SHAPE, (), attributes=(one, COLOUR))
    with pytest.raises(DistvaeError, match="attribute one is missing"):
        model.sample(labels={"colour": "red"})
    with pytest.raises(DistvaeError, match=r"there are 3 values.*expected 2"):
        model.encode(torch.rand(2, *SHAPE), {"one": [0, 1, 0]})


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
def test_a_prior_of_one_label_refuses_others(prior: str) -> None:
    config = ModelConfig(hidden=(4,), prior=prior)
    with pytest.raises(DistvaeError, match=r"--prior flow.*--prior normal"):
        build_model(config, SHAPE, (), attributes=(PLACE, COLOUR))


def test_a_gaussian_of_what_is_given_is_that_of_torch() -> None:
    torch.manual_seed(0)
    conditioner, dim = Conditioner(ALL), 3
    config = ModelConfig(latent_dim=dim, prior="label")
    prior = PRIORS["label"].build(config, conditioner.shape, Images(SHAPE), lambda *_: None)  # type: ignore[arg-type]
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    prior = prior.double()
    context = conditioner(conditions((1, 1.0, 2), (None, 0.25, None), (0, None, 0)))
    noise = torch.randn(3, dim, dtype=torch.float64)
    zero, steps = torch.zeros_like(noise), torch.eye(dim, dtype=torch.float64)
    mean = prior.transform(zero, context)
    columns = [prior.transform(step.expand(3, -1), context) - mean for step in steps]
    factor = torch.stack(columns, dim=2)
    expected = MultivariateNormal(mean, scale_tril=factor)  # refuses what is not lower triangular
    z = prior.transform(noise, context)
    density = expected.log_prob(z)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(prior.log_prob(z, context), density)
    torch.testing.assert_close(prior.whiten(z, context), noise)
    posterior = DiagonalGaussian(torch.randn_like(z), torch.randn_like(z))
    base = MultivariateNormal(posterior.mean, torch.diag_embed(posterior.log_variance.exp()))
    rate = prior.kl(posterior, context)
    assert rate is not None
    torch.testing.assert_close(rate.sum(1), kl_divergence(base, expected))
    assert (mean[0] - mean[1]).abs().max() > 0.1, "what is given matters"
