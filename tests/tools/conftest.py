"""What tools work on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import train_apart


@pytest.fixture(scope="session")
def plain(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], shapes: Path
) -> Path:
    """A run of a VAE that knows no labels; not to be changed."""
    flags = f"--data {shapes} --model vae --prior normal --hidden 16 --latent-dim 3 --epochs 2"
    flags += " --binarize none"
    return train_apart(flags, tmp_path_factory.mktemp("plain") / "run", environment)


@pytest.fixture(scope="session")
def exported(
    plain: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The plain run with its ONNX files; not to be changed."""
    run = shutil.copytree(plain, tmp_path_factory.mktemp("exported") / "run")
    words = [sys.executable, "-m", "distvae.cli", "export", str(run), "--onnx"]
    subprocess.run(words, env={**os.environ, **environment}, check=True, capture_output=True)
    return run
