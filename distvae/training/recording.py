"""Whether the steps of a run are captured, and why not."""

import dataclasses

import torch

from distvae.training.capture import CudaRecorder, Graphs, Recorder, refusal
from distvae.training.decided import Decided
from distvae.training.engine import Engine
from distvae.training.repeating import OperationRecorder
from distvae.training.sharding import is_sharded
from distvae.training.world import gathered

CAPTURE = "capture"
"""Under this key config.json holds the decision."""
ON, OFF = "on", "off"
FEW_STEPS = 300
"""A recording on a CPU takes as long as some steps and a tenth of a second, which so many save."""


class Captured(Decided):
    """Whether steps are captured, and why not."""


def recorder_of(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where they are never recorded."""
    if device.type == "cpu":
        return OperationRecorder()
    return CudaRecorder() if device.type == "cuda" else None


def captured(engine: Engine) -> tuple[Engine, Captured]:
    """The engine with its steps captured, where its settings ask for it and nothing is in the way.

    A captured step computes what its program would, so a run that is gone on with decides anew.

    Args:
        engine: compiled or not, as it will train.

    Raises:
        DistvaeError: ``--capture on``, and something is in the way.
    """
    asked = engine.config.optim.capture
    if asked == OFF:
        return engine, Captured(asked, OFF)
    device = engine.accelerator.device
    recorder = recorder_of(device)
    why = "; ".join(reasons_against(engine))
    if recorder is None:
        why = "; ".join(filter(None, ["there is no way to record steps of this device", why]))
    if recorder is None or why:
        if asked == ON:
            raise refusal(why)
        return engine, Captured(asked, OFF, why)

    def agreed(own: str) -> str:
        return next(filter(None, gathered(engine.accelerator, own)), "")

    graphs = Graphs(recorder, asked == ON, agreed)
    return dataclasses.replace(engine, graphs=graphs), Captured(asked, ON)


def reasons_against(engine: Engine) -> list[str]:
    """Why the steps of a run are not captured, as far as it can be told beforehand."""
    insists = engine.config.optim.capture == ON
    return obstacles(engine, engine.accelerator.device.type) if insists else unusual(engine)


def unusual(engine: Engine) -> list[str]:
    """The same where nobody insists, whatever was asked for."""
    kind = engine.accelerator.device.type
    return obstacles(engine, kind) + (_not_worth_it(engine) if kind == "cpu" else [])


def _not_worth_it(engine: Engine) -> list[str]:
    """Why a recording on a CPU may save less than it takes."""
    found = {
        f"fewer than {FEW_STEPS} steps do not repay the recording": engine.total_steps < FEW_STEPS,
        "on a CPU only dense networks were measured to gain": (
            engine.trained.model.config.network != "mlp"
        ),
    }
    return [reason for reason, there in found.items() if there]


def obstacles(engine: Engine, device_type: str) -> list[str]:
    """What of a step cannot be captured on such a device."""
    accelerator, objective = engine.accelerator, engine.training.objective
    name, on_cpu = engine.config.objective.objective, device_type == "cpu"
    found = {
        "a CPU cannot repeat a loss that is compiled apart from its step, as of micro-batches": (
            on_cpu and engine.config.optim.compile == "on" and len(engine.shards) > 1
        ),
        "several processes average gradients while autograd makes them": (
            on_cpu and accelerator.num_processes > 1
        ),
        f"{engine.trained.model.domain.examples} come from the host step by step": (
            engine.host_bound and not on_cpu
        ),
        "FSDP2 gathers weights in ways that were never captured": is_sharded(
            engine.wrapped.forward
        ),
        "the scaler of fp16 asks after each step whether it counts": accelerator.scaler is not None,
        f"--objective {name} reads the device in a step": not objective.captures,
    }
    return [reason for reason, there in found.items() if there]
