"""Gaussians fitted to the latents of a run, by the command, against what they were fitted to."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from distvae.conditions import Context
from distvae.errors import DistvaeError
from distvae.models import VAE
from distvae.priors.fitted import FACTS, TENSORS, FittedPrior
from tests.conftest import SHAPES, Command, assert_refused, flip_a_bit
from tests.spaces import gaussian

LABELS, COMPONENTS, LATENTS = 3, 4, 2


def random_prior(labels: int = LABELS) -> FittedPrior:
    generator = torch.Generator().manual_seed(0)
    mean = 2.0 * torch.randn(labels, COMPONENTS, LATENTS, generator=generator)
    factor = torch.randn(labels, COMPONENTS, LATENTS, LATENTS, generator=generator).tril()
    diagonal = factor.diagonal(dim1=2, dim2=3).abs() + 0.2
    factor = factor.tril(-1) + torch.diag_embed(diagonal)
    weights = torch.randn(labels, COMPONENTS, generator=generator)
    prior = FittedPrior(mean, factor, torch.log_softmax(weights, 1)).double()
    assert isinstance(prior, FittedPrior)
    return prior


def reference(prior: FittedPrior, label: int) -> MixtureSameFamily:
    normals = MultivariateNormal(prior.mean[label], scale_tril=prior.factor[label])
    return MixtureSameFamily(Categorical(logits=prior.log_weights[label]), normals)


@pytest.mark.parametrize("labels", [1, LABELS])
def test_a_fitted_prior_has_the_density_and_the_moments_of_its_mixture(labels: int) -> None:
    prior, count = random_prior(labels), 50_000
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(count, LATENTS + 2, generator=generator, dtype=torch.float64)
    for label in range(labels):
        y = None if labels == 1 else torch.full((count,), label)
        expected = reference(prior, label)
        z = prior.transform(noise, Context.of_label(y))
        density = prior.log_prob(z, Context.of_label(y))
        torch.testing.assert_close(density, expected.log_prob(z), rtol=1e-6, atol=1e-6)
        error = 5 * (expected.variance / count).sqrt()
        assert ((z.mean(0) - expected.mean).abs() < error).all()
        assert ((z.var(0) / expected.variance).log().abs() < 0.1).all()
        others = expected.log_prob(expected.sample((count,)))
        difference = density.mean() - others.mean()
        assert difference.abs() < 5 * density.std() * math.sqrt(2 / count)


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path))


def test_a_fit_is_saved_and_drawn_from(run: Path, command: Command) -> None:
    before = (run / "model.safetensors").read_bytes()
    fitted = command("fit-prior", run, "--components", 2, "--seed", 3)
    assert fitted.code == 0, fitted.err
    assert all(name in fitted.out for name in SHAPES)
    facts = json.loads((run / FACTS).read_text())
    assert (facts["components"], facts["seed"], facts["images"]) == (2, 3, 120)
    prior = FittedPrior.load(run, 3, len(SHAPES))
    assert prior.mean.shape == (len(SHAPES), 2, 3)
    first = (run / TENSORS).read_bytes()
    assert command("fit-prior", run, "--components", 2, "--seed", 3).code == 0
    assert (run / TENSORS).read_bytes() == first
    assert command("sample", run, "--prior", "fitted", "--output", "one.npz").code == 0
    assert command("sample", run, "--output", "own.npz").code == 0
    drawn = np.load("one.npz")["images"]
    assert not np.array_equal(drawn, np.load("own.npz")["images"])
    model = VAE.from_pretrained(run)
    images = model.sample(range(len(SHAPES)), n=10, prior=prior)
    np.testing.assert_array_equal(drawn, (images * 255).round().to(torch.uint8).numpy())
    assert command("sample", run, "--prior", "fitted").code == 0
    assert (run / "samples" / "fitted-seed-0.png").is_file()
    assert (run / "model.safetensors").read_bytes() == before


def test_a_fit_knows_the_latents_better_than_the_models_own_prior(
    run: Path, command: Command
) -> None:
    assert command("fit-prior", run, "--components", 1).code == 0
    model, prior = VAE.from_pretrained(run), FittedPrior.load(run, 3, len(SHAPES))
    told = json.loads((run / FACTS).read_text())["log_density"]
    assert told.keys() == set(SHAPES)
    # the moments of one Gaussian are those of the latents: its density is known from them alone
    for label, name in enumerate(SHAPES):
        factor = prior.factor[label, 0].double()
        log_determinant = 2.0 * factor.diagonal().log().sum().item()
        entropy = 0.5 * (3 * math.log(2 * math.pi) + log_determinant + 3)
        assert told[name] == pytest.approx(-entropy, abs=1e-3)
        y = Context(torch.full((500,), label))
        z = prior.transform(torch.randn(500, 5, generator=torch.Generator().manual_seed(0)), y)
        own, fitted = gaussian(model).prior.log_prob(z, y).mean(), prior.log_prob(z, y).mean()
        assert fitted > own


def test_wrong_use_is_refused(run: Path, command: Command) -> None:
    assert_refused(command("sample", run, "--prior", "fitted"), "no fitted prior", "fit-prior")
    assert_refused(command("fit-prior", run, "--components", 0), "--components is 0", "at least 1")
    assert_refused(
        command("fit-prior", run, "--components", 41), "circle has 40 training images", "fewer"
    )
    assert not (run / TENSORS).exists()
    assert_refused(command("sample", "x.onnx", "--prior", "fitted"), "--prior fitted", "ONNX file")
    assert command("fit-prior", run).code == 0
    (run / "model.safetensors").write_bytes(
        next(run.glob("checkpoints/*/optimizer.safetensors")).read_bytes()
    )
    with pytest.raises(DistvaeError, match=r"was fitted to other weights.*Fit it again"):
        FittedPrior.load(run, 3, len(SHAPES))


def test_a_damaged_fit_is_refused(run: Path, command: Command) -> None:
    assert command("fit-prior", run, "--components", 1).code == 0
    flip_a_bit(run / TENSORS)
    assert_refused(command("sample", run, "--prior", "fitted"), TENSORS, "damaged", "checksum")
