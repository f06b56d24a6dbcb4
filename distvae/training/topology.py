"""Whether a run got the processes, the device and the strategy that its launcher was asked for.

``accelerate launch`` drops some of that without a word: the number of processes next to ``--cpu``
or ``MULTI_CPU``, the CPU next to several processes, GPUs that are not there. What was asked is read
from the environment that launchers set, and from the command line of ``accelerate launch`` itself
where it is the parent of this process.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # Accelerate needs it too
import torch
from accelerate import Accelerator
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.commands.launch import launch_command_parser

from distvae.errors import DistvaeError

LAUNCHED = "ACCELERATE_MIXED_PRECISION"
"""Set by every ``accelerate launch``."""
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Set by torchrun and by MPI: all that Accelerate looks at."""
FSDP = "FSDP"
STRATEGIES = {
    "ACCELERATE_USE_FSDP": FSDP,
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
}
TYPES = {"FSDP": FSDP, "DEEPSPEED": "DeepSpeed", "MEGATRON_LM": "Megatron-LM", "XLA": "XLA"}
ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
TWO_ON_CPU = "accelerate launch --config_file accelerate_configs/cpu_2proc.yaml launch/train.py"


@dataclass(frozen=True)
class Asked:
    """What a launcher was asked for; None where that cannot be seen."""

    by: str
    """The launcher, and its configuration if it read one."""
    processes: int | None
    """On all machines together."""
    cpu: bool | None
    """True: the CPU. False: GPUs."""
    strategy: str | None
    """What is not plain data parallelism."""


def asked() -> Asked:
    """What the launcher of this process was asked for."""
    environment = os.environ
    found = [int(environment[name]) for name in WORLD_SIZES if name in environment]
    processes = max(found, default=None)
    cpu = True if _is_true("ACCELERATE_USE_CPU") else None
    strategy = next((name for variable, name in STRATEGIES.items() if _is_true(variable)), None)
    if LAUNCHED not in environment:
        return Asked("torchrun" if processes else "no launcher", processes, cpu, strategy)
    by = "accelerate launch"
    arguments = _launcher_arguments()
    if arguments is None:
        return Asked(by, processes, cpu, strategy)
    file, kind = arguments.config_file or default_config_file, ""
    if Path(file).is_file() and not (arguments.cpu and arguments.config_file is None):
        settings = load_config_from_file(file)
        by, kind = f"accelerate launch with {file}", settings.distributed_type.value
        arguments.num_processes = arguments.num_processes or settings.num_processes
        cpu = cpu or settings.use_cpu
    elif arguments.multi_gpu or arguments.use_fsdp or arguments.use_deepspeed:
        cpu = cpu or False
    flags = {FSDP: arguments.use_fsdp, "DeepSpeed": arguments.use_deepspeed}
    strategy = strategy or next((name for name in flags if flags[name]), TYPES.get(kind))
    return Asked(by, arguments.num_processes or processes or 1, arguments.cpu or cpu, strategy)


def check_asked() -> None:
    """Refuse what cannot be had here, before Accelerate looks for its packages and devices.

    Raises:
        DistvaeError: the launcher was asked for a strategy other than DDP and FSDP, or for more
            processes on this machine than it has GPUs.
    """
    wanted = asked()
    if wanted.strategy not in (None, FSDP):
        raise DistvaeError(
            f"{wanted.by} asked for {wanted.strategy}",
            "distvae trains by DDP, or by FSDP2: its optimizer is its own, and what replaces that "
            "cannot go on from its checkpoints",
            "Take accelerate_configs/multi_gpu.yaml, multi_node.yaml or fsdp.yaml.",
        )
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if wanted.cpu is not True and 0 < gpus < here:
        raise DistvaeError(
            f"{wanted.by} started {here} processes on a machine with {gpus} GPUs",
            "each needs one of its own",
            f"Start {gpus}: --num_processes, --nproc_per_node or $NPROC_PER_NODE says how many.",
        )


def check_topology(accelerator: Accelerator) -> None:
    """Stop a run that is not what its launcher was asked for.

    Raises:
        DistvaeError: it has another number of processes, it computes on a CPU where GPUs were asked
            for, or the environment changes how gradients are accumulated.
    """
    wanted, got = asked(), accelerator.num_processes
    on_cpu = accelerator.device.type == "cpu"
    if ACCUMULATION in os.environ:
        raise DistvaeError(
            f"${ACCUMULATION} is {os.environ[ACCUMULATION]}",
            "Accelerate would divide gradients by it, and distvae has its own setting",
            f"Unset it; micro-batches are asked for by --accumulate {os.environ[ACCUMULATION]}.",
        )
    if wanted.cpu is False and on_cpu:
        why = "none is visible to torch" if torch.version.cuda else "this torch is built without"
        raise DistvaeError(
            f"{wanted.by} asked for GPUs, the run would be on the CPU",
            why,
            "Look at what `nvidia-smi` and `python -m torch.utils.collect_env` say; to train on "
            "the CPU take accelerate_configs/cpu.yaml or cpu_2proc.yaml.",
        )
    # next to more than one process it sets this address, also where it starts one only
    dropped = LAUNCHED in os.environ and "MASTER_ADDR" in os.environ and wanted.processes is None
    if dropped or (wanted.processes or got) != got:
        if got > 1:
            why = "it counts the processes of all machines, and is a multiple of their number"
        elif any(name in os.environ for name in WORLD_SIZES):
            why = "torch sees no GPU, and without one each process would train a run of its own"
        else:
            why = "Accelerate starts one process for --cpu and for MULTI_CPU"
        raise DistvaeError(
            f"{wanted.by} asked for {wanted.processes or 'several'} processes, the run has {got}",
            why,
            f"On the CPU: {TWO_ON_CPU}; or set ACCELERATE_USE_CPU=1 and start it by torchrun.",
        )


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")


def _launcher_arguments() -> Any:
    """What the parent process was called with, if it is ``accelerate launch``, else None."""
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return None
    names = [Path(word).name.removesuffix(".exe") for word in words[:4]]
    for number, name in enumerate(names):
        follows_accelerate = number > 0 and names[number - 1] == "accelerate" and name == "launch"
        if follows_accelerate or name in ("accelerate-launch", "accelerate.commands.launch"):
            return launch_command_parser().parse_known_args(words[number + 1 :])[0]
    return None
