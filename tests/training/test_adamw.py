"""The optimizer's step against torch's own, by autograd and as a compiled step writes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distvae.training import update, whole_step
from distvae.training.engine import Engine
from distvae.training.plan import Scales
from tests.training.conftest import Settings
from tests.training.test_advance import FACTOR, built

STEPS, RATE = 6, 0.01
Move = Callable[[list[Tensor], int], None]
"""(gradients of a player, its step, from 1) -> its weights changed."""


def moved(engine: Engine, player: str, move: Move) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of a player after some steps on random gradients: moved, and by torch's AdamW."""
    own = engine.wrapped.parameters(player)
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in own]
    groups: list[dict[str, Any]] = []
    start = 0
    for group in engine.wrapped.optimizer.groups(player):
        part = copies[start : start + len(group["params"])]
        own_rate = {"lr": RATE * group["factor"], "weight_decay": group["weight_decay"]}
        groups.append({"params": part, "betas": group["betas"], **own_rate})
        start += len(part)
    adamw = torch.optim.AdamW(groups, eps=engine.config.optim.adam_eps)
    generator = torch.Generator().manual_seed(5)
    for step in range(1, STEPS + 1):
        for copy in copies:
            copy.grad = torch.randn(copy.shape, generator=generator)
        gradients = [copy.grad.clone() for copy in copies if copy.grad is not None]
        assert engine.wrapped.clip is not None
        nn.utils.clip_grad_norm_(copies, engine.wrapped.clip)
        adamw.step()
        move(gradients, step)
    return [one.detach() for one in own], [one.detach() for one in copies]


def by_autograd(engine: Engine, player: str) -> Move:
    wrapped = engine.wrapped

    def move(gradients: list[Tensor], step: int) -> None:
        for parameter, gradient in zip(wrapped.parameters(player), gradients, strict=True):
            parameter.grad = gradient
        update._settle_gradients((player,), wrapped)
        update._clip_gradients((player,), wrapped)
        for group in wrapped.optimizer.groups(player):
            group["lr"] = torch.tensor(RATE * group["factor"], dtype=torch.float64)
        wrapped.optimizer.move()
        wrapped.optimizer.zero_grad()

    return move


def as_compiled(engine: Engine, player: str) -> Move:
    wrapped = engine.wrapped
    weights = [parameter.detach() for parameter in wrapped.parameters(player)]
    change = whole_step._change(wrapped, player, weights)
    beta1, beta2 = wrapped.optimizer.groups(player)[0]["betas"]

    def move(gradients: list[Tensor], step: int) -> None:
        numbers = RATE, 1 / (1 - beta1**step), 1 / (1 - beta2**step)
        change(gradients, Scales(*map(torch.tensor, numbers)), None)

    return move


def weights(engine: Engine, player: str) -> list[Tensor]:
    return [parameter.detach() for parameter in engine.wrapped.parameters(player)]


@pytest.mark.parametrize("kind", ["autograd", "a loop a tensor", "a kernel for all"])
def test_a_step_is_that_of_plain_adamw(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of each player alone, with its betas, rates, decays and norms; the others stand still."""
    if kind == "a kernel for all":  # as on a GPU
        on_gpu = [torch.empty(1, device="meta")]
        monkeypatch.setattr(
            whole_step,
            "together",
            lambda tensors, paces: update.together(on_gpu * len(tensors), paces),
        )
    labelled = {"model": "cvae", "prior": "label", "weight_decay": 0.1, "clip": 3.0}
    for changes in (labelled, {**FACTOR, "weight_decay": 0.1, "clip": 3.0}):
        engine = built(settings(**changes), here)
        optimizer, players = engine.wrapped.optimizer, engine.training.objective.players
        assert len(optimizer.param_groups) == 2
        for count, player in enumerate(players):
            kept = [w.clone() for name in players if name != player for w in weights(engine, name)]
            make = by_autograd if kind == "autograd" else as_compiled
            found, expected = moved(engine, player, make(engine, player))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
            others = [w for name in players if name != player for w in weights(engine, name)]
            for one, other in zip(others, kept, strict=True):
                assert torch.equal(one, other)
            assert list(optimizer.counts().values()).count(STEPS) == count + 1


def test_tensors_of_one_pace_change_together_on_a_gpu() -> None:
    on_gpu, on_cpu = torch.empty(4, device="meta"), torch.empty(4)
    paces = [(1.0, 0.1), (1.0, 0.1), (2.0, 0.1)]
    assert update.together([on_gpu] * 3, paces) == [slice(0, 2), slice(2, 3)]
    assert update.together([on_gpu] * 3) == [slice(0, 3)]
    assert update.together([on_cpu] * 3, paces) == [slice(0, 1), slice(1, 2), slice(2, 3)]
