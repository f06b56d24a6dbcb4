"""What the commands import: only what they use, so that none waits for another's libraries."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from distvae.weightless import weightless
from tests.conftest import SMALL, run_process
from tests.export.conftest import Tiny

TOLD = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=open("modules", "w")))
from distvae.cli import main
sys.exit(main(sys.argv[1:]))
"""
PARSERS = {"tyro", "typeguard", "unittest", "asyncio", "rich", "importlib.metadata"}
TORCH = {"torch", "accelerate", "safetensors", "huggingface_hub"}
COMPILERS = {"torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "mpmath"}
OTHERS = {"datasets", "sklearn", "scipy", "pandas", "pyarrow", "torchmetrics", "tensorboard"}
OTHERS |= {"matplotlib", "torchvision", "onnx", "onnxscript"}
SETTINGS = {"distvae.config", "distvae.concerns", "yaml"}
DRAWN = {"PIL.GifImagePlugin", "PIL.JpegImagePlugin"}
Environment = Mapping[str, str]


def modules(words: str, folder: Path, environment: Environment) -> set[str]:
    """What a command had imported at its end, in a process of its own."""
    ended = run_process([sys.executable, "-c", TOLD, *words.split()], folder, environment)
    assert ended.code == 0, ended.err
    return set((folder / "modules").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        ("--help", {"numpy", "PIL", "onnxruntime", *SETTINGS}),
        ("train --help", {"numpy", "PIL", "onnxruntime"}),
        ("sample --help", {"PIL", "onnxruntime", *SETTINGS}),
    ],
)
def test_help(words: str, left_out: set[str], tmp_path: Path, environment: Environment) -> None:
    found = modules(words, tmp_path, environment)
    assert not found & (left_out | PARSERS | TORCH | COMPILERS | OTHERS)


def test_sampling_an_onnx_file(tmp_path: Path, environment: Environment) -> None:
    Tiny().decoder(tmp_path / "decoder.onnx")
    found = modules("sample decoder.onnx --output sheet.png", tmp_path, environment)
    assert not found & (PARSERS | TORCH | COMPILERS | OTHERS | SETTINGS | DRAWN)
    assert {"numpy", "onnxruntime", "PIL.PngImagePlugin"} <= found


@pytest.mark.slow
def test_a_run_that_compiles_nothing(
    shapes: Path, tmp_path: Path, environment: Environment
) -> None:
    """From its start over a resume to what is asked of it."""
    flags = f"--data {shapes} {' '.join(SMALL)}"
    for words in (
        f"train {flags} --output run",
        "train --resume run --max-steps 3",
        "evaluate run --metrics elbo",
        "sample run",
    ):
        found = modules(words, tmp_path, environment)
        assert "torch" in found
        assert not found & (COMPILERS | OTHERS | {"onnxruntime", "tyro", "typeguard"}), words


def test_a_module_without_weights_is_as_the_real_one() -> None:
    def build() -> torch.nn.Module:
        return torch.nn.ModuleList([torch.nn.Embedding(3, 4), torch.nn.Linear(4, 2)])

    with weightless():
        outline = build().state_dict()
    real = build().state_dict()
    assert {name: (each.shape, each.dtype) for name, each in outline.items()} == {
        name: (each.shape, each.dtype) for name, each in real.items()
    }
    assert {each.device.type for each in outline.values()} == {"meta"}
    assert all(bool(each.isfinite().all()) for each in real.values())
