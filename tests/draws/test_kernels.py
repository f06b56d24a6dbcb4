"""The Triton kernel of a step's random numbers: run by Triton's interpreter, compiled for GPUs."""

# the language of a kernel is Triton's: its values have no types of Python
# mypy: disable-error-code="no-untyped-def, no-untyped-call, name-defined"

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distvae.draws import philox, steps
from distvae.draws.philox import Source, Stream
from distvae.draws.steps import NoiseSource
from tests.draws.test_philox import PUBLISHED

triton = pytest.importorskip("triton", reason="needs triton")
NAME = "distvae.draws.kernels"
WORD = 2**64 - 1


def imported(monkeypatch: pytest.MonkeyPatch, interpret: bool) -> ModuleType:
    """The module anew: its kernels are made for the interpreter, or for a compiler."""
    monkeypatch.setenv("TRITON_INTERPRET", "1" if interpret else "0")
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    module = importlib.import_module(NAME)
    monkeypatch.delitem(sys.modules, NAME)
    return module


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return imported(monkeypatch, interpret=True)


@pytest.fixture
def drawn_by_kernel(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU as a device that draws by the kernel."""
    monkeypatch.setattr(steps, "BY_NUMPY", "none")
    monkeypatch.setattr(steps, "triton_kernels", lambda device: kernels)


def signed(words: list[int]) -> Tensor:
    return torch.from_numpy(np.array(words, np.uint64).view(np.int64))


def of_counter(out, given):
    """The words of one counter and key, six words; ``tl`` and ``philox_words`` come later."""
    place = tl.arange(0, 1)  # noqa: F821
    a, b = tl.load(given + place).to(tl.uint64), tl.load(given + 1).to(tl.uint64)  # noqa: F821
    c, d = tl.load(given + 2).to(tl.uint64), tl.load(given + 3).to(tl.uint64)  # noqa: F821
    left, right = tl.load(given + 4).to(tl.uint64), tl.load(given + 5).to(tl.uint64)  # noqa: F821
    block = philox_words(a, b, c, d, left, right)  # noqa: F821
    for word in tl.static_range(4):  # noqa: F821
        tl.store(out + word + place, block[word].to(tl.int64))  # noqa: F821


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_published_words(
    kernels: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    counter: tuple[int, ...],
    key: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    for name in ("tl", "philox_words"):  # a kernel finds nothing but globals
        monkeypatch.setitem(of_counter.__globals__, name, vars(kernels)[name])
    out = torch.zeros(4, dtype=torch.int64)
    triton.jit(of_counter)[(1,)](out, signed([*counter, *key]))
    assert out.numpy().view(np.uint64).tolist() == list(expected)


@pytest.mark.parametrize("seed", [0, 2**63 - 1, WORD])
@pytest.mark.parametrize("first", [0, 1, 3, 4 * 10**12 + 2])
def test_words_are_those_of_numpy(kernels: ModuleType, seed: int, first: int) -> None:
    key, step = signed([seed, Stream.TRAINING]), signed([123_456])
    positions = slice(first, first + 3 * kernels.LANES)
    _, uniforms = kernels.noise(key, step, positions, 0, philox.UNIFORMS)  # whole words
    expected = Source(seed, Stream.TRAINING).words(3 * kernels.LANES, 123_456, philox.INPUTS, first)
    assert (uniforms.view(torch.int64).flatten().numpy().view(np.uint64) == expected).all()


@pytest.mark.usefixtures("drawn_by_kernel")
@pytest.mark.parametrize("draws", [None, 3])
@pytest.mark.parametrize(("latents", "pixels"), [(6, (3, 5, 7)), (5, (1, 2, 2)), (1, None)])
def test_a_step_has_the_numbers_that_numpy_draws(
    draws: int | None, latents: int, pixels: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = NoiseSource(5, Stream.TRAINING, latents, pixels, torch.device("cpu"), draws)
    for step, positions in ((0, slice(0, 5)), (7, slice(11, 40))):
        monkeypatch.setattr(steps, "BY_NUMPY", "none")
        assert not source.on_host
        found, again = source.draw(step, positions), source.draw(torch.tensor(step), positions)
        monkeypatch.setattr(steps, "BY_NUMPY", "cpu")
        expected = source.draw(step, positions)
        assert torch.equal(found.noise, again.noise)
        torch.testing.assert_close(found.noise, expected.noise, rtol=1e-6, atol=1e-6)
        assert (found.uniforms is None) == (pixels is None)
        if found.uniforms is not None and expected.uniforms is not None:
            assert torch.equal(found.uniforms, expected.uniforms)


@pytest.mark.usefixtures("drawn_by_kernel")
def test_no_positions_have_no_numbers() -> None:
    found = NoiseSource(5, Stream.TRAINING, 6, (1, 2), torch.device("cpu")).draw(0, slice(3, 3))
    assert found.noise.shape == (0, 6)
    assert found.uniforms is not None
    assert found.uniforms.shape == (0, 1, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")  # which no sum here is
@pytest.mark.parametrize(("latents", "inputs"), [(2, 0), (16, 784)])
def test_it_compiles_for_gpus(
    latents: int, inputs: int, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    """Which needs none; the interpreter lets through what the compiler refuses."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
    kernel = imported(monkeypatch, interpret=False)._noise
    constants = {
        "latent_words": -(-latents // philox.NORMALS),
        "input_words": -(-inputs // philox.UNIFORMS),
        "latents": latents,
        "inputs": inputs,
        "lanes": 256,
    }
    kinds = {"of_latents": "*fp32", "of_inputs": "*i16", "key": "*i64", "step": "*i64"}
    kinds |= dict.fromkeys(("first", "size", "programs"), "i32")
    kinds |= dict.fromkeys(constants, "constexpr")
    assert kernel.arg_names == list(kinds)
    places = {(list(kinds).index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=places)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert len(made.asm["cubin"]) > 1000
    # exact logarithms, roots and angles: those of other devices to 1e-6
    assert ".approx" not in made.asm["ptx"]
