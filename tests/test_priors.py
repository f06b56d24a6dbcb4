"""p(z) and p(z|y) against torch.distributions, sums over a grid and changes of variables."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import DiagonalGaussian
from distvae.inference import for_inference
from distvae.latents import estimated_rate, known
from distvae.models import VAE, build_model
from distvae.priors import PRIORS, Prior
from distvae.priors.label import LabelPrior
from distvae.priors.mixture import MixturePrior, choose
from distvae.priors.normal import NormalPrior
from distvae.priors.vamp import VampPrior
from tests.spaces import gaussian

LABELS = 4
NAMES = ("a", "b", "c", "d")
DIMS = (1, 2, 3, 5, 16)
DRAWS = 200_000
GAUSSIAN = ("normal", "label")
OTHERS = ("mixture", "vamp", "flow")
COMPONENTS = 3


def random_prior(name: str, dim: int) -> Prior:
    """A prior in double precision whose parameters are far from where they begin."""
    torch.manual_seed(dim)
    prior = PRIORS[name](ModelConfig(latent_dim=dim, prior="label"), ContextShape(LABELS)).double()
    size = 0.3 / math.sqrt(dim)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(std=size)
    return prior


def random_model(name: str, dim: int = 2, kind: str = "cvae") -> VAE:
    """A model in double precision with such a prior, its parameters far from where they begin."""
    torch.manual_seed(dim)
    components = COMPONENTS if name in ("mixture", "vamp") else None
    config = ModelConfig(
        model=kind,
        prior=name,
        prior_components=components,
        latent_dim=dim,
        hidden=(8,),
        flow_layers=4,
        flow_width=6,
    )
    model = build_model(config, (1, 3, 3), NAMES).double()
    with torch.no_grad():
        of_prior = 0.4 if name == "flow" else 0.7
        for part, size in (
            (gaussian(model).prior, of_prior),
            (model.encoder, 0.3),
            (gaussian(model).to_posterior, 0.4),
        ):
            for parameter in part.parameters():
                parameter.normal_(std=size)
    return model


@torch.no_grad()
def mixture_of(model: VAE, label: int) -> Distribution:
    """The mixture by torch's own classes, from what defines it."""
    prior = gaussian(model).prior
    weights = torch.full((COMPONENTS,), 1.0 / COMPONENTS).double()
    if isinstance(prior, MixturePrior):
        mean, log_variance = prior.means.data, prior.log_variances.data
        row = prior.weight_logits[label if model.conditional else 0]
        weights = torch.softmax(row, 0)
    else:
        assert isinstance(prior, VampPrior)
        start = label * COMPONENTS if model.conditional else 0
        images = prior.pseudo_inputs[start : start + COMPONENTS].clamp(0.0, 1.0)
        labels = torch.full((COMPONENTS,), label) if model.conditional else None
        posterior = model.encode(images, labels)
        # encode answers in float32, so do its components
        mean, log_variance = posterior.mean.double(), posterior.log_variance.double()
    normals = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    return MixtureSameFamily(Categorical(weights), normals)


@torch.no_grad()
def reference(prior: Prior, label: int) -> MultivariateNormal:
    """The Gaussian that ``transform`` makes of noise, read off its values at the unit vectors."""
    dim = prior.noise_dim
    noise = torch.cat([torch.zeros(1, dim), torch.eye(dim)]).double()
    points = prior.transform(noise, Context(torch.full((dim + 1,), label)))
    factor = (points[1:] - points[0]).T
    return MultivariateNormal(points[0], factor @ factor.T)


def random_posterior(dim: int, batch: int, seed: int = 0) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, batch, dim, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, log_variance)


