"""What tools work on."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import COMMAND, HANG, train_apart
from tests.warm import begin


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
    process = begin([*COMMAND, "export", str(run), "--onnx"], run, environment)
    said = process.communicate(timeout=HANG)
    assert process.wait() == 0, said
    return run
