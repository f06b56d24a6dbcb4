"""The Triton kernels of formulas: run by Triton's interpreter, compiled for GPUs."""

# the language of a kernel is Triton's: its values have no types of Python
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from distvae import kernels

triton = pytest.importorskip("triton", reason="needs triton")
CONSTANTS = {"lanes": 256, "numbers": 784, "dim": 5, "room": 16, "count": 32, "parts": 4}
FLOATS = {"bound", "beta1", "beta2", "log1", "log2", "decay", "eps"}
INT64 = {"labels", "places"}
INT32 = {"pieces"}


@pytest.mark.slow
def test_they_compute_what_operations_do(environment: dict[str, str]) -> None:
    checks = Path(__file__).with_name("interpreted_kernels.py")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", str(checks)],
        env={**environment, "TRITON_INTERPRET": "1"},
        cwd=checks.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")
@pytest.mark.parametrize("module", ["formulas", "labels", "many"])
def test_they_compile_for_gpus(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    """Which needs none; the interpreter lets through what the compiler refuses."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
    found = vars(__import__(f"distvae.kernels.{module}", fromlist=["_"]))
    launched = {name: kernel for name, kernel in found.items() if is_launched(kernel)}
    assert len(launched) == {"formulas": 9, "labels": 3, "many": 2}[module]
    for name, kernel in launched.items():
        kinds = {each: kind_of(each) for each in kernel.arg_names}
        constants = {
            (number,): CONSTANTS[each] for number, each in enumerate(kinds) if each in CONSTANTS
        }
        source = ASTSource(fn=kernel, signature=kinds, constexprs=constants)
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        assert len(made.asm["cubin"]) > 1000, name


def is_launched(kernel: object) -> bool:
    """Whether it is a kernel that returns nothing, which is not called by others."""
    return type(kernel).__name__ == "JITFunction" and "return " not in inspect.getsource(kernel.fn)  # type: ignore[attr-defined]


def kind_of(argument: str) -> str:
    if argument in CONSTANTS:
        return "constexpr"
    if argument in INT64:
        return "*i64"
    if argument in INT32:
        return "*i32"
    if argument in FLOATS:
        return "fp32"
    whole = argument in ("rows", "columns", "tensors") or (
        len(argument) == 2 and argument[1] in "01"
    )
    return "i32" if whole else "*fp32"


def test_a_cpu_launches_none() -> None:
    assert not kernels.launched(torch.zeros(1, 1))
