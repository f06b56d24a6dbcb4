"""Accelerate for a run: processes, device and precision."""

import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    patch_environment,
)

from distvae.config import TrainConfig
from distvae.errors import DistvaeError, LostError
from distvae.tensor_cores import multiply_in
from distvae.training.peers import is_loss
from distvae.training.topology import asked

GRADIENTS = DistributedDataParallelKwargs()
"""How processes average their gradients."""


def build_accelerator(config: TrainConfig, project_folder: str) -> Accelerator:
    """Accelerate for these settings.

    Raises:
        DistvaeError: the device cannot do the precision or the products asked for, or a tracker is
            not installed.
        LostError: not all processes came.
    """
    optim = config.optim
    wait = InitProcessGroupKwargs(timeout=timedelta(seconds=config.run.timeout))
    try:
        with patch_environment(ACCELERATE_USE_FSDP="false"):  # distvae shards the model itself
            accelerator = Accelerator(
                cpu=asked().cpu is True,  # a launcher of several processes drops use_cpu
                mixed_precision="fp16" if optim.mixed_precision == "fp16" else "no",
                gradient_accumulation_steps=optim.accumulate,
                log_with=list(config.run.tracker) or None,
                project_dir=project_folder,
                kwargs_handlers=[GRADIENTS, wait],
            )
        _check_precision(optim.mixed_precision, accelerator.device.type)
        multiply_in(optim.matmul, accelerator.device)  # Accelerate may have set it otherwise
        # or gradients of convolutions are added up in an order that differs from run to run
        torch.backends.cudnn.deterministic = True
        return accelerator
    except RuntimeError as error:
        if not is_loss(error):
            raise
        rank = os.environ.get("RANK", "0")
        raise LostError(
            f"rank {rank} did not come together with the others within "
            f"--timeout {config.run.timeout}",
            str(error).splitlines()[0],
            "Start all of them, with one MASTER_ADDR and MASTER_PORT that no other run uses.",
            tells=True,  # nobody knows who else is there
        ) from error
    except (ValueError, ImportError) as error:
        raise DistvaeError(
            f"Accelerate refuses --mixed-precision {optim.mixed_precision} with trackers "
            f"{list(config.run.tracker)} on this machine",
            str(error),
            "fp16 needs a GPU: take bf16 or no. A tracker needs its package: pip install it.",
        ) from error


def _check_precision(precision: str, device_type: str) -> None:
    if precision == "fp16" and device_type == "cpu":
        raise ValueError("on a CPU it would compute in float32 all the same")
    if precision == "bf16" and device_type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("this GPU has no bf16")
