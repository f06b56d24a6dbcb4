"""What a step sees, what it gives, and what the loop does with it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from distvae.data.ahead import Epochs
from distvae.data.batches import ResidentImages, epoch_order
from distvae.data.loaded import LoadedImages
from distvae.runs import checkpoints
from distvae.training.advance import advance
from distvae.training.planning import make_plan
from tests.conftest import TRAIN_IMAGES, Command
from tests.training.conftest import Settings, losses, step_on, take_steps, trained, watched


def test_accumulation_changes_neither_losses_nor_noise(settings: Settings, here: Path) -> None:
    runs, noise = [], []
    for accumulate in (1, 2, 4):
        config = settings(accumulate=accumulate, epochs=3, clip=40.0, ema=0.9, beta=2.0)
        runs.append(losses(trained(config, here / str(accumulate))))
        watch = watched(config, here)
        take_steps(watch, 3)
        assert len(watch.latents) == 3 * accumulate
        noise.append((torch.cat(watch.latents), torch.cat(watch.pixels)))
    assert len(runs[0]) == 30
    for others, (latents, pixels) in zip(runs[1:], noise[1:], strict=True):
        assert others == pytest.approx(runs[0], rel=1e-5)
        assert torch.equal(latents, noise[0][0])
        assert torch.equal(pixels, noise[0][1])


def test_every_seed_of_the_range_is_a_run_of_its_own(settings: Settings, here: Path) -> None:
    found = []
    for seed in (-(2**63), -1, 0, 2**63 - 1):
        folder = here / str(seed)
        found.append(losses(trained(settings(seed=seed, max_steps=2), folder))[0])
        assert list((folder / "samples").iterdir())
    assert len(set(found)) == 4


def test_an_epoch_sees_no_image_twice(settings: Settings, here: Path) -> None:
    orders = [epoch_order(TRAIN_IMAGES, 0, epoch).tolist() for epoch in (0, 1)]
    watch = watched(settings(batch_size=16, accumulate=2), here)
    assert watch.engine.steps_per_epoch == TRAIN_IMAGES // 16
    for epoch, order in enumerate(orders):
        assert sorted(order) == list(range(TRAIN_IMAGES))
        asked = watch.engine.train_images.asked  # type: ignore[attr-defined]
        asked.clear()
        for batch in range(watch.engine.steps_per_epoch):
            rows = torch.tensor(order[16 * batch : 16 * (batch + 1)])
            step_on(watch.engine, epoch * 7 + batch, rows)
        seen = torch.cat(asked).tolist()
        assert len(seen) == len(set(seen)) == 112
    assert orders[0] != orders[1]


def test_images_that_come_ahead_train_the_same(settings: Settings, here: Path) -> None:
    engines = [watched(settings(batch_size=16, accumulate=2), here).engine for _ in range(2)]
    resident = engines[1].train_images
    assert isinstance(resident, ResidentImages)
    loaded = LoadedImages(resident, Epochs(TRAIN_IMAGES, 16, 0, 1), seed=0)
    engines[1] = dataclasses.replace(engines[1], train_images=loaded, order=loaded.rows)
    for engine in engines:
        for first, steps in ((0, 3), (3, 4), (7, 1), (8, 2)):  # an epoch has 7
            advance(engine, make_plan(engine, first, steps))
    loaded.close()
    weights = [list(engine.trained.model.parameters()) for engine in engines]
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


def test_each_step_uses_its_learning_rate_and_kl_weight(settings: Settings, here: Path) -> None:
    config = settings(
        epochs=4, schedule="cosine", warmup_epochs=0.5, learning_rate=0.01, beta=2.0,
        kl_warmup_epochs=1.5, kl_start=0.5, accumulate=2,
    )  # fmt: skip
    watch = watched(config, here)
    take_steps(watch, 40)
    weights = [0.5 + 1.5 * min(1.0, step / 15) for step in range(40)]
    rates = [
        0.01 * ((step + 1) / 6 if step < 5 else (1 + math.cos(math.pi * (step - 5) / 35)) / 2)
        for step in range(40)
    ]
    assert watch.weights == pytest.approx(weights, rel=1e-6)
    assert watch.rates == pytest.approx(rates, rel=1e-6)
    for number, loss in enumerate(watch.given):
        bound = loss["distortion"] + weights[number // 2] * loss["rate"]
        assert loss["loss"] == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--learning-rate", "1e15"), ("step ", "last good checkpoint is none")),
        (("--learning-rate", "1e15", "--checkpoint-every", "1"), ("step ",)),
        (("--learning-rate", "1e15", "--ema", "0.99"), ("step ",)),
        (
            ("--likelihood", "gaussian", "--learning-rate", "30"),
            ("step ", "distortion", "rate", "nats"),
        ),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run(
    command: Command, shapes: Path, here: Path, flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    small = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12")
    ended = command("train", "--data", shapes, *small, "--output", "run", *flags)
    assert ended.code == 2, ended.out
    assert ended.err.startswith("error: the ")
    assert ended.err.count("\n") == 1
    assert all(word in ended.err for word in words), ended.err
    for path in (here / "run").rglob("*.safetensors"):
        assert all(np.isfinite(tensor).all() for tensor in load_file(path).values()), path


def test_the_last_good_checkpoint_is_named_and_good(run: Path, command: Command) -> None:
    good = checkpoints(run)[-1]
    ended = command("train", "--resume", run, "--epochs", 9, "--learning-rate", "1e15")
    assert ended.code == 2
    assert f"the last good checkpoint is {good}" in ended.err
    ended = command("train", "--resume", run, "--epochs", 4, "--learning-rate", "1e-3")
    assert ended.code == 0, ended.err
    assert "(step 18)" in ended.out


def test_a_collapse_is_told(command: Command, shapes: Path) -> None:
    small = ("--hidden", "16", "--latent-dim", "4", "--batch-size", "12", "--epochs", "8")
    steady = ("--learning-rate", "0.01", "--output")
    ended = command("train", "--data", shapes, *small, *steady, "dead", "--beta", "100")
    assert ended.code == 0, ended.err
    assert ended.out.count("of 4 latents are active") == 1
    assert "--free-bits" in ended.out
    ended = command("train", "--data", shapes, *small, *steady, "alive", "--beta", "0.01")
    assert "active 4/4" in ended.out.partition("epoch 8/8")[2]
    assert "latents are active" not in ended.out
