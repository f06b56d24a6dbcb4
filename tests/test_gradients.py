"""Gradients in closed form, held against differences and against what autograd makes."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.gradients import bernoulli_log_prob, modulated, rate_of_standard_normal

Formula = Callable[[Tensor, Tensor], Tensor]


def plainly_modulated(features: Tensor, found: Tensor) -> Tensor:
    scale, shift = found.reshape(*found.shape, *[1] * (features.dim() - 2)).chunk(2, dim=1)
    return features * (1.0 + scale) + shift


def plain_rate(mean: Tensor, log_variance: Tensor) -> Tensor:
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    own = torch.distributions.Normal(mean, log_variance.mul(0.5).exp())
    return torch.distributions.kl_divergence(own, prior)


def plain_log_prob(values: Tensor, logits: Tensor) -> Tensor:
    return -F.binary_cross_entropy_with_logits(logits, values, reduction="none").flatten(1).sum(1)


CASES = {
    "modulated": (modulated, plainly_modulated, (3, 4), (3, 8)),
    "modulated maps": (modulated, plainly_modulated, (2, 3, 2, 2), (2, 6)),
    "rate": (rate_of_standard_normal, plain_rate, (3, 4), (3, 4)),
    "bernoulli": (bernoulli_log_prob, plain_log_prob, (3, 1, 2, 2), (3, 1, 2, 2)),
}


def inputs(name: str, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    *_, first, second = CASES[name]
    a, b = (2.0 * torch.randn(shape, generator=generator, dtype=kind) for shape in (first, second))
    if name == "bernoulli":
        return torch.sigmoid(a), b.requires_grad_()
    return a.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_formula(name: str) -> None:
    formula, plain = CASES[name][:2]
    given = inputs(name, torch.float32)
    wanted = [one for one in given if one.requires_grad]
    found, expected = formula(*given), plain(*given)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-1, 2, found.numel()).view_as(found)
    gradients = torch.autograd.grad((found * weights).sum(), wanted)
    others = torch.autograd.grad((expected * weights).sum(), wanted)
    torch.testing.assert_close(gradients, others, rtol=1e-5, atol=1e-5)


def test_what_a_compiler_is_given_of_a_bernoulli_is_the_formula(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also far out, where a logarithm is the logit itself or nearly zero."""
    logits = torch.cat([torch.linspace(-12, 12, 1001), torch.tensor([-90.0, 0.0, 90.0])])[:, None]
    values = torch.linspace(0, 1, 7).round(decimals=2)[:, None, None].expand(7, *logits.shape)
    values, logits = values.flatten(0, 1), logits.repeat(7, 1).requires_grad_()
    exact = plain_log_prob(values.double(), logits.double())
    (slopes,) = torch.autograd.grad(exact.sum(), logits)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    found = bernoulli_log_prob(values, logits)
    assert ((found - exact).abs() <= 1e-6 * (1 + logits.abs()[:, 0])).all()
    (own,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(own, slopes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_gradients_are_there(name: str) -> None:
    formula: Formula = CASES[name][0]
    given = inputs(name, torch.float64)
    assert torch.autograd.gradcheck(formula, given)
    assert torch.autograd.gradgradcheck(formula, given)


def test_values_may_have_a_gradient_too() -> None:
    values, logits = inputs("bernoulli", torch.float64)
    values.requires_grad_()
    assert torch.autograd.gradcheck(bernoulli_log_prob, (values, logits))


def test_nothing_is_lost_where_a_posterior_is_nearly_the_prior() -> None:
    tiny = torch.tensor([[1e-5]])
    rate = rate_of_standard_normal(torch.zeros(1, 1), tiny).item()
    assert rate == pytest.approx(2.5e-11, rel=0.05, abs=5e-12)
    certain = bernoulli_log_prob(torch.ones(1, 1), torch.full((1, 1), 60.0)).item()
    assert -1e-20 < certain <= 0.0
