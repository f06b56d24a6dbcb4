"""Half precision and compilation change the speed, not what is learned."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distvae.checkpoint import Progress, load_checkpoint, save_checkpoint
from distvae.objectives import Pressure
from distvae.training.update import Batch
from tests.conftest import Command
from tests.training.conftest import Settings, lines, losses, take_steps, trained, watched
from tests.training.recorder import launch, refusals, seen

HALF = (torch.bfloat16, torch.float16)
NETWORK_CALLS = {"_to_copy", "view", "t", "addmm", "add", "addcmul", "silu"}
"""Layers, a label's scale and shift, activation, and the conversions to and from float32."""
SWEEP: dict[str, Any] = {
    "hidden": [16],
    "latent_dim": 3,
    "binarize": "dynamic",
    "batch_size": 24,
    "beta": 0.1,
    "epochs": 40,
    "max_steps": 200,
    "log_every": 1,
    "eval_every": 10,
    "sample_every": 40,
    "learning_rate": 0.01,
    "schedule": "constant",
    "ema": 0.9,
}


def test_bf16_trains_with_a_float32_likelihood(settings: Settings, here: Path) -> None:
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


class HalfPrecisionCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the operations that read or write half precision."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        touched = tree_leaves((args, kwargs, result))
        if any(isinstance(one, torch.Tensor) and one.dtype in HALF for one in touched):
            self.names.add(str(func.overloadpacket).removeprefix("aten."))
        return result


@pytest.mark.parametrize("prior", ["normal", "label"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized_logistic"])
def test_only_the_networks_compute_in_bf16(
    settings: Settings, here: Path, likelihood: str, prior: str
) -> None:
    watch = watched(settings(mixed_precision="bf16", likelihood=likelihood, prior=prior), here)
    engine = watch.engine
    noise = engine.noise.draw(0, 12)
    grey, labels = engine.train_images.gather(torch.arange(12))
    with HalfPrecisionCalls() as calls:
        engine.loss_of(engine.forward, Batch(grey, labels, *noise), Pressure(*torch.ones(2)))
    assert calls.names & {"addmm", "linear", "mm"}
    assert calls.names <= NETWORK_CALLS, "likelihood, KL and their sums take float32"


@pytest.fixture(scope="module")
def sweep(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], shapes: Path
) -> Path:
    """A run of 200 steps for each precision and number of processes."""
    root = tmp_path_factory.mktemp("sweep")
    for processes in (1, 2):
        runs = [
            {**SWEEP, "data": str(shapes), "mixed_precision": precision}
            | {"output": str(root / f"{precision}-{processes}")}
            for precision in ("fp16", "no", "bf16")
            if processes == 1 or precision != "no"
        ]
        launch(processes, runs, environment)
    return root


@pytest.mark.parametrize("processes", [1, 2])
def test_bf16_ends_where_float32_does(sweep: Path, processes: int) -> None:
    half, single = sweep / f"bf16-{processes}", sweep / "no-1"
    assert losses(half) == pytest.approx(losses(sweep / "bf16-1"), rel=0.02)
    assert losses(half) != losses(single)
    found, wanted = (lines(run, "test")[-1]["elbo"] for run in (half, single))
    assert lines(single, "test")[0]["elbo"] < wanted - 3, "it learns"
    assert found == pytest.approx(wanted, abs=0.3)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_processes_add_up_is_float32(sweep: Path, processes: int) -> None:
    ranks = seen(sweep / f"bf16-{processes}")
    assert len(ranks) == processes
    for rank in ranks:  # the terms of the loss and the gradients
        assert set(rank["dtypes"]) == {"torch.float32"}
        np.testing.assert_array_equal(rank["weights"], ranks[0]["weights"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU does fp16")
@pytest.mark.parametrize("processes", [1, 2])
def test_fp16_without_a_gpu_is_refused(sweep: Path, processes: int) -> None:
    told = refusals(sweep / f"fp16-{processes}")
    assert len(told) == processes
    for message in told:
        assert "refuses --mixed-precision fp16" in message
        assert "take bf16" in message
    assert not (sweep / f"fp16-{processes}").exists()


def test_the_gradient_scaler_goes_on_where_it_stopped(settings: Settings, here: Path) -> None:
    trained_here = watched(settings(), here).engine.trained
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    scaled_steps(scaler, [1.0, float("inf"), 1.0, 1.0])
    assert scaler.get_scale() == 2.0**9

    progress = Progress(step=4, scaler=scaler.state_dict())
    path = save_checkpoint(here / "run", trained_here, progress, keep=1)
    resumed = torch.amp.GradScaler("cpu")
    read = load_checkpoint(path, trained_here).scaler
    assert read is not None
    resumed.load_state_dict(read)

    assert resumed.state_dict() == scaler.state_dict()
    for one in (scaler, resumed):
        scaled_steps(one, [1.0])  # the third good one in a row, of which two came before
    assert resumed.get_scale() == scaler.get_scale() == 2.0**10


def scaled_steps(scaler: torch.amp.GradScaler, gradients: list[float]) -> None:
    """Optimizer steps on these gradients."""
    weight = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for gradient in gradients:
        scaler.scale(weight * gradient).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()


def test_compiled_steps_agree_with_eager_ones(
    distvae: Command, settings: Settings, shapes: Path, here: Path
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
