"""Small runs in this process, and engines whose steps are written down."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.config import TrainConfig
from distvae.data.batches import Gathered, ResidentImages
from distvae.data.store import ImageData, open_data
from distvae.objectives import Loss, Pressure
from distvae.training.accelerator import build_accelerator
from distvae.training.engine import Engine, build_engine
from distvae.training.loop import train_step
from distvae.training.players import Rates
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


@dataclasses.dataclass
class Watch:
    """What the steps of an engine saw."""

    engine: Engine
    latents: list[Tensor]
    pixels: list[Tensor]
    weights: list[float]
    rates: list[float]
    given: list[Loss]


def watched(config: TrainConfig, folder: Path) -> Watch:
    """An engine whose steps are written down."""
    data: ImageData = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(folder)))
    watch = Watch(engine, [], [], [], [], [])

    def update(
        step: int, batches: list[Batch], rates: Rates, pressure: Pressure, averaging: float
    ) -> list[Loss]:
        watch.latents += [batch.noise for batch in batches]
        watch.pixels += [batch.uniforms for batch in batches if batch.uniforms is not None]
        watch.weights.append(float(pressure.kl_weight))
        watch.given += engine.update(step, batches, rates, pressure, averaging)
        watch.rates.append(engine.stepped.param_groups[0]["lr"])
        return watch.given[-len(batches) :]

    seen = engine.train_images
    assert isinstance(seen, ResidentImages)
    images = WatchedImages(seen.stored, seen.labels, seen.device)
    watch.engine = dataclasses.replace(engine, update=update, train_images=images)
    return watch


def take_steps(watch: Watch, count: int) -> None:
    size = watch.engine.config.optim.batch
    for step in range(count):
        rows = torch.arange(step * size, (step + 1) * size) % TRAIN_IMAGES
        train_step(watch.engine, step, rows)
