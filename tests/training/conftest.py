"""Small runs in this process, and engines whose steps are written down."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.config import TrainConfig
from distvae.data.batches import Gathered, ResidentImages
from distvae.data.store import ImageData, open_data
from distvae.objectives import Summary
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance
from distvae.training.engine import Engine, build_engine
from distvae.training.plan import numbers_of
from distvae.training.planning import make_plan
from distvae.training.players import Turn
from distvae.training.run import run_training
from tests.conftest import TRAIN_IMAGES

SMALL: dict[str, Any] = {
    "hidden": [16],
    "latent_dim": 3,
    "batch_size": 12,
    "epochs": 16,
    "log_every": 1,
    "mixed_precision": "no",  # a choice by speed would be another on another day
}

Settings = Callable[..., TrainConfig]
"""(changes by name) -> settings of a small run."""


@pytest.fixture
def settings(shapes: Path, here: Path) -> Settings:
    """Settings of a small run on the shapes."""

    def make(**changes: Any) -> TrainConfig:
        return TrainConfig().updated({"data": str(shapes), **SMALL, **changes}, "the test")

    return make


def lines(run: Path, split: str = "train") -> list[dict[str, Any]]:
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if line["split"] == split]


def losses(run: Path, split: str = "train") -> list[float]:
    return [line["loss"] for line in lines(run, split)]


def trained(config: TrainConfig, folder: Path) -> Path:
    """A run in this process."""
    assert run_training(config, folder, resume=False).finished
    return folder


@dataclasses.dataclass(frozen=True, eq=False)
class WatchedImages(ResidentImages):
    """Images that remember the rows they were asked for."""

    asked: list[Tensor] = dataclasses.field(default_factory=list)

    def gather(self, rows: Tensor) -> Gathered:
        self.asked.append(rows)
        return super().gather(rows)


def step_on(engine: Engine, step: int, rows: Tensor) -> Tensor:
    """Take one step on these rows ``[B]``; what it found ``[M, F]``."""
    advance(engine, make_plan(engine, step, 1, rows.unsqueeze(0)))
    return engine.state.found(1)[0]


@dataclasses.dataclass
class Watch:
    """What the steps of an engine saw."""

    engine: Engine
    latents: list[Tensor]
    pixels: list[Tensor]
    weights: list[float]
    rates: list[float]
    given: list[dict[str, float]]
    """The numbers of the loss by name, of each micro-batch."""


def watched(config: TrainConfig, folder: Path) -> Watch:
    """An engine whose steps are written down."""
    data: ImageData = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(folder)))
    watch = Watch(engine, [], [], [], [], [])

    def update(turns: tuple[Turn, ...], batches: Sequence[Batch], row: Tensor) -> Summary:
        watch.latents += [batch.noise for batch in batches]
        watch.pixels += [batch.uniforms for batch in batches if batch.uniforms is not None]
        watch.weights.append(float(numbers_of(row, turns).pressure.kl_weight))
        found = engine.update(turns, batches, row)
        names = ("loss", "distortion", "rate", *found.extras, *found.others)
        watch.given += [dict(zip(names, each, strict=True)) for each in found.values.tolist()]
        watch.rates.append(float(engine.wrapped.stepped.param_groups[0]["lr"]))
        return found

    seen = engine.train_images
    assert isinstance(seen, ResidentImages)
    images = WatchedImages(seen.stored, seen.labels, seen.device)
    watch.engine = dataclasses.replace(engine, update=update, train_images=images)
    return watch


def take_steps(watch: Watch, count: int) -> None:
    size = watch.engine.config.optim.batch
    for step in range(count):
        rows = torch.arange(step * size, (step + 1) * size) % TRAIN_IMAGES
        step_on(watch.engine, step, rows)
