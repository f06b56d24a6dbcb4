"""A process in which something breaks: `python faulty.py FAULT train ...`, on rank 1 at STEP.

With `impatience` nothing does, but a process that lost another one is told to stop until it ends.
"""

import dataclasses
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from distvae.batch import Batch
from distvae.cli import run_and_exit
from distvae.config import TrainConfig
from distvae.objectives import Loss, Pressure
from distvae.training import engine, peers
from distvae.training.update import loss_function

STEP = 7
FAULT = sys.argv[1]
whole = loss_function


def broken(config: TrainConfig, device_type: str) -> Callable[[nn.Module, Batch, Pressure], Loss]:
    """The loss of a training step, with its fault."""
    loss_of, count = whole(config, device_type), -1  # DDP's first pass is no step

    def loss_here(model: nn.Module, batch: Batch, pressure: Pressure) -> Loss:
        nonlocal count
        count += 1
        loss: Loss = loss_of(model, batch, pressure)
        if count != STEP or os.environ["RANK"] != "1":
            return loss
        if FAULT == "loss":
            return dataclasses.replace(loss, loss=loss.loss * math.nan)
        parameter = max(model.parameters(), key=torch.numel)
        if FAULT == "gradient":
            parameter.register_hook(lambda gradient: gradient * math.nan)  # type: ignore[no-untyped-call]
        elif FAULT == "bit":
            with torch.no_grad():
                parameter.view(torch.int32)[0, 0] ^= 1
        elif FAULT == "exception":
            raise OverflowError("too much")
        return loss

    return loss_here


def told_to_stop(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, on whose call a launcher sends SIGTERM."""

    def call(*given: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return function(*given)

    return call


if FAULT == "impatience":  # when the session has ended, and before the message is printed
    for name in ("is_loss", "_let_go"):
        vars(peers)[name] = told_to_stop(vars(peers)[name])
else:
    vars(engine)["loss_function"] = broken
run_and_exit(sys.argv[2:])
