"""Whether and how a step is compiled."""

import dataclasses
import os
import shutil
import time

import torch
from accelerate.utils import broadcast_object_list

from distvae.errors import DistvaeError
from distvae.training.engine import Engine

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
        choice = "on" if _has_compiler(engine) and _pays(engine) else "off"
    elif choice == "on" and not _has_compiler(engine):
        raise DistvaeError(
            "--compile on finds no C++ compiler",
            "expected g++, clang++ or the one named by $CXX",
            "Install one, or take --compile off.",
        )
    config = engine.config.updated({"compile": choice}, "--compile auto")
    if choice == "off":
        return dataclasses.replace(engine, config=config)
    step_loss = torch.compile(engine.step_loss, dynamic=False)
    return dataclasses.replace(engine, config=config, step_loss=step_loss)


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
    positions = engine.shards()[0]
    noise = engine.noise.draw(0, engine.config.optim.batch_size).at(positions)
    grey, labels = engine.train_images.gather(torch.arange(len(noise.latent)))
    weight = torch.ones((), device=engine.accelerator.device)
    for probe in range(2 * PROBE_STEPS):
        if probe == PROBE_STEPS:
            started = time.perf_counter()
        y = labels if engine.conditional else None
        loss = engine.step_loss(grey, y, noise.latent, noise.pixels, weight)
        engine.accelerator.backward(loss.loss)
    loss.loss.item()  # waits for the device
    engine.trained.optimizer.zero_grad()
    return (time.perf_counter() - started) / PROBE_STEPS * engine.config.optim.accumulate
