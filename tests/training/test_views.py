"""Runs that see crops and flips: gone on with, with the same bytes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distvae.cli import main
from distvae.runs import checkpoints
from distvae.training.run import run_training
from tests.training.conftest import Settings, losses, trained


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of smooth colours, each of its own size."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            height, width = random.integers(12, 40, 2)
            small = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
            image = Image.fromarray(small).resize((int(width), int(height)))
            image.save(tmp_path / "photos" / split / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run_on_crops_is_gone_on_with_exactly(
    settings: Settings, photos: Path, tmp_path: Path, streaming: bool
) -> None:
    changes: dict[str, Any] = {"epoch_images": 8} if streaming else {}
    config = settings(
        data=str(photos),
        image_size=8,
        augment=["crop", "flip"],
        model="vae",
        prior="normal",
        batch_size=4,
        epochs=3,
        checkpoint_every=1,
        keep=9,
        streaming=streaming,
        **changes,
    )
    run = trained(config, tmp_path / "run")
    weights, found = (run / "model.safetensors").read_bytes(), losses(run)
    other = shutil.copytree(run, tmp_path / "other")
    middle = len(checkpoints(other)) // 2
    for checkpoint in checkpoints(other)[middle:]:
        shutil.rmtree(checkpoint)
    assert run_training(config, other, resume=True).finished
    assert (other / "model.safetensors").read_bytes() == weights
    assert losses(other) == found
    if not streaming:  # crops have other numbers than the pictures they are of
        assert main(["reconstruct", str(run), "--output", str(tmp_path / "pairs.npz")]) == 0