def all_labels(batch: int) -> Tensor:
    return torch.arange(batch) % LABELS


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("dim", DIMS)
def test_rate_is_the_kl_divergence(name: str, dim: int) -> None:
    prior, posterior, labels = random_prior(name, dim), random_posterior(dim, 12), all_labels(12)
    rate = known(prior.kl(posterior, Context(labels)))
    assert rate.shape == (12, dim)
    expected = torch.stack(
        [
            kl_divergence(
                MultivariateNormal(mean, torch.diag(log_variance.exp())), reference(prior, label)
            )
            for mean, log_variance, label in zip(*posterior, labels.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(rate.sum(1), expected)


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("dim", DIMS)
def test_log_prob_is_the_density(name: str, dim: int) -> None:
    prior, z, labels = random_prior(name, dim), random_posterior(dim, 12).mean, all_labels(12)
    expected = [
        reference(prior, label).log_prob(point)
        for point, label in zip(z, labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(prior.log_prob(z, Context(labels)), torch.stack(expected))


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("dim", DIMS)
def test_whiten_is_the_inverse_of_transform(name: str, dim: int) -> None:
    prior, labels = random_prior(name, dim), all_labels(50)
    noise = random_posterior(dim, 50).mean
    z = prior.transform(noise, Context(labels))
    torch.testing.assert_close(prior.whiten(z, Context(labels)), noise, rtol=1e-9, atol=1e-9)
    again = prior.transform(prior.whiten(noise, Context(labels)), Context(labels))
    torch.testing.assert_close(again, noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("dim", [2, 5])
def test_transformed_noise_has_the_mean_and_covariance_of_its_density(name: str, dim: int) -> None:
    prior, label = random_prior(name, dim), 3
    noise = torch.randn(DRAWS, dim, generator=torch.Generator().manual_seed(1)).double()
    z = prior.transform(noise, Context(torch.full((DRAWS,), label)))
    # log_prob is a quadratic: its second differences give the precision, its gradient the mean
    origin = torch.zeros(1, dim, dtype=torch.float64)

    def log_prob(point: Tensor) -> Tensor:
        return prior.log_prob(point, Context(torch.tensor([label]))).sum()

    slope = torch.autograd.functional.jacobian(log_prob, origin)
    precision = -torch.autograd.functional.hessian(log_prob, origin).reshape(dim, dim)
    covariance = torch.linalg.inv(precision)
    mean = covariance @ slope[0]
    variance = covariance.diagonal()
    assert ((z.mean(0) - mean).abs() < 5 * (variance / DRAWS).sqrt()).all()
    spread = (variance[:, None] * variance + covariance.square()) / DRAWS
    assert ((z.T.cov() - covariance).abs() < 5 * spread.sqrt()).all()


@pytest.mark.parametrize("name", GAUSSIAN)
def test_rate_agrees_with_a_monte_carlo_estimate(name: str) -> None:
    dim = 3
    prior, posterior = random_prior(name, dim), random_posterior(dim, 1)
    label = torch.tensor([2])
    repeated = DiagonalGaussian(*(part.expand(DRAWS, dim) for part in posterior))
    noise = torch.randn(DRAWS, dim, generator=torch.Generator().manual_seed(2)).double()
    z = repeated.sample(noise)
    ratio = repeated.log_prob(z) - prior.log_prob(z, Context(label.expand(DRAWS)))
    rate = known(prior.kl(posterior, Context(label))).sum()
    assert (ratio.mean() - rate).abs() < 5 * ratio.std() / math.sqrt(DRAWS)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_a_prior_begins_as_the_standard_normal(name: str) -> None:
    prior = PRIORS[name](ModelConfig(latent_dim=6), ContextShape(LABELS))
    noise = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.transform(noise, Context(all_labels(8))), noise)
    posterior = DiagonalGaussian(noise, noise.flip(0))
    torch.testing.assert_close(
        prior.kl(posterior, Context(all_labels(8))), posterior.kl_to_standard_normal()
    )


def test_only_the_label_prior_depends_on_the_label() -> None:
    noise = torch.zeros(LABELS, 5, dtype=torch.float64)
    assert (
        len(random_prior("label", 5).transform(noise, Context(all_labels(LABELS))).unique(dim=0))
        == 4
    )
    assert torch.equal(random_prior("normal", 5).transform(noise, None), noise)
    assert not list(NormalPrior(ModelConfig(), ContextShape(3)).parameters())


def test_learning_a_label_prior_finds_the_gaussian_of_each_label() -> None:
    generator = torch.Generator().manual_seed(4)
    factor = torch.tensor([[[1.0, 0.0], [0.8, 0.3]], [[0.5, 0.0], [-0.2, 2.0]]])
    mean = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    labels = torch.arange(4000) % 2
    noise = torch.randn(4000, 2, 1, generator=generator)
    z = mean[labels] + torch.bmm(factor[labels], noise).squeeze(2)
    prior = LabelPrior(ModelConfig(latent_dim=2), ContextShape(2))
    optimizer = torch.optim.LBFGS(prior.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -prior.log_prob(z, Context(labels)).mean()
        value.backward()
        return value

    optimizer.step(loss)
    for label in (0, 1):
        own = z[labels == label]
        learned = reference(prior.double(), label)
        torch.testing.assert_close(learned.mean, own.mean(0).double(), rtol=0.0, atol=0.01)
        covariance = own.T.cov(correction=0).double()
        torch.testing.assert_close(learned.covariance_matrix, covariance, rtol=0.01, atol=0.01)
        prior.float()


@pytest.mark.parametrize("kind", ["vae", "cvae"])
@pytest.mark.parametrize("name", ["mixture", "vamp"])
@pytest.mark.parametrize("dim", [1, 3, 16])
def test_a_mixture_has_the_density_of_its_components(name: str, dim: int, kind: str) -> None:
    model = random_model(name, dim, kind)
    z = 2.0 * random_posterior(dim, 40).mean
    for label in range(LABELS):
        found = gaussian(model).prior.log_prob(
            z, Context.of_label(torch.full((40,), label) if model.conditional else None)
        )
        expected = mixture_of(model, label).log_prob(z)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_narrow_components_far_from_the_origin_keep_their_digits() -> None:
    prior = MixturePrior(ModelConfig(latent_dim=50, prior_components=2), ContextShape(0))
    with torch.no_grad():
        prior.means.fill_(3.0)
        prior.log_variances.fill_(-7.0)
    z = 3.0 + 0.03 * torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    expected = Normal(prior.means[0].double(), math.exp(-3.5)).log_prob(z.double())
    found = prior.log_prob(z, None).double()
    torch.testing.assert_close(found, expected.sum(1), rtol=1e-5, atol=1e-3)


SIDE, EXTENT = 160, 12.0


def squares() -> tuple[Tensor, float]:
    """Centres ``[SIDE * SIDE, 2]`` of a grid over the plane, and the area of a square."""
    step = 2 * EXTENT / SIDE
    line = torch.arange(SIDE).double() * step - EXTENT + step / 2
    return torch.cartesian_prod(line, line), step**2


@pytest.mark.parametrize("kind", ["vae", "cvae"])
@pytest.mark.parametrize("name", OTHERS)
def test_transformed_noise_falls_where_the_density_says(name: str, kind: str) -> None:
    model = random_model(name, 2, kind)
    count = 40_000
    label = torch.full((1,), 2) if model.conditional else None
    with torch.no_grad():
        centres, area = squares()
        many = None if label is None else label.expand(len(centres))
        mass = gaussian(model).prior.log_prob(centres, Context.of_label(many)).exp() * area
        assert mass.sum().item() == pytest.approx(1.0, abs=2e-3)
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(count, model.latents.noise_dim, generator=generator).double()
        z = gaussian(model).prior.transform(
            noise, Context.of_label(None if label is None else label.expand(count))
        )
    cells = ((z + EXTENT) / (2 * EXTENT) * SIDE).long().clamp(0, SIDE - 1)
    # coarse cells of 8 x 8 squares, of which many images fall into those that count
    coarse = SIDE // 8
    counts = torch.bincount((cells[:, 0] // 8) * coarse + cells[:, 1] // 8, minlength=coarse**2)
    expected = count * mass.view(coarse, 8, coarse, 8).sum((1, 3)).flatten()
    often = expected > 20
    chi_squared = ((counts - expected).square() / expected)[often].sum().item()
    degrees = int(often.sum())
    assert degrees > 5
    assert chi_squared < degrees + 5 * math.sqrt(2 * degrees)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_a_component_has_its_share_of_the_noise_at_any_temperature(temperature: float) -> None:
    model = random_model("mixture", 2)
    tables = gaussian(model).prior.tables()  # type: ignore[operator]
    generator = torch.Generator().manual_seed(3)
    noise = temperature * torch.randn(DRAWS, 4, generator=generator).double()
    for label in range(LABELS):
        chosen = choose(noise, Context(torch.full((DRAWS,), label)), tables.thresholds, tables.own)
        found = torch.bincount(chosen, minlength=COMPONENTS) / DRAWS
        mixture = mixture_of(model, label)
        assert isinstance(mixture, MixtureSameFamily)
        expected = mixture.mixture_distribution.probs
        error = (expected * (1 - expected) / DRAWS).sqrt()
        assert ((found - expected).abs() < 5 * error + 1e-9).all()


@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_every_noise_has_a_component_of_its_label(name: str) -> None:
    model = random_model(name)
    zero, huge = torch.zeros(1, 4), torch.full((1, 4), 1e30)
    noise = torch.cat([zero, huge, -huge, torch.eye(4), -torch.eye(4)]).double()
    for label in range(LABELS):
        labels = torch.full((len(noise),), label)
        tables = gaussian(model).prior.tables()  # type: ignore[operator]
        chosen = choose(noise, Context(labels), tables.thresholds, tables.own)
        start = label * COMPONENTS if name == "vamp" else 0
        assert ((chosen >= start) & (chosen < start + COMPONENTS)).all()


@pytest.mark.parametrize("kind", ["vae", "cvae"])
@pytest.mark.parametrize("name", OTHERS)
@torch.no_grad()
def test_noise_for_latents_gives_them_again(name: str, kind: str) -> None:
    """Of a mixture the noise is that of the component which most probably gave them."""
    model = random_model(name, 3, kind)
    z = 2.0 * random_posterior(3, 60).mean
    for label in range(LABELS):
        context = Context.of_label(torch.full((60,), label) if model.conditional else None)
        for prior in (gaussian(model).prior, gaussian(for_inference(model)).prior):
            noise = prior.noise_for(z, context)
            assert noise.shape == (60, prior.noise_dim)
            torch.testing.assert_close(prior.transform(noise, context), z, rtol=1e-9, atol=1e-9)
        if name == "flow":
            continue
        mixture = mixture_of(model, label)
        assert isinstance(mixture, MixtureSameFamily)
        parts, weights = mixture.component_distribution, mixture.mixture_distribution
        expected = (parts.log_prob(z.unsqueeze(1)) + weights.logits).argmax(1)
        tables = gaussian(model).prior.tables()  # type: ignore[operator]
        chosen = choose(noise, context, tables.thresholds, tables.own)
        start = label * COMPONENTS if tables.own else 0
        assert len(expected.unique()) > 1
        torch.testing.assert_close(chosen - start, expected)


@pytest.mark.parametrize("kind", ["vae", "cvae"])
@pytest.mark.parametrize("dim", [2, 3, 6])
def test_a_flow_has_the_density_of_its_change_of_variables(dim: int, kind: str) -> None:
    model = random_model("flow", dim, kind)
    for label, noise in enumerate(random_posterior(dim, LABELS).mean):
        labels = torch.tensor([label]) if model.conditional else None

        def through(point: Tensor, model: VAE = model, labels: Tensor | None = labels) -> Tensor:
            return gaussian(model).prior.transform(point[None], Context.of_label(labels))[0]

        jacobian = torch.autograd.functional.jacobian(through, noise)
        expected = Normal(0.0, 1.0).log_prob(noise).sum() - jacobian.det().abs().log()
        z = through(noise)
        prior, context = gaussian(model).prior, Context.of_label(labels)
        torch.testing.assert_close(prior.log_prob(z[None], context)[0], expected)
        torch.testing.assert_close(prior.whiten(z[None], context)[0], noise)


def test_a_flow_begins_as_the_standard_normal_and_labels_part_it() -> None:
    prior = PRIORS["flow"](ModelConfig(latent_dim=6, prior="flow"), ContextShape(LABELS))
    noise = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.transform(noise, Context(all_labels(8))), noise)
    same = torch.ones(LABELS, 2, dtype=torch.float64)
    for name in OTHERS:
        model = random_model(name)
        noise = torch.ones(LABELS, model.latents.noise_dim, dtype=torch.float64)
        prior, labels = gaussian(model).prior, Context(all_labels(LABELS))
        assert len(prior.transform(noise, labels).unique(dim=0)) > 1, name
        assert len(prior.log_prob(same, labels).unique()) == LABELS, name


@pytest.mark.parametrize("name", OTHERS)
def test_an_estimated_rate_is_right_on_average(name: str) -> None:
    model, count = random_model(name), 20_000
    posterior = DiagonalGaussian(torch.tensor([[0.5, -1.0]]), torch.tensor([[-1.0, 0.3]]))
    repeated = DiagonalGaussian(*(part.double().expand(count, 2) for part in posterior))
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(5)).double()
    labels = torch.full((count,), 1)
    prior, z = gaussian(model).prior, repeated.sample(noise)
    assert prior.kl(repeated, Context(labels)) is None
    densities = prior.log_prob(z, Context(labels)), repeated.log_prob(z)
    rates = estimated_rate(*densities, None)
    assert rates.shape == (count, 1)
    centres, area = squares()
    density = Independent(Normal(repeated.mean[0], (0.5 * repeated.log_variance[0]).exp()), 1)
    log_q = density.log_prob(centres)
    log_p = gaussian(model).prior.log_prob(
        centres, Context(torch.ones(len(centres), dtype=torch.int64))
    )
    expected = (log_q.exp() * (log_q - log_p)).sum() * area
    assert (rates.mean() - expected).abs() < 5 * rates.std() / math.sqrt(count) + 1e-3


def test_pseudo_inputs_begin_as_images_of_their_label() -> None:
    prior = gaussian(random_model("vamp")).prior
    assert isinstance(prior, VampPrior)
    labels = torch.tensor([1, 0, 0, 3, 0, 0, 1, 0, 3, 3, 3])  # none of label 2
    rows = prior.rows(labels, len(labels)).view(LABELS, COMPONENTS)
    assert rows[0].tolist() == [1, 2, 5]
    assert labels[rows[1]].tolist() == [1, 1, 1]
    assert rows[2].tolist() == [0, 3, 7]
    assert rows[3].unique().tolist() == rows[3].tolist()
    images = torch.rand(12, 1, 3, 3).double()
    prior.set_pseudo_inputs(images)
    assert torch.equal(prior.pseudo_inputs, images)
    prior.set_pseudo_inputs(images[0])
    assert len(prior.pseudo_inputs.unique(dim=0)) == 12
    assert (prior.pseudo_inputs - images[0]).abs().max() < 0.06
    alone = gaussian(random_model("vamp", kind="vae")).prior
    assert isinstance(alone, VampPrior)
    assert alone.rows(None, 10).tolist() == [0, 3, 6]


def test_pseudo_inputs_are_cut_to_what_an_image_can_be() -> None:
    prior = gaussian(random_model("vamp")).prior
    assert isinstance(prior, VampPrior)
    z, labels = random_posterior(2, 8).mean, all_labels(8)
    with torch.no_grad():
        prior.pseudo_inputs.copy_(torch.randn(12, 1, 3, 3) * 3)
        before = prior.log_prob(z, Context(labels))
        prior.pseudo_inputs.clamp_(0.0, 1.0)
    torch.testing.assert_close(prior.log_prob(z, Context(labels)), before)


def test_a_copy_of_a_model_has_a_vamp_prior_of_its_own() -> None:
    model = random_model("vamp")
    z, labels = random_posterior(2, 8).mean, all_labels(8)
    before = gaussian(model).prior.log_prob(z, Context(labels))
    other = copy.deepcopy(model)
    assert torch.equal(gaussian(other).prior.log_prob(z, Context(labels)), before)
    with torch.no_grad():
        gaussian(other).to_posterior.bias.add_(1.0)
    assert not torch.allclose(gaussian(other).prior.log_prob(z, Context(labels)), before)
    assert torch.equal(gaussian(model).prior.log_prob(z, Context(labels)), before)
    assert not [name for name in model.state_dict() if name.startswith("prior.enc")]
