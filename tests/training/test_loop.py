"""What a step sees, what it gives, and what the loop does with it."""

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from distvae.config import ModelConfig, TrainConfig
from distvae.data.batches import ResidentImages
from distvae.data.inputs import NoiseSource
from distvae.data.store import ImageData, open_data
from distvae.evaluation.elbo import BLOCK, elbo_metrics
from distvae.models import build_model
from distvae.objectives import Loss
from distvae.runs import checkpoints
from distvae.training.engine import Engine, build_accelerator, build_engine
from distvae.training.loop import train_step
from distvae.training.run import run_training
from distvae.training.update import Batch
from tests.conftest import CHECKOUT, TRAIN_IMAGES, Command

SMALL: dict[str, Any] = {"hidden": [16], "latent_dim": 3, "batch_size": 12, "log_every": 1}


@pytest.fixture
def settings(shapes: Path, here: Path) -> Callable[..., TrainConfig]:
    """Settings of a small run on the shapes."""

    def make(**changes: Any) -> TrainConfig:
        return TrainConfig().updated({"data": str(shapes), **SMALL, **changes}, "the test")

    return make


def lines(run: Path, split: str = "train") -> list[dict[str, Any]]:
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if line["split"] == split]


def losses(run: Path, split: str = "train") -> list[float]:
    return [line["loss"] for line in lines(run, split)]


def trained(config: TrainConfig, folder: Path) -> Path:
    """A run in this process."""
    assert run_training(config, folder, resume=False).finished
    return folder


@dataclasses.dataclass(frozen=True, eq=False)
class WatchedImages(ResidentImages):
    """Images that remember the rows they were asked for."""

    asked: list[Tensor] = dataclasses.field(default_factory=list)

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        self.asked.append(rows)
        return super().gather(rows)


@dataclasses.dataclass
class Watch:
    """What the steps of an engine saw."""

    engine: Engine
    latents: list[Tensor]
    pixels: list[Tensor]
    weights: list[float]
    rates: list[float]
    given: list[Loss]


def watched(config: TrainConfig, folder: Path) -> Watch:
    """An engine whose steps are written down."""
    data: ImageData = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(folder)))
    watch = Watch(engine, [], [], [], [], [])

    def update(
        step: int, batches: list[Batch], rate: float, kl: float, averaging: float
    ) -> list[Loss]:
        watch.latents += [batch.latent for batch in batches]
        watch.pixels += [batch.pixels for batch in batches if batch.pixels is not None]
        watch.weights.append(kl)
        watch.given += engine.update(step, batches, rate, kl, averaging)
        watch.rates.append(engine.stepped.param_groups[0]["lr"])
        return watch.given[-len(batches) :]

    seen = engine.train_images
    images = WatchedImages(seen.images, seen.labels, seen.device)
    watch.engine = dataclasses.replace(engine, update=update, train_images=images)
    return watch


def take_steps(watch: Watch, count: int) -> None:
    size = watch.engine.config.optim.batch_size
    for step in range(count):
        rows = torch.arange(step * size, (step + 1) * size) % TRAIN_IMAGES
        train_step(watch.engine, step, rows)


def test_accumulation_changes_neither_losses_nor_noise(
    settings: Callable[..., TrainConfig], here: Path
) -> None:
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


