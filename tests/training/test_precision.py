"""Half precision and compilation change the speed, not what is learned."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distvae.batch import Batch
from distvae.checkpoint import Progress, load_checkpoint, save_checkpoint
from distvae.conditions import Conditions
from distvae.files import write_json
from distvae.objectives import OBJECTIVES, Pressure
from distvae.platform import multiplies
from distvae.recipes import launched_with
from distvae.runs import checkpoints
from distvae.training import own_product, precision
from distvae.training.precision import FEWEST_STEPS, decided, without_timing
from distvae.training.probing import step_seconds
from distvae.training.products import OWN
from tests.conftest import SMALL, Command, assert_refused
from tests.spaces import ABOUT_LABELS
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
    outputs, losses = [], []
    watch.engine.training.register_forward_hook(
        lambda module, inputs, loss: losses.append(loss.detach())
    )
    watch.engine.trained.model.decoder.register_forward_hook(
        lambda module, inputs, output: outputs.append(output.dtype)
    )
    take_steps(watch, 60)
    assert set(outputs) == {torch.bfloat16}
    for loss in losses:
        assert loss.loss.dtype == loss.distortion.dtype == loss.rate.dtype == torch.float32
        assert not torch.equal(loss.distortion, loss.distortion.bfloat16().float())
    told = [found["loss"] for found in watch.given]
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
    noise = engine.noise.draw(0, slice(0, 12))
    grey, labels, _ = engine.train_images.gather(torch.arange(12))
    with HalfPrecisionCalls() as calls:
        engine.loss_of(
            engine.wrapped.forward,
            Batch(grey, Conditions.of_labels(labels), *noise),
            Pressure(*torch.ones(2)),
        )
    assert calls.names & {"addmm", "linear", "mm"}
    assert calls.names <= NETWORK_CALLS, "likelihood, KL and their sums take float32"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_are_float32_under_bf16(settings: Settings, here: Path, objective: str) -> None:
    model = "cvae" if objective in ABOUT_LABELS else "vae"
    changes = {"objective": objective, "prior": "normal", "model": model, "mixed_precision": "bf16"}
    engine = watched(settings(**changes), here).engine
    (batch,) = engine.batches(0, torch.arange(12))
    loss = engine.loss_of(engine.wrapped.forward, batch, Pressure(*torch.ones(3)))
    terms = [loss.loss, loss.distortion, loss.rate, *loss.extras.values()]
    assert {term.dtype for term in terms} == {torch.float32}


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the variables below are for x86"
)
def test_without_bf16_instructions(
    distvae: Command,
    command: Command,
    environment: dict[str, str],
    shapes: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(environment, "ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setitem(environment, "ATEN_CPU_CAPABILITY", "avx2")
    flags = ("train", "--data", shapes, *FLAGS, "--max-steps", 20)
    ended = distvae(*flags, "--output", "run")
    assert ended.code == 0, ended.err
    assert "precision no (auto: there is no bf16 arithmetic here)" in ended.out
    assert distvae(*flags, "--mixed-precision", "no", "--output", "no").code == 0
    one, other = (here / name / "model.safetensors" for name in ("run", "no"))
    assert one.read_bytes() == other.read_bytes()

    ended = distvae(*flags, "--mixed-precision", "bf16", "--max-steps", 2, "--output", "bf16")
    assert ended.code == 0, ended.err
    assert "precision bf16, " in ended.out
    assert "emulated on this machine: a step takes " in ended.out

    # elsewhere it goes on in what was decided
    ended = command("train", "--resume", "run", "--max-steps", 21)
    assert ended.code == 0, ended.err
    assert "precision no (auto: there is no bf16 arithmetic here)" in ended.out
    record = json.loads((here / "run" / "config.json").read_text())
    assert (record["precision"]["asked"], record["precision"]["taken"]) == ("auto", "no")
    assert record["settings"]["mixed_precision"] == "no"


FLAGS = ("--hidden", 16, "--latent-dim", 3, "--batch-size", 12, "--epochs", 60, "--eval-every", 60)


@pytest.mark.slow
@pytest.mark.parametrize(("margin", "taken"), [(0.0, "bf16"), (float("inf"), "no")])
def test_auto_takes_what_is_faster(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch, margin: float, taken: str
) -> None:
    # on a processor without bf16 too, where the clock would say no
    monkeypatch.setattr(precision, "native_bf16", lambda device_type: True)
    monkeypatch.setattr(precision, "MARGIN", margin)
    long = {"epochs": 60, "eval_every": 60, "sample_every": 60, "log_every": 50}
    auto = trained(settings(mixed_precision="auto", **long), here / "auto")
    record = json.loads((auto / "config.json").read_text())
    assert record["precision"]["asked"] == "auto"
    assert record["precision"]["taken"] == record["settings"]["mixed_precision"] == taken
    assert "times as fast" in record["precision"]["why"]
    AcceleratorState._reset_state(reset_partial_state=True)
    named = trained(settings(mixed_precision=taken, **long), here / "named")
    for name in ("model.safetensors", "checkpoints/step-00000600/optimizer.safetensors"):
        assert (auto / name).read_bytes() == (named / name).read_bytes()


def test_a_short_run_is_not_timed(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "native_bf16", lambda device_type: True)
    monkeypatch.setattr(precision, "MARGIN", 0.0)
    for steps, taken in ((FEWEST_STEPS - 1, "no"), (FEWEST_STEPS, "bf16")):
        config = settings(mixed_precision="auto", epochs=100, max_steps=steps)
        engine, decision = decided(watched(config, here).engine)
        assert decision.taken == engine.config.optim.mixed_precision == taken
        assert ("too few to time" in decision.why) == (taken == "no")


@pytest.mark.parametrize(
    "changes",
    [{"ema": 0.9, "accumulate": 2}, {"objective": "factor", "model": "vae", "prior": "normal"}],
)
def test_timed_steps_leave_no_trace(
    settings: Settings, here: Path, changes: dict[str, Any]
) -> None:
    watch = watched(settings(**changes), here)
    take_steps(watch, 3)
    engine, optimizer = watch.engine, watch.engine.trained.optimizer
    modules = [engine.training, engine.trained.averaged]

    def tensors() -> list[torch.Tensor]:
        states = [*(module.state_dict() for module in modules if module), *optimizer.state.values()]
        return [value.clone() for state in states for value in state.values()]

    before = tensors()
    (seconds,) = step_seconds([engine])
    assert seconds > 0
    assert len(watch.given) > 3
    for one, other in zip(before, tensors(), strict=True):
        assert torch.equal(one, other)
    assert all(parameter.grad is None for parameter in engine.training.parameters())


@pytest.mark.parametrize(("told", "asked"), [(None, "auto"), ("no", "auto"), ("bf16", "bf16")])
def test_what_a_launcher_was_told(
    told: str | None, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if told is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", told)
    assert launched_with().optim.mixed_precision == asked


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


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_bf16_ends_where_float32_does(sweep: Path, processes: int) -> None:
    half, single = sweep / f"bf16-{processes}", sweep / "no-1"
    assert losses(half) == pytest.approx(losses(sweep / "bf16-1"), rel=0.02)
    assert losses(half) != losses(single)
    found, wanted = (lines(run, "test")[-1]["elbo"] for run in (half, single))
    assert lines(single, "test")[0]["elbo"] < wanted - 1, "it learns"
    assert found == pytest.approx(wanted, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_what_processes_add_up_is_float32(sweep: Path, processes: int) -> None:
    ranks = seen(sweep / f"bf16-{processes}")
    assert len(ranks) == processes
    for rank in ranks:  # the terms of the loss and the gradients
        assert set(rank["dtypes"]) == {"torch.float32"}
        np.testing.assert_array_equal(rank["weights"], ranks[0]["weights"])


@pytest.mark.slow
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


FACTOR: dict[str, Any] = {
    "objective": "factor",
    "model": "vae",
    "prior": "normal",
    "discriminator": [8],
    "discriminator_steps": 2,
    "discriminator_betas": [0.5, 0.9],
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, FACTOR], ids=["one player", "two players"])
def test_compiled_steps_agree_with_eager_ones(
    distvae: Command, settings: Settings, shapes: Path, here: Path, changes: dict[str, Any]
) -> None:
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        pytest.skip("no C++ compiler")
    small = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--log-every", "1")
    cache = ("--cache-dir", "cache")
    flags = ("--max-steps", "12", "--clip", "40", "--compile", "on", "--output", "compiled", *cache)
    kept = ("--capture", "on", "--checkpoint-every", "7", "--keep", "2")
    (here / "recipe.yaml").write_text(json.dumps(changes))
    ended = distvae("train", "--config", "recipe.yaml", "--data", shapes, *small, *flags, *kept)
    assert ended.code == 0, ended.err
    assert "Warning" not in ended.err + ended.out
    eager = trained(settings(max_steps=12, clip=40.0, **changes), here / "eager")
    assert losses(here / "compiled") == pytest.approx(losses(eager), rel=1e-3)
    assert losses(here / "compiled", "test") == pytest.approx(losses(eager, "test"), rel=1e-3)
    if changes or not own_product.usable():
        return
    (choice,) = [
        path for path in (here / "cache/products").iterdir() if '"other"' in path.read_text()
    ]
    own = json.loads(choice.read_text())["library"] == OWN
    assert own_products(here / "compiled") == own == ("ones by distvae" in words(ended.out))
    write_json(choice, {"library": multiplies() if own else OWN, "seconds": {}})
    recorded = losses(here / "compiled")
    shutil.rmtree(checkpoints(here / "compiled")[-1])
    resumed = distvae("train", "--resume", "compiled", "--capture", "off", *cache)
    assert resumed.code == 0, resumed.err
    assert own_products(here / "compiled") == own
    assert losses(here / "compiled") == recorded, "recorded or not"


def own_products(run: Path) -> bool:
    world: dict[str, Any] = json.loads((run / "config.json").read_text())["world"]
    return bool(world.get("own_products", False))


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("device", "native", "taken"),
    [("cuda", True, "bf16"), ("cuda", False, "no"), ("cpu", False, "no"), ("cpu", True, None)],
)
def test_what_is_known_without_timing(device: str, native: bool, taken: str | None) -> None:
    known = without_timing(device, native)
    assert (known and known[0]) == taken


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may do tf32")
def test_tf32_without_a_gpu(command: Command, shapes: Path, here: Path) -> None:
    flags = ("train", "--data", shapes, *SMALL)
    told = command(*flags, "--matmul", "tf32", "--output", "run")
    assert_refused(told, "the device is a CPU", "compute capability 8.0", "--matmul float32")
    assert not (here / "run").exists()
    assert command(*flags, "--output", "run").code == 0
    path = here / "run" / "config.json"
    record = json.loads(path.read_text())
    assert record["settings"]["matmul"] == "float32"
    # as if it came from a machine with a GPU
    record["settings"]["matmul"] = "tf32"
    del record["sha256"]
    path.write_text(json.dumps(record))
    told = command("evaluate", "run", "--metrics", "elbo")
    assert told.code == 0, told.err
    assert "trained with --matmul tf32, measured in float32" in told.out
    told = command("train", "--resume", "run", "--max-steps", 4)
    assert_refused(told, "--matmul tf32", "--matmul float32")
    assert command("train", "--resume", "run", "--max-steps", 4, "--matmul", "float32").code == 0


SWITCH = """
import torch
from distvae.platform import prepare
from distvae.tensor_cores import _switch
prepare(1)
matrices = torch.backends.mkldnn.matmul.fp32_precision
cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
for on in (False, True, True, False):
    _switch(on)
    for switch in (cuda, cudnn.conv, cudnn.rnn):
        assert (switch.fp32_precision == "tf32") == on
    # what reads the older switches, as TorchDynamo does, must not find them at odds
    assert (cuda.allow_tf32, cudnn.allow_tf32) == (on, on)
    assert torch.backends.mkldnn.matmul.fp32_precision == matrices, "a CPU's are its own"
"""


def test_the_switches_of_both_kinds_agree() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", SWITCH], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
