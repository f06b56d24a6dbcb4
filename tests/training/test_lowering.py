"""What is asked of torch's compiler."""

import functools
import itertools
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.utils import run_and_get_code
from torch.func import grad

from distvae.training import kernel, own_product
from distvae.training.lowering import SeparateBias, asked, compile_step

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own
Scaled = Callable[[tuple[str, ...], Tensor], Tensor]


def scaled_by(factor: dict[str, float], weight: Tensor) -> Scaled:
    def scaled(names: tuple[str, ...], values: Tensor) -> Tensor:
        return weight * values * sum(factor[name] for name in names)

    return scaled


def test_a_step_is_compiled_for_its_arguments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closures of one definition keep their own; other shapes and names are compiled anew."""
    graphs: list[torch.fx.GraphModule] = []

    def noted(graph: torch.fx.GraphModule, inputs: object, options: object = None) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=noted))
    weights = [torch.ones(3), torch.full((3,), 5.0)]
    factor = {"a": 2.0, "b": 3.0}
    one, other = (compile_step(scaled_by(dict(factor), weight)) for weight in weights)
    assert one(("a",), torch.ones(3)).tolist() == [2.0] * 3
    assert other(("a",), torch.ones(3)).tolist() == [10.0] * 3
    assert one(("a",), torch.ones(3)).tolist() == [2.0] * 3
    assert len(graphs) == 2
    weights[0].fill_(7.0)
    assert one(("a",), torch.ones(3)).tolist() == [14.0] * 3
    assert len(graphs) == 2
    assert one(("a", "b"), torch.ones(3)).tolist() == [35.0] * 3
    assert one(("a",), torch.ones(2, 3)).tolist() == [[14.0] * 3] * 2
    assert len(graphs) == 4


@pytest.mark.slow
@pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")),
    reason="no C++ compiler",
)
def test_what_is_asked_of_the_compiler() -> None:
    """Gradients of tables without atomic additions, whose order differs from run to run.

    Dense layers without a bias that is copied first.
    """
    generator = torch.Generator().manual_seed(3)
    table, weights, layer, bias = (
        torch.randn(*shape, generator=generator) for shape in ((5, 2, 4), (40, 2, 3), (3, 4), (3,))
    )
    rows = torch.randint(5, (40,), generator=generator)

    def loss(table: Tensor, rows: Tensor) -> Tensor:
        found = torch.nn.functional.embedding(rows, table.flatten(1)).view(40, 2, 4)
        return (torch.nn.functional.linear(found, layer, bias).exp() * weights).sum()

    step = torch.compile(grad(loss), dynamic=False, options=asked())
    found, (code,) = run_and_get_code(step, table, rows)
    torch.testing.assert_close(found, grad(loss)(table, rows))
    assert "atomic_add" not in code
    assert "kernels.addmm" not in code
    assert code.count("mm(") >= 2
    if not kernel.works():  # on processors that are no x86 of the last ten years
        return
    torch.compiler.reset()
    step = torch.compile(grad(loss), dynamic=False, options=asked(own=True))
    found, (code,) = run_and_get_code(step, table, rows)
    torch.testing.assert_close(found, grad(loss)(table, rows))
    assert code.count("extern_kernels.distvae_multiply(") == 3


def test_a_torch_that_cannot_be_told_of_the_kernel_multiplies_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where torch's compiler gives no such names, or others."""
    own_product.usable.cache_clear()
    monkeypatch.setattr(kernel, "works", lambda: True)
    monkeypatch.delattr("torch._inductor.kernel.mm_common.mm_args")
    chosen = asked(own=True)["post_grad_custom_post_pass"]
    own_product.usable.cache_clear()
    assert type(chosen) is SeparateBias


SIZES = [(1, 1, 1), (5, 37, 600), (13, 100, 1025), (128, 256, 784), (200, 31, 7), (128, 2, 128)]


@pytest.mark.slow
@pytest.mark.skipif(not kernel.works(), reason="no compiler, or no code for this processor")
def test_products_are_those_of_float64_in_any_layout_and_on_any_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(4)
    threads = torch.get_num_threads()
    for (rows, columns, length), turned in itertools.product(SIZES, range(4)):
        left = torch.randn(rows, length, generator=generator)
        right = torch.randn(length, columns, generator=generator)
        exact = left.double() @ right.double()
        left = left.t().contiguous().t() if turned & 1 else left
        right = right.t().contiguous().t() if turned & 2 else right
        found = [torch.full((rows, columns), float("nan")) for _ in range(2)]
        try:
            for number, out in enumerate(found, 1):
                torch.set_num_threads(number)
                kernel.multiply(left, right, out)
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(*found)
        assert (found[0].double() - exact).abs().max() < 2e-6 * exact.abs().max()
        strided = (
            left.repeat_interleave(2, dim=1)[:, ::2],
            right.repeat_interleave(2, dim=1)[:, ::2],
        )
        kernel.multiply(*strided, found[1])
        assert torch.equal(*found)