def test_two_processes_agree_with_one(
    settings: Callable[..., TrainConfig], shapes: Path, environment: dict[str, str], here: Path
) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", str(CHECKOUT / "launch" / "train.py")),
            *("--data", str(shapes), "--hidden", "16", "--latent-dim", "3", "--batch-size", "12"),
            *("--log-every", "1", "--max-steps", "30", "--clip", "40", "--accumulate", "2"),
            *("--output", "two"),
        ],
        cwd=here,
        env={**environment, "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("ConditionalVAE mlp") == 1
    assert ended.stdout.count("epoch 1/3") == 1
    assert ended.stdout.count("distvae sample two") == 1
    assert json.loads((here / "two" / "config.json").read_text())["world"]["processes"] == 2

    two, one = here / "two", trained(settings(max_steps=30, clip=40.0), here / "one")
    assert len(losses(two)) == 30
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert losses(two, "test") == pytest.approx(losses(one, "test"), rel=1e-6)
    weights, expected = (load_file(run / "model.safetensors") for run in (two, one))
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_batch_that_processes_cannot_share_is_refused(
    shapes: Path, environment: dict[str, str], here: Path
) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", str(CHECKOUT / "launch" / "train.py")),
            *("--data", str(shapes), "--batch-size", "15", "--output", "two"),
        ],
        cwd=here,
        env={**environment, "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stderr.count("error: --batch-size 15 cannot be shared equally by 2") == 1
    assert not list(here.iterdir())


def test_an_epoch_sees_no_image_twice(settings: Callable[..., TrainConfig], here: Path) -> None:
    from distvae.data.batches import epoch_order

    orders = [epoch_order(TRAIN_IMAGES, 0, epoch).tolist() for epoch in (0, 1)]
    watch = watched(settings(batch_size=16, accumulate=2), here)
    assert watch.engine.steps_per_epoch == TRAIN_IMAGES // 16
    for epoch, order in enumerate(orders):
        assert sorted(order) == list(range(TRAIN_IMAGES))
        asked = watch.engine.train_images.asked  # type: ignore[attr-defined]
        asked.clear()
        for batch in range(watch.engine.steps_per_epoch):
            rows = torch.tensor(order[16 * batch : 16 * (batch + 1)])
            train_step(watch.engine, epoch * 7 + batch, rows)
        seen = torch.cat(asked).tolist()
        assert len(seen) == len(set(seen)) == 112
    assert orders[0] != orders[1]


@pytest.mark.parametrize("size", [7, BLOCK, 2 * BLOCK + 203])
def test_evaluation_is_exact(size: int) -> None:
    config = ModelConfig(hidden=(16,), latent_dim=4, likelihood="bernoulli", prior="normal")
    torch.manual_seed(0)
    model = build_model(config, (1, 8, 8), ("a", "b", "c")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    images = torch.randint(0, 256, (size, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(size) % 3
    found = dict(
        elbo_metrics(
            model, ResidentImages(images, labels, torch.device("cpu")), "threshold", seed=5
        )
    )

    source = NoiseSource(5, "evaluation", 4, None, torch.device("cpu"))
    bounds, rates, means = [], [], []
    double = build_model(config, (1, 8, 8), ("a", "b", "c")).double().eval()
    double.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    for row in range(size):  # one image at a time
        noise = source.draw(row // BLOCK, BLOCK).latent[row % BLOCK].double()
        x = (images[row : row + 1] > 127).double()
        y = labels[row : row + 1]
        with torch.no_grad():
            raw = double.to_posterior(double.encoder(x, y))[0]
            mean, log_variance = raw[:4], raw[4:]
            z = mean + noise * (log_variance / 2).exp()
            logits = double.decoder(z[None], y).flatten()
        log_likelihood = (x.flatten() * logits - torch.nn.functional.softplus(logits)).sum()
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        rate = torch.distributions.kl_divergence(posterior, prior).sum()
        bounds.append(float(log_likelihood - rate))
        rates.append(float(rate))
        means.append(mean.numpy())
    assert found["elbo"] == pytest.approx(np.mean(bounds), rel=1e-6)
    assert found["rate"] == pytest.approx(np.mean(rates), rel=1e-5)
    assert found["distortion"] == pytest.approx(-np.mean(bounds) - np.mean(rates), rel=1e-6)
    error = np.std(bounds) / math.sqrt(size)
    assert found["elbo_standard_error"] == pytest.approx(error, rel=1e-4)
    assert found["bits_per_dim"] == pytest.approx(-np.mean(bounds) / 64 / math.log(2), rel=1e-6)
    assert found["active_units"] == (np.var(means, axis=0) > 0.01).sum()


def test_each_step_uses_its_learning_rate_and_kl_weight(
    settings: Callable[..., TrainConfig], here: Path
) -> None:
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
        bound = loss.distortion.mean() + weights[number // 2] * loss.rate.mean()
        assert loss.loss.item() == pytest.approx(bound.item(), rel=1e-5)


# What a step computes must not change by accident. Other processors round otherwise, hence 1e-4.
GOLDEN: dict[str, list[float]] = {
    "mlp cvae": [
        22.916353225708008, 18.02617645263672, 21.518884658813477, 21.33356285095215,
        23.152494430541992, 17.695476531982422, 20.02176856994629, 19.274456024169922,
        19.656530380249023, 22.376718521118164, 22.672183990478516, 20.286569595336914,
        18.89491081237793, 19.18568992614746, 21.730188369750977, 21.02381134033203,
        19.79305648803711, 19.935379028320312, 22.41130828857422, 19.88005828857422,
    ],
    "conv vae": [
        150.89576721191406, 134.34930419921875, 145.0730743408203, 140.06927490234375,
        147.6991729736328, 134.20953369140625, 136.4044189453125, 136.4915771484375,
        130.46188354492188, 139.6830291748047, 142.07127380371094, 133.03671264648438,
        125.1680679321289, 126.34355163574219, 134.02635192871094, 132.27249145507812,
        128.7021942138672, 124.90624237060547, 126.12419128417969, 123.3187484741211,
    ],
}  # fmt: skip
PINNED: dict[str, Any] = {
    "activation": "relu", "conditioning": "modulate", "start": "data_mean", "beta": 1.0,
    "learning_rate": 1e-3, "schedule": "constant", "warmup_epochs": 0.0, "clip": 40.0,
    "max_steps": 20, "seed": 3,
}  # fmt: skip
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp cvae": {"model": "cvae", "network": "mlp", "prior": "label"},
    "conv vae": {
        "model": "vae", "network": "conv", "prior": "normal", "width": 0.25, "activation": "silu",
        "likelihood": "discretized_logistic",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_losses(settings: Callable[..., TrainConfig], here: Path, name: str) -> None:
    config = settings(**{**PINNED, **NETWORKS[name]})
    assert losses(trained(config, here / "run")) == pytest.approx(GOLDEN[name], rel=1e-4)


def test_bf16_trains_with_a_float32_likelihood(
    settings: Callable[..., TrainConfig], here: Path
) -> None:
    config = settings(
        mixed_precision="bf16", learning_rate=0.01, batch_size=60, beta=0.1, schedule="constant"
    )
    watch = watched(config, here)
    outputs = []
    watch.engine.trained.model.decoder.register_forward_hook(
        lambda module, inputs, output: outputs.append(output.dtype)
    )
    take_steps(watch, 60)
    assert set(outputs) == {torch.bfloat16}
    for loss in watch.given:
        assert loss.loss.dtype == loss.distortion.dtype == loss.rate.dtype == torch.float32
        assert not torch.equal(loss.distortion, loss.distortion.bfloat16().float())
    told = [loss.loss.item() for loss in watch.given]
    assert np.mean(told[-10:]) < 0.8 * told[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU does fp16")
def test_fp16_without_a_gpu_is_refused(command: Command, shapes: Path, here: Path) -> None:
    ended = command("train", "--data", shapes, "--batch-size", 12, "--mixed-precision", "fp16")
    assert ended.code == 2
    assert "refuses --mixed-precision fp16" in ended.err
    assert "take bf16" in ended.err
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--learning-rate", "1e20"), ("step ", "last good checkpoint is none")),
        (("--learning-rate", "1e20", "--checkpoint-every", "1"), ("step ",)),
        (("--learning-rate", "1e20", "--ema", "0.99"), ("step ",)),
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
    ended = command("train", "--resume", run, "--epochs", 9, "--learning-rate", "1e20")
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


def test_early_stopping_stops(settings: Callable[..., TrainConfig], here: Path) -> None:
    config = settings(epochs=60, early_stopping=2, learning_rate=0.05, checkpoint_every=1000)
    run = trained(config, here / "run")
    told = losses(run, "test")
    assert len(told) < 60
    assert told.index(min(told)) == len(told) - 3
    assert checkpoints(run)[-1].name == f"step-{10 * len(told):08d}"
    sheets = sorted(path.name for path in (run / "samples").glob("epoch-*.png"))
    assert sheets[-1] == f"epoch-{len(told):04d}.png"


def test_metrics_have_a_line_for_every_step_and_the_promised_numbers(
    settings: Callable[..., TrainConfig], here: Path
) -> None:
    run = trained(settings(epochs=2, beta=0.5), here / "run")
    train, test = lines(run), lines(run, "test")
    assert [line["step"] for line in train] == list(range(1, 21))
    assert [line["step"] for line in test] == [10, 20]
    assert [line["epoch"] for line in test] == [1, 2]
    for line in train:
        assert set(line) == {
            *("step", "epoch", "split", "loss", "elbo", "distortion", "rate"),
            "images_per_second",
        }
        assert line["images_per_second"] > 0
    for line in test:
        assert {"loss", "elbo", "distortion", "rate", "bits_per_dim", "active_units"} <= set(line)
    for line in train + test:
        assert line["elbo"] == pytest.approx(-line["distortion"] - line["rate"])
        assert line["loss"] == pytest.approx(line["distortion"] + 0.5 * line["rate"], rel=1e-5)


def test_a_log_line_is_the_mean_of_its_steps(
    settings: Callable[..., TrainConfig], here: Path
) -> None:
    every = trained(settings(epochs=2), here / "every")
    fourth = trained(settings(epochs=2, log_every=4), here / "fourth")
    steps = losses(every)
    assert (
        {line["step"]: line["loss"] for line in lines(fourth)}
        == pytest.approx(
            {
                4: np.mean(steps[:4]),
                8: np.mean(steps[4:8]),
                10: np.mean(steps[8:10]),  # an evaluation closes the window
                12: np.mean(steps[10:12]),
                16: np.mean(steps[12:16]),
                20: np.mean(steps[16:20]),
            },
            rel=1e-5,
        )
    )


def test_tensorboard_gets_event_files(distvae: Command, shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    small = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--max-steps", "5")
    ended = distvae(
        "train", "--data", shapes, *small, "--tracker", "tensorboard", "--output", "run"
    )
    assert ended.code == 0, ended.err
    events = (tmp_path / "run").rglob("events.out.tfevents*")
    assert b"test/elbo" in b"".join(file.read_bytes() for file in events)


def test_an_unknown_tracker_is_refused(command: Command, shapes: Path, here: Path) -> None:
    ended = command("train", "--data", shapes, "--tracker", "tensorbord")
    assert ended.code == 2
    assert "Did you mean tensorboard?" in ended.err
    assert not list(here.iterdir())


def test_compiled_steps_agree_with_eager_ones(
    distvae: Command, settings: Callable[..., TrainConfig], shapes: Path, here: Path
) -> None:
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        pytest.skip("no C++ compiler")
    small = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--log-every", "1")
    flags = ("--max-steps", "12", "--clip", "40", "--compile", "on", "--output", "compiled")
    ended = distvae("train", "--data", shapes, *small, *flags)
    assert ended.code == 0, ended.err
    eager = trained(settings(max_steps=12, clip=40.0), here / "eager")
    assert losses(here / "compiled") == pytest.approx(losses(eager), rel=1e-3)
    assert losses(here / "compiled", "test") == pytest.approx(losses(eager, "test"), rel=1e-3)
