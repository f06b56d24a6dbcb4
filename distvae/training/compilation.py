"""Whether and how a step is compiled."""

import dataclasses
import os
import shutil
import time

import torch
from accelerate.utils import broadcast_object_list

from distvae.errors import DistvaeError
from distvae.objectives import Pressure
from distvae.training.engine import Engine
from distvae.training.optimizer import OneCallAdamW
from distvae.training.update import Batch, Update, autograd_update, compiled_update

COMPILE_SECONDS = 40.0
"""What a cold compilation takes, forward and backward, on two cores."""
SAVED_SHARE = 0.2
"""Share of an eager step's time that compiling saves, at the least worth counting on."""
PROBE_STEPS = 8


def compiled(engine: Engine) -> Engine:
    """The engine with its step compiled, if its settings ask for it or, on ``auto``, if it pays.

    What was decided stands in the engine's settings, so that a resumed run does the same.

    Raises:
        DistvaeError: ``--compile on`` without a compiler.
    """
    choice = engine.config.optim.compile
    if choice == "auto":
        able = engine.training.objective.compiles and _has_compiler(engine)
        choice = "on" if able and _pays(engine) else "off"
    elif choice == "on" and not _has_compiler(engine):
        raise DistvaeError(
            "--compile on finds no C++ compiler",
            "expected g++, clang++ or the one named by $CXX",
            "Install one, or take --compile off.",
        )
    config = engine.config.updated({"compile": choice}, "--compile auto")
    if choice == "off":
        return dataclasses.replace(engine, config=config)
    return dataclasses.replace(engine, config=config, update=_compiled_update(engine))


def _compiled_update(engine: Engine) -> Update:
    """The whole step as one graph where one process takes it at once, else the loss alone."""
    accelerator, trained, clip = engine.accelerator, engine.trained, engine.config.optim.clip
    alone = accelerator.num_processes == 1 and len(engine.shards) == 1
    if alone and isinstance(trained.optimizer, OneCallAdamW):
        return compiled_update(
            accelerator, engine.training, trained.optimizer, trained, engine.loss_of, clip
        )
    loss_of = torch.compile(engine.loss_of, dynamic=False)
    return autograd_update(accelerator, engine.forward, engine.stepped, trained, loss_of, clip)


def _has_compiler(engine: Engine) -> bool:
    if engine.accelerator.device.type != "cpu":
        return True
    names = (os.environ.get("CXX"), "g++", "clang++")
    return any(name and shutil.which(name) for name in names)


def _pays(engine: Engine) -> bool:
    """Whether the steps of the whole run, timed on a few, outweigh the compilation."""
    total = engine.total_steps * _seconds_per_step(engine)
    answer = [total * SAVED_SHARE > COMPILE_SECONDS]
    broadcast_object_list(answer)  # every process must do the same
    return answer[0]


def _seconds_per_step(engine: Engine) -> float:
    """Time of a forward and backward pass; the gradients are thrown away, nothing else changes."""
    noise = engine.noise.draw(0, engine.config.optim.batch_size).at(engine.shards[0])
    grey, labels = engine.test_images.gather(torch.zeros(len(noise.latent), dtype=torch.int64))
    batch = Batch(grey, labels if engine.conditional else None, *noise)
    pressure = Pressure(*torch.ones(2, device=engine.accelerator.device))
    for probe in range(2 * PROBE_STEPS):
        if probe == PROBE_STEPS:
            started = time.perf_counter()
        loss = engine.loss_of(engine.forward, batch, pressure)
        engine.accelerator.backward(loss.loss)
    loss.loss.item()  # waits for the device
    engine.trained.optimizer.zero_grad()
    return (time.perf_counter() - started) / PROBE_STEPS * engine.config.optim.accumulate
