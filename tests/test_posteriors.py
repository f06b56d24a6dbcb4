"""A flow on top of a Gaussian against changes of variables, and what is held constant."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from distvae.distributions import DiagonalGaussian
from distvae.flows import CouplingFlow, pull, push
from distvae.posteriors import FlowPosterior

BATCH, FEATURES = 5, 4


def random_flow(dim: int, layers: int = 3, size: float = 0.5) -> CouplingFlow:
    torch.manual_seed(dim)
    flow = CouplingFlow(dim, layers, 6, FEATURES).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(std=size)
    return flow


def random_posterior(dim: int, size: float = 0.5) -> FlowPosterior:
    flow = random_flow(dim, size=size)
    generator = torch.Generator().manual_seed(dim)
    mean, log_variance = torch.randn(2, BATCH, dim, generator=generator, dtype=torch.float64)
    features = torch.randn(BATCH, FEATURES, generator=generator, dtype=torch.float64)
    return FlowPosterior(DiagonalGaussian(mean, log_variance), features, flow.weights())


def draws(dim: int, *sides: int) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(*sides, dim, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("dim", [2, 3, 8])
def test_pull_undoes_push_and_knows_the_change_of_volume(dim: int, layers: int) -> None:
    weights = random_flow(dim, layers).weights()
    noise, context = draws(dim, BATCH), draws(FEATURES, BATCH)
    z = push(weights, noise, context)
    back, log_volume = pull(weights, z, context)
    torch.testing.assert_close(back, noise)
    for row in range(BATCH):

        def through(point: Tensor, row: int = row) -> Tensor:
            return push(weights, point, context[row])

        jacobian = torch.autograd.functional.jacobian(through, noise[row])
        torch.testing.assert_close(log_volume[row], jacobian.det().abs().log())


def test_two_layers_move_every_latent_and_the_context_counts() -> None:
    weights = random_flow(3, 2).weights()
    noise, context = draws(3, BATCH), draws(FEATURES, BATCH)
    moved = push(weights, noise, context)
    assert ((moved - noise).abs() > 1e-6).all()
    assert not torch.allclose(push(weights, noise, context.flip(0)), moved)


def test_a_flow_begins_as_the_identity() -> None:
    flow = CouplingFlow(5, 4, 6, FEATURES)
    noise = torch.randn(BATCH, 5)
    torch.testing.assert_close(push(flow.weights(), noise, torch.randn(BATCH, FEATURES)), noise)


@pytest.mark.parametrize("dim", [2, 5])
def test_the_density_of_a_draw_is_that_of_its_noise_by_the_change_of_volume(dim: int) -> None:
    posterior, noise = random_posterior(dim), draws(dim, BATCH)
    z = posterior.sample(noise)
    deviation = (0.5 * posterior.base.log_variance).exp()
    for row in range(BATCH):

        def through(point: Tensor, row: int = row) -> Tensor:
            origin = posterior.base.mean[row] + deviation[row] * point
            return push(posterior.weights, origin, posterior.features[row])

        jacobian = torch.autograd.functional.jacobian(through, noise[row])
        expected = Normal(0.0, 1.0).log_prob(noise[row]).sum() - jacobian.det().abs().log()
        torch.testing.assert_close(posterior.log_prob(z)[row], expected)


def test_a_density_integrates_to_one() -> None:
    posterior = random_posterior(2, 0.35)
    line = torch.linspace(-15, 15, 301, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line).expand(BATCH, -1, -1)
    total = posterior.over_draws().log_prob(grid).exp().sum(1) * (line[1] - line[0]) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0.0, atol=2e-3)


@pytest.mark.parametrize("flow", [False, True])
def test_several_samples_are_each_as_one_alone(flow: bool) -> None:
    posterior = random_posterior(3)
    chosen = posterior if flow else posterior.base
    noise = draws(3, BATCH, 4)
    several = chosen.over_draws()
    z = several.sample(noise)
    for number in range(4):
        alone = chosen.sample(noise[:, number])
        torch.testing.assert_close(z[:, number], alone)
        torch.testing.assert_close(several.log_prob(z)[:, number], chosen.log_prob(alone))


def test_the_mean_of_a_flow_is_where_it_carries_the_mean_of_its_base() -> None:
    posterior = random_posterior(3)
    zero = torch.zeros(BATCH, 3, dtype=torch.float64)
    torch.testing.assert_close(posterior.mean, posterior.sample(zero))
    assert torch.equal(posterior.log_variance, posterior.base.log_variance)
    assert posterior.base.base is posterior.base


@pytest.mark.parametrize("flow", [False, True])
def test_what_is_held_constant_passes_gradients_to_z_alone(flow: bool) -> None:
    layers = random_flow(3)
    leaves = [part.requires_grad_() for part in (draws(3, BATCH), draws(3, 1).expand(BATCH, 3))]
    base = DiagonalGaussian(*leaves)
    single = FlowPosterior(base, draws(FEATURES, BATCH), layers.weights()) if flow else base
    posterior = single.over_draws()
    z = draws(3, BATCH, 2).requires_grad_()
    held = posterior.detached().log_prob(z)
    torch.testing.assert_close(held, posterior.log_prob(z))
    held.sum().backward()
    assert z.grad is not None
    assert z.grad.any()
    assert all(leaf.grad is None for leaf in leaves)
    assert all(parameter.grad is None for parameter in layers.parameters())
    posterior.log_prob(z).sum().backward()
    assert all(leaf.grad is not None for leaf in leaves)
    assert not flow or all(parameter.grad is not None for parameter in layers.parameters())


def test_a_flow_can_become_a_posterior_that_no_gaussian_is() -> None:
    # a ring sector: z2 has the mean z1^2, which a diagonal Gaussian cannot follow
    torch.manual_seed(0)
    flow = CouplingFlow(2, 4, 16, 0)
    base = DiagonalGaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    noise = torch.randn(2000, 2)
    z = torch.stack([noise[:, 0], noise[:, 0].square() + 0.3 * noise[:, 1]], dim=1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        origin, log_volume = pull(flow.weights(), z, None)
        loss = -(base.log_prob(origin) - log_volume).mean()
        loss.backward()
        optimizer.step()
    entropy = 1.0 + math.log(2 * math.pi) + math.log(0.3)
    assert loss.item() < entropy + 0.1
    gaussian = 1.0 + math.log(2 * math.pi) + 0.5 * math.log(2.09)
    assert loss.item() < gaussian - 0.8
