"""The Triton kernels of formulas, run by Triton's interpreter, held against autograd.

Triton reads once in a process how kernels are to be run: ``test_kernels.py`` runs this file.
"""

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from distvae import gradients, kernels
from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import DiagonalGaussian
from distvae.priors.label import LabelPrior
from distvae.training.optimizer import OneCallAdamW
from distvae.training.update import follower

Formula = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that counts as a GPU."""
    assert os.environ["TRITON_INTERPRET"] == "1"
    monkeypatch.setattr(kernels, "BY_TRITON", "cpu")


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(given: list[Tensor]) -> Tensor:
    both, noise = given
    mean, log_variance = both.chunk(2, 1)
    return gradients.drawn_normal(mean, log_variance, noise)


def rated(given: list[Tensor]) -> Tensor:
    return gradients.rate_of_standard_normal(*given[0].chunk(2, 1))


CASES: dict[str, tuple[Formula, list[Tensor]]] = {
    "rate": (rated, [normal(7, 10)]),
    "a rate near zero": (rated, [normal(300, 4, scale=1e-3)]),
    "draw": (drawn, [normal(7, 10), normal(7, 5, seed=1)]),
    "held": (lambda given: gradients.held(given[0].t(), 0.5), [normal(6, 9)]),
    "modulated": (lambda given: gradients.modulated(*given), [normal(5, 300), normal(5, 600)]),
    "bernoulli": (
        lambda given: gradients.bernoulli_log_prob(normal(3, 1, 37, 40).sigmoid(), given[0]),
        [normal(3, 1, 37, 40, scale=20.0, seed=1)],
    ),
}


def gradients_of(formula: Formula, given: list[Tensor], total: bool) -> list[Tensor]:
    """The value, and the gradients of a sum of it: plain, whose gradient has no strides, or not."""
    leaves = [each.clone().requires_grad_() for each in given]
    value = formula(leaves)
    weights = 1.0 if total else torch.linspace(-1.0, 2.0, value.numel()).view_as(value)
    wanted = leaves[:1] if formula is drawn else leaves
    return [value.detach(), *torch.autograd.grad((value * weights).sum(), wanted)]


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_computes_what_operations_do(
    name: str, total: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    formula, given = CASES[name]
    assert kernels.launched(*given)
    found = gradients_of(formula, given, total)
    monkeypatch.setattr(kernels, "BY_TRITON", "none")
    assert not kernels.launched(*given)
    expected = gradients_of(formula, given, total)
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)


def test_a_gradient_that_has_one_itself() -> None:
    mean, log_variance = (normal(3, 4, seed=seed).requires_grad_() for seed in (0, 1))
    rate = gradients.rate_of_standard_normal(mean, log_variance)
    first = torch.autograd.grad(rate.sum(), [mean, log_variance], create_graph=True)
    squares = torch.stack([each.square().sum() for each in first]).sum()
    second = torch.autograd.grad(squares, [mean, log_variance])
    expected = 2 * mean, 0.5 * torch.expm1(log_variance) * log_variance.exp()
    torch.testing.assert_close(second, expected)


@pytest.mark.parametrize(("dim", "rows"), [(2, 70), (5, 1), (17, 33)])
def test_the_rate_of_a_label_prior(dim: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(model="cvae", latent_dim=dim, prior="label")
    prior = LabelPrior(config, ContextShape(rows=4, attributes=1))
    with torch.no_grad():
        for number, parameter in enumerate(prior.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=number))
        prior.log_diagonals[0, 0] = 11.0  # held
    labels = torch.arange(rows) % 3  # no image has the fourth
    weights = normal(rows, dim, seed=9)

    def taken() -> list[Tensor]:
        both = normal(rows, 2 * dim, seed=5).requires_grad_()
        nats = prior.kl(DiagonalGaussian(*both.chunk(2, 1)), Context.of_label(labels))
        assert nats is not None
        wanted = [both, *prior.parameters()]
        return [nats.detach(), *torch.autograd.grad((nats * weights).sum(), wanted)]

    found = taken()
    monkeypatch.setattr(kernels, "BY_TRITON", "none")
    expected = taken()
    assert not torch.equal(found[1], expected[1])  # another way was taken
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5 * float(other.abs().max()))


def test_adamw_takes_the_steps_of_torch_and_averages_follow() -> None:
    """Weights of several sizes, one of them with its axes in another order in memory."""
    shapes = (5,), (3000,), (4, 3, 5, 2), (1,)

    def weights() -> list[nn.Parameter]:
        found = [nn.Parameter(normal(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
        found[2].data = found[2].data.contiguous(memory_format=torch.channels_last)
        return found

    own, theirs = weights(), weights()
    group = {"name": "model", "factor": 1.0, "weight_decay": 0.1}
    optimizer = OneCallAdamW([{"params": own, **group}], lr=0.01)
    reference = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1)
    averages = [weight.detach().clone() for weight in own]
    expected = [average.clone() for average in averages]
    follow = follower(averages, [weight.detach() for weight in own])
    for step in range(4):
        optimizer.param_groups[0]["lr"] = torch.tensor(0.01)
        for one, other, shape in zip(own, theirs, shapes, strict=True):
            gradient = normal(*shape, scale=10.0**-step, seed=step)
            one.grad = torch.empty_like(one).copy_(gradient)
            other.grad = one.grad.clone()
        optimizer.move()
        reference.step()
        follow(torch.tensor(0.3))
        for average, weight in zip(expected, theirs, strict=True):
            average.lerp_(weight.detach(), 0.3)
    assert optimizer._lists[0].tables is not None  # it was this kernel
    for found, wanted in zip([*own, *averages], [*theirs, *expected], strict=True):
        torch.testing.assert_close(found.detach(), wanted.detach(), rtol=1e-6, atol=1e-6)
