"""Whether the steps of a run are captured, and why not."""

import dataclasses
from dataclasses import dataclass

import torch

from distvae.training.capture import CudaRecorder, Graphs, Recorder, refusal
from distvae.training.engine import Engine
from distvae.training.sharding import is_sharded
from distvae.training.world import gathered

CAPTURE = "capture"
"""Under this key config.json holds the decision."""
ON, OFF = "on", "off"


@dataclass(frozen=True)
class Captured:
    """Whether steps are captured, and why not."""

    asked: str
    taken: str
    why: str = ""
    """What ``auto`` found in the way."""

    def recorded(self) -> dict[str, str]:
        """As it stands in config.json."""
        return {"asked": self.asked, "taken": self.taken, "why": self.why}

    def __str__(self) -> str:
        return f"{self.taken} ({self.asked}: {self.why})" if self.why else self.taken


def recorder_of(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where they are never recorded."""
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
    recorder = recorder_of(engine.accelerator.device)
    why = "; ".join(obstacles(engine))
    if recorder is None:
        why = "; ".join(filter(None, ["only CUDA has graphs of kernels", why]))
    if recorder is None or why:
        if asked == ON:
            raise refusal(why)
        return engine, Captured(asked, OFF, why)

    def agreed(own: str) -> str:
        return next(filter(None, gathered(engine.accelerator, own)), "")

    graphs = Graphs(recorder, asked == ON, agreed)
    return dataclasses.replace(engine, graphs=graphs), Captured(asked, ON)


def obstacles(engine: Engine) -> list[str]:
    """What of a step cannot be captured on any device."""
    accelerator, objective = engine.accelerator, engine.training.objective
    name = engine.config.objective.objective
    found = {
        f"{engine.trained.model.domain.examples} come from the host step by step": (
            engine.host_bound
        ),
        "FSDP2 gathers weights in ways that were never captured": is_sharded(
            engine.wrapped.forward
        ),
        "the scaler of fp16 asks after each step whether it counts": accelerator.scaler is not None,
        f"--objective {name} reads the device in a step": not objective.captures,
    }
    return [reason for reason, there in found.items() if there]
