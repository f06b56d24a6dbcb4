"""Every configuration and every way to start a run: it is what was asked for, or it stops."""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import CHECKOUT, HANG, SMALL, Command, Ended, assert_refused
from tests.warm import begin

CONFIGS = CHECKOUT / "accelerate_configs"
NAMES = ("cpu", "cpu_2proc", "deepspeed_zero2", "fsdp", "multi_gpu", "multi_node", "single_gpu")
SCRIPTS = sorted((CHECKOUT / "launch").glob("*.sh"))
GPUS = torch.cuda.device_count()
ACCELERATE = ("-m", "accelerate.commands.launch")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
MULTI_CPU = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_CPU
use_cpu: true
num_machines: 1
num_processes: 2
mixed_precision: "no"
"""


def config(name: str) -> tuple[str, ...]:
    return (*ACCELERATE, "--config_file", str(CONFIGS / f"{name}.yaml"))


@dataclass(frozen=True)
class Start:
    """A way to start a run: what stands before the script, and what is in the environment."""

    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


ONE_MACHINE = ("--num_machines", "1", "--num_processes", "2", "--main_process_port", "{port}")
ON_CPU = {"ACCELERATE_USE_CPU": "1"}
STARTS = {
    "cpu": Start(config("cpu")),
    "cpu_2proc": Start(config("cpu_2proc")),
    "multi_node": Start((*config("multi_node"), *ONE_MACHINE), ON_CPU),
    "torchrun": Start(TORCHRUN, ON_CPU),
    "single_gpu": Start(config("single_gpu")),
    "multi_gpu": Start(config("multi_gpu")),
    "fsdp": Start(config("fsdp")),
    "fsdp on a CPU": Start(config("fsdp"), ON_CPU),
    "deepspeed_zero2": Start(config("deepspeed_zero2")),
    "--cpu": Start((*ACCELERATE, "--cpu", "--num_processes", "2")),
    "MULTI_CPU": Start((*ACCELERATE, "--config_file", "{multi_cpu}")),
    "torchrun without a GPU": Start(TORCHRUN),
}


@dataclass(frozen=True)
class Outcome:
    """How a start ended, and the folder it was to train in."""

    ended: Ended
    run: Path

    def assert_refused(self, *words: str) -> None:
        """An exit code, one message of ours with these words, and nothing left."""
        assert self.ended.code != 0, self.ended.out
        told = [line for line in self.ended.err.splitlines() if line.startswith("error: ")]
        assert len(told) == 1, self.ended.err
        for word in words:
            assert word in told[0]
        assert not self.run.exists()


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], shapes: Path
) -> Callable[[str], Outcome]:
    """How a start ended, by its name."""
    folder = tmp_path_factory.mktemp("starts")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "multi_cpu.yaml").write_text(MULTI_CPU)
    filled = {"port": port, "multi_cpu": folder / "multi_cpu.yaml"}
    bare = {name: told for name, told in environment.items() if not name.startswith("ACCELERATE_")}
    flags = ("--data", str(shapes), *SMALL, "--mixed-precision", "no", "--threads", "1")

    def outcome_of(name: str) -> Outcome:
        run = folder / name.replace(" ", "-")
        words = [word.format(**filled) for word in STARTS[name].words]
        script = str(CHECKOUT / "launch" / "train.py")
        started = begin(
            [sys.executable, *words, script, *flags, "--output", str(run)],
            folder,
            {**bare, **STARTS[name].environment},
        )
        out, err = started.communicate(timeout=HANG)
        return Outcome(Ended(started.wait(), out, err), run)

    return functools.cache(outcome_of)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "processes"),
    [("cpu", 1), ("cpu_2proc", 2), ("multi_node", 2), ("torchrun", 2), ("fsdp on a CPU", 2)],
)
def test_a_run_is_what_was_asked_for(
    name: str, processes: int, outcome: Callable[[str], Outcome]
) -> None:
    done = outcome(name)
    assert done.ended.code == 0, done.ended.err
    assert f"cpu x {processes}, precision no, capture off" in done.ended.out
    world = json.loads((done.run / "config.json").read_text())["world"]
    assert world.pop("library") in {"blas", "onednn"}
    assert world == {"device": "cpu", "processes": processes, "threads": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multi_node", "torchrun"])
def test_two_processes_train_the_same_whoever_starts_them(
    name: str, outcome: Callable[[str], Outcome]
) -> None:
    one, other = (outcome(start).run / "model.safetensors" for start in ("cpu_2proc", name))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(GPUS > 0, reason="there is a GPU")
@pytest.mark.parametrize("name", ["single_gpu", "multi_gpu", "fsdp"])
def test_without_a_gpu_what_needs_one_stops(name: str, outcome: Callable[[str], Outcome]) -> None:
    words = (f"{name}.yaml asked for GPUs, the run would be on the CPU", "cpu_2proc.yaml")
    outcome(name).assert_refused(*words)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["--cpu", "MULTI_CPU"])
def test_one_process_where_two_were_asked_for_stops(
    name: str, outcome: Callable[[str], Outcome]
) -> None:
    words = ("asked for 2 processes, the run has 1", "Accelerate starts one process for --cpu")
    outcome(name).assert_refused(*words, "accelerate_configs/cpu_2proc.yaml")


@pytest.mark.slow
@pytest.mark.skipif(GPUS > 0, reason="there is a GPU")
def test_torchrun_on_a_cpu_has_to_be_told_so(outcome: Callable[[str], Outcome]) -> None:
    words = ("torchrun asked for 2 processes, the run has 1", "no GPU", "ACCELERATE_USE_CPU=1")
    outcome("torchrun without a GPU").assert_refused(*words)


@pytest.mark.slow
def test_deepspeed_is_refused(outcome: Callable[[str], Outcome]) -> None:
    stopped = outcome("deepspeed_zero2")  # where its package is missing, by the launcher
    assert stopped.ended.code != 0
    assert "DeepSpeed" in stopped.ended.err
    assert not stopped.run.exists()


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("ACCELERATE_USE_DEEPSPEED", ("asked for DeepSpeed", "DDP", "multi_gpu.yaml")),
        ("ACCELERATE_USE_MEGATRON_LM", ("asked for Megatron-LM", "DDP", "multi_gpu.yaml")),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", ("parallelism_config", "DDP", "multi_gpu.yaml")),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", ("is 1", "Unset it", "--accumulate 1")),
    ],
)
def test_what_a_launcher_says_in_the_environment_is_heard(
    variable: str,
    words: tuple[str, ...],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    shapes: Path,
    here: Path,
) -> None:
    monkeypatch.setenv(variable, "1")
    assert_refused(command("train", "--data", shapes, *SMALL, "--output", "run"), *words)
    assert not (here / "run").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_says_when_to_use_it(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("# ")
    assert f"--config_file accelerate_configs/{name}.yaml" in " ".join(comment)
    assert yaml.safe_load(text)["num_processes"] >= 1
    assert f"`{name}.yaml`" in (CHECKOUT / "launch" / "README.md").read_text(encoding="utf-8")


def test_no_configuration_is_left_out() -> None:
    assert tuple(sorted(path.stem for path in CONFIGS.iterdir())) == NAMES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_sound(script: Path) -> None:
    checker = ["shellcheck"] if shutil.which("shellcheck") else ["bash", "-n"]
    ended = subprocess.run([*checker, script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"NNODES": "2"}, "MASTER_ADDR is not set"),
        ({"NNODES": "2", "MASTER_ADDR": "10.0.0.1", "NODE_RANK": "2"}, "count from 0"),
    ],
)
def test_machines_that_cannot_meet_are_refused(told: dict[str, str], words: str) -> None:
    ended = subprocess.run(
        [CHECKOUT / "launch" / "multi_node.sh"],
        env={"PATH": os.environ["PATH"], **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert words in ended.stderr
