"""Dense layers by the kernel of this package, where nothing is compiled."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.runs import checkpoints
from distvae.training import compilation, kernel, native, recording, remarks
from distvae.training.native import NotBuilt
from distvae.training.own_product import OwnLayers
from distvae.training.run import run_training
from tests.training.conftest import Settings, losses, trained
from tests.training.test_advance import FACTOR
from tests.training.test_capture import check_same

pytestmark = pytest.mark.skipif(
    not kernel.works(), reason="no compiler, or none for this processor"
)
PLAIN: dict[str, Any] = {"model": "vae", "prior": "normal"}


@pytest.mark.parametrize("shape", [(7, 33), (3, 5, 33), (2, 1, 2, 33)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradients_are_those_of_float64(shape: tuple[int, ...], bias: bool) -> None:
    """Also the gradient of a gradient, for which the kernel has none."""
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.randn(*size, generator=generator) for size in (shape, (19, 33), (19,))]
    given = drawn[: 3 if bias else 2]

    def found(tensors: list[Tensor]) -> list[Tensor]:
        tensors = [each.requires_grad_() for each in tensors]
        out = F.linear(*tensors).sin()
        first = torch.autograd.grad(out.sum(), tensors, create_graph=True)
        length = sum(each.square().sum() for each in first)
        assert isinstance(length, Tensor)
        return [out, *first, *torch.autograd.grad(length, tensors)]

    exact = found([each.double() for each in given])
    with OwnLayers():
        own = found([each.clone() for each in given])
    for one, other in zip(own, exact, strict=True):
        assert (one.double() - other).abs().max() < 1e-4 * other.abs().max()


def test_other_numbers_are_left_to_torch() -> None:
    """A vector alone, halves, no rows, and the same under autocast."""
    layer = torch.nn.Linear(6, 4)
    vector, nothing = torch.ones(6), torch.ones(0, 6)
    with OwnLayers():
        found = [layer(vector), layer(nothing), layer.bfloat16()(vector.bfloat16().view(1, 6))]
    assert [each.shape for each in found] == [(4,), (0, 4), (1, 4)]
    assert found[2].dtype is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16), OwnLayers():
        assert torch.nn.Linear(6, 4)(torch.ones(2, 6)).dtype is torch.bfloat16


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of any length take the kernel, however fast it is here."""
    monkeypatch.setattr(recording, "FEW_STEPS", 0)
    monkeypatch.setattr(compilation, "MANY_STEPS", 0)
    monkeypatch.setattr(compilation, "own_is_faster", lambda engine: True)


def by_kernel(run: Path) -> bool:
    return bool(json.loads((run / "config.json").read_text())["world"].get("own_products"))


@pytest.mark.parametrize(
    "changes", [{"ema": 0.9, **FACTOR}, {"objective": "iwae", "binarize": "dynamic", **PLAIN}]
)
@pytest.mark.usefixtures("chosen")
def test_steps_by_the_kernel_are_the_same_recorded_or_not_and_gone_on_with(
    settings: Settings, here: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    each = {"epochs": 3, "eval_every": 3, "sample_every": 3, **changes}
    run = trained(settings(checkpoint_every=13, keep=9, **each), here / "recorded")
    assert "those of dense layers by distvae" in " ".join(capsys.readouterr().out.split())
    taken = trained(settings(capture="off", **each), here / "taken")
    check_same(taken, run)
    for checkpoint in checkpoints(run)[1:]:
        shutil.rmtree(checkpoint)
    assert run_training(settings(**each), run, resume=True).finished
    check_same(taken, run)
    assert by_kernel(run)
    assert by_kernel(taken)


@pytest.mark.usefixtures("chosen")
def test_a_run_that_began_with_a_library_goes_on_with_it(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = {"hidden": [4], "checkpoint_every": 10}
    own = trained(settings(max_steps=20, **each), here / "own")
    monkeypatch.setattr(compilation, "own_is_faster", lambda engine: False)
    run = trained(settings(max_steps=10, **each), here / "run")
    whole = trained(settings(max_steps=20, **each), here / "whole")
    monkeypatch.setattr(compilation, "own_is_faster", lambda engine: True)
    assert run_training(settings(max_steps=20, **each), run, resume=True).finished
    check_same(whole, run)
    assert [by_kernel(each) for each in (own, run)] == [True, False]
    assert losses(own) == pytest.approx(losses(run), rel=1e-4)


@pytest.mark.skipif(" avx2 " not in native._instructions(), reason="a processor without AVX2")
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 17, 3), (128, 784, 70), (5, 1100, 16)])
def test_the_kernel_of_a_processor_without_avx512_is_exact(
    haswell: None, shape: tuple[int, int, int]
) -> None:
    rows, length, columns = shape
    generator = torch.Generator().manual_seed(4)
    left, right, bias = (
        torch.randn(*size, generator=generator)
        for size in ((rows, length), (columns, length), (columns,))
    )
    exact = left.double() @ right.double().t() + bias.double()
    found = torch.empty(rows, columns)
    kernel.multiply(left, right.t(), found, bias)
    assert (found.double() - exact).abs().max() < 1e-6 * length**0.5 * exact.abs().max()


