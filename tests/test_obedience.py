"""Samples that a classifier takes for the label that was asked for."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from distvae.attributes import Attribute
from distvae.batch import Batch
from distvae.conditions import Conditions
from distvae.config import ModelConfig, ObjectiveConfig
from distvae.evaluation.judge import JudgeNetwork
from distvae.evaluation.own_classifier import Labeller
from distvae.latents.codes import CodeSpace
from distvae.models import VAE, build_model
from distvae.objectives import OBJECTIVES, PRIOR, Loss, Pressure, RunFacts
from distvae.objectives.obedience import MARGIN
from tests.conftest import Command, assert_refused

LABELS = ("a", "b", "c")
SIDE, WEIGHT = 6, 3.0
DRAWS = 4096


class Linear(nn.Module):
    """Tells labels by one layer."""

    told = ""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.register_buffer("weight", 5.0 * torch.randn(SIDE**2, 3, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.get_buffer("weight")


def a_model(**parts: Any) -> VAE:
    torch.manual_seed(0)
    config = ModelConfig(**{"hidden": (8,), "latent_dim": 2, "prior": "label", **parts})
    return build_model(config, (1, SIDE, SIDE), LABELS)


def found(model: VAE, batch: Batch, **settings: Any) -> Loss:
    config = ObjectiveConfig(**settings).resolved()
    latents = model.latents
    facts = RunFacts(config, latents.levels, latents.infer_dim, latents.noise_dim, SIDE**2, 100)
    objective = OBJECTIVES[config.objective](replace(facts, labeller=Linear))
    loss: Loss = objective(model, batch, Pressure(1.0, 0.0))
    return loss


def a_batch(labels: list[int]) -> Batch:
    torch.manual_seed(1)
    stored = torch.randint(0, 256, (len(labels), 1, SIDE, SIDE), dtype=torch.uint8)
    given = Conditions.of_labels(torch.tensor(labels))
    return Batch(stored, given, torch.randn(len(labels), 2, 2), None)


def test_it_adds_the_log_odds_that_samples_of_the_prior_lack() -> None:
    model, labels = a_model(), [2, 0, 1, 2]
    batch = a_batch(labels)
    bound = found(model, batch._replace(noise=batch.noise[:, 0]), objective="elbo")
    loss = found(model, batch, objective="obedience", obedience_weight=WEIGHT)
    asked = torch.tensor(labels)
    z = model.latents.draw(batch.noise[:, 1], model.conditioner(batch.conditions))[0]
    lacking = []
    for row, label in zip(Linear()(model.decode(z, asked)), labels, strict=True):
        shares = Categorical(logits=row.detach()).probs.tolist()
        odds = min(math.log(shares[label] / shares[other]) for other in {0, 1, 2} - {label})
        lacking.append(max(0.0, MARGIN - odds))
    assert 0 < sum(each > 0 for each in lacking) < 4, "both kinds are there"
    expected = sum(lacking) / 4
    assert loss.extras["disobedience"].item() == pytest.approx(expected, rel=1e-4)
    assert (loss.loss - bound.loss).item() == pytest.approx(WEIGHT * expected, rel=1e-3)
    torch.testing.assert_close(loss.distortion, bound.distortion)


def test_the_encoder_learns_from_the_bound_alone() -> None:
    model, batch = a_model(), a_batch([2, 0, 1])
    losses = (
        found(model, batch._replace(noise=batch.noise[:, 0]), objective="elbo").loss,
        found(model, batch, objective="obedience", obedience_weight=WEIGHT).loss,
    )
    for name, weight in model.named_parameters():
        one, other = (torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in losses)
        same = torch.allclose(one, other, rtol=1e-5, atol=1e-7)
        assert same == name.startswith(("encoder.", "latents.to_posterior.")), name


def test_samples_without_a_label_count_for_nothing() -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden=(8,), latent_dim=2, prior="normal")
    given = Attribute("letter", LABELS, missing=True)
    model = build_model(config, (1, SIDE, SIDE), (), attributes=(given,))
    batch = a_batch([1, -1, 2, -1])
    known = Batch(
        batch.stored[::2], Conditions.of_labels(torch.tensor([1, 2])), batch.noise[::2], None
    )
    whole, part = (
        found(model, each, objective="obedience").extras["disobedience"] for each in (batch, known)
    )
    torch.testing.assert_close(whole, part / 2)


def test_a_prior_over_codes_learns_by_the_gradient_of_what_it_draws() -> None:
    """That of the expectation over all sequences, beside the one that many draws estimate."""
    codes = {"latent_space": "fsq", "fsq_levels": (2, 2), "prior_width": 8, "prior_blocks": 1}
    model = a_model(prior="codes", **codes)
    space = model.latents
    assert isinstance(space, CodeSpace)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    labels = [1] * DRAWS
    batch = a_batch(labels)
    batch = batch._replace(noise=torch.randn(DRAWS, 2, space.noise_dim))
    loss = found(model, batch, objective="obedience", obedience_weight=1.0)
    weights = list(space.prior.parameters())
    estimated = torch.cat([each.flatten() for each in gradients(loss.others[PRIOR], weights)])

    every = torch.cartesian_prod(*[torch.arange(4)] * 2)
    asked = Conditions.of_labels(torch.ones(16, dtype=torch.int64))
    context = model.conditioner(asked)
    (z,) = space.posteriors_of(every)
    shares = torch.log_softmax(Linear()(model.render((z.mean,), context)), 1).detach()
    rivals = torch.maximum(shares[:, 0], shares[:, 2])
    lacking = (MARGIN + rivals - shares[:, 1]).clamp(min=0.0)
    expected = (space.prior.log_prob(every, context).exp() * lacking).sum()
    exact = torch.cat([each.flatten() for each in gradients(expected, weights)])
    assert loss.extras["disobedience"].item() == pytest.approx(expected.item(), rel=0.1)
    assert torch.cosine_similarity(estimated, exact, 0) > 0.98
    assert estimated.norm() / exact.norm() == pytest.approx(1.0, abs=0.1)


def gradients(loss: Tensor, weights: list[nn.Parameter]) -> list[Tensor]:
    """Of each weight; zeros where there is none."""
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    pairs = zip(found, weights, strict=True)
    return [torch.zeros_like(own) if each is None else each for each, own in pairs]


def test_what_tells_labels_stands_still() -> None:
    torch.manual_seed(0)
    network = JudgeNetwork((1, 40, 40), 3)
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, 1, 32, 32))
    images = torch.rand(2, 1, 32, 32)
    expected = network.eval()(images)
    labeller = Labeller(network).train()
    before = {name: value.clone() for name, value in labeller.state_dict().items()}
    torch.testing.assert_close(labeller(images), expected)
    assert not list(labeller.parameters())
    torch.testing.assert_close(labeller.state_dict(), before, rtol=0, atol=0)
    larger = torch.rand(1, 1, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(labeller(larger).sum(), larger)
    assert 0 < gradient.abs().sum() < math.inf


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--model", "vae"), "--model vae"),
        (("--domain", "vectors"), "--objective obedience"),
        (("--accumulate", "2", "--importance-samples", "2"), "--importance-samples 2"),
    ],
)
def test_what_it_does_not_go_with_is_said(
    distvae: Command, shapes: Path, here: Path, given: tuple[str, ...], said: str
) -> None:
    refused = distvae("train", "--data", shapes, "--objective", "obedience", *given)
    assert_refused(refused, "--objective obedience", said)
