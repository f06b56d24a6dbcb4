"""Half precision and compilation change the speed, not what is learned."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Command
from tests.training.conftest import Settings, losses, take_steps, trained, watched


def test_bf16_trains_with_a_float32_likelihood(settings: Settings, here: Path) -> None:
    config = settings(
        mixed_precision="bf16", learning_rate=0.01, batch_size=60, beta=0.1, schedule="constant"
    )
    watch = watched(config, here)
    outputs = []
    watch.engine.trained.model.decoder.register_forward_hook(
        lambda module, inputs, output: outputs.append(output.dtype)
    )
    take_steps(watch, 60)
    assert set(outputs) == {torch.bfloat16}
    for loss in watch.given:
        assert loss.loss.dtype == loss.distortion.dtype == loss.rate.dtype == torch.float32
        assert not torch.equal(loss.distortion, loss.distortion.bfloat16().float())
    told = [loss.loss.item() for loss in watch.given]
    assert np.mean(told[-10:]) < 0.8 * told[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU does fp16")
def test_fp16_without_a_gpu_is_refused(command: Command, shapes: Path, here: Path) -> None:
    ended = command("train", "--data", shapes, "--batch-size", 12, "--mixed-precision", "fp16")
    assert ended.code == 2
    assert "refuses --mixed-precision fp16" in ended.err
    assert "take bf16" in ended.err
    assert not list(here.iterdir())


def test_compiled_steps_agree_with_eager_ones(
    distvae: Command, settings: Settings, shapes: Path, here: Path
) -> None:
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        pytest.skip("no C++ compiler")
    small = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--log-every", "1")
    flags = ("--max-steps", "12", "--clip", "40", "--compile", "on", "--output", "compiled")
    ended = distvae("train", "--data", shapes, *small, *flags)
    assert ended.code == 0, ended.err
    eager = trained(settings(max_steps=12, clip=40.0), here / "eager")
    assert losses(here / "compiled") == pytest.approx(losses(eager), rel=1e-3)
    assert losses(here / "compiled", "test") == pytest.approx(losses(eager, "test"), rel=1e-3)