@pytest.fixture
def haswell() -> Iterator[None]:
    """The kernel as it is compiled there, once: it is kept in the cache of the tests."""
    with pytest.MonkeyPatch.context() as patched:
        flags = ("-march=haswell" if flag == "-march=native" else flag for flag in native.FLAGS)
        patched.setattr(native, "FLAGS", tuple(flags))
        patched.setattr(kernel, "_native", functools.cache(kernel._native.__wrapped__))
        assert kernel.failure.__wrapped__() is None
        yield


LOADED = """
import sys, torch
from distvae.training import kernel
out = torch.empty(2, 2)
kernel.multiply(torch.ones(2, 3), torch.ones(3, 2), out, torch.arange(2.0))
print(out.tolist(), any(name.startswith("torch._inductor") for name in sys.modules))
"""


def rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel, as it is found by a process that has not used it."""
    monkeypatch.setattr(kernel, "_native", functools.cache(kernel._native.__wrapped__))
    kernel.multiply(*(torch.ones(1, 1) for _ in range(3)))


@pytest.mark.slow
def test_what_was_built_is_loaded_without_the_compiler_unless_it_is_damaged(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTVAE_CACHE", str(here / "cache"))
    rebuilt(monkeypatch)
    (built,) = (here / "cache/native").glob("*.so")
    whole = built.read_bytes()
    without = {**os.environ, "CXX": "", "PATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, env=without
    )
    assert ended.stdout.split("\n")[0] == "[[3.0, 4.0], [3.0, 4.0]] False"
    built.write_bytes(whole[:5000])
    rebuilt(monkeypatch)
    assert built.read_bytes() == whole
    with monkeypatch.context() as patched:
        patched.setenv("CXX", "")
        patched.setenv("PATH", "")
        rebuilt(patched)
        built.chmod(0o666)  # which somebody else may have written
        with pytest.raises(NotBuilt):
            rebuilt(patched)


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize(
    ("compiler", "told"),
    [("echo 'fatal error: Python.h: No such file' >&2; exit 1", "python3-dev"), ("exit 1", "")],
)
def test_what_is_to_be_installed_for_the_kernel_is_told(
    settings: Settings,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compiler: str,
    told: str,
) -> None:
    monkeypatch.setenv("DISTVAE_CACHE", str(here / "cache"))
    (here / "cxx").write_text(f"#!/bin/sh\n{compiler}\n")
    (here / "cxx").chmod(0o755)
    monkeypatch.setenv("CXX", str(here / "cxx"))
    monkeypatch.setattr(kernel, "_native", functools.cache(kernel._native.__wrapped__))
    monkeypatch.setattr(kernel, "failure", functools.cache(kernel.failure.__wrapped__))
    monkeypatch.setattr(remarks, "MANY_STEPS", 0)
    run = trained(settings(hidden=[4], max_steps=2), here / "run")
    assert not by_kernel(run)
    said = " ".join(capsys.readouterr().out.split())
    assert ("Install the headers of Python" in said) == bool(told)
    assert told in said


def test_without_a_compiler_that_compiles_libraries_multiply(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTVAE_CACHE", str(here / "cache"))
    monkeypatch.setenv("CXX", shutil.which("false") or "")
    monkeypatch.setattr(kernel, "_native", functools.cache(kernel._native.__wrapped__))
    assert kernel.failure.__wrapped__() is not None
    assert not [*here.glob("cache/native/*")]
