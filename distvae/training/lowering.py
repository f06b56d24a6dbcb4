"""How a step is given to ``torch.compile``: what is asked of its compiler and checked in each call.

Legend: N rows looked up, R rows of a table, C numbers of each.
"""

import math
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

from distvae.training.own_product import usable

Function = TypeVar("Function", bound=Callable[..., Any])
aten, prims = torch.ops.aten, torch.ops.prims
# torch's compiler says of code of its own that it is outdated
warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\._inductor\.")


def compile_step(
    step: Callable[..., Any], own: bool = False, device_type: str = "cpu"
) -> Callable[..., Any]:
    """A step as one graph, which is made anew only where its arguments are of other shapes.

    What it is a closure of must stay what it is: that is not looked at again. Looking at it would
    take a tenth of a small step.

    Args:
        step: whose arguments are all that changes.
        own: whether it multiplies by the kernel of this package, where that is usable.
        device_type: of what it computes on.
    """
    # what was compiled is kept with the code, which all closures of one definition share
    code = step.__code__.replace()
    copied = types.FunctionType(
        code, step.__globals__, step.__name__, step.__defaults__, step.__closure__
    )
    arguments = code.co_varnames[: code.co_argcount]
    options = {**asked(own, device_type), "guard_filter_fn": _kept(arguments)}
    compiled: Callable[..., Any] = torch.compile(
        copied, dynamic=False, fullgraph=True, options=options
    )
    return compiled


def compile_loss(loss: Function, own: bool = False, device_type: str = "cpu") -> Function:
    """A loss, forward and backward, as two graphs; ``own`` as above."""
    compiled: Function = torch.compile(loss, dynamic=False, options=asked(own, device_type))  # type: ignore[assignment]
    return compiled


def _kept(arguments: Sequence[str]) -> Callable[[Sequence[Any]], list[bool]]:
    """Which guards of a function are kept: those on its arguments and on torch's own switches."""
    names = tuple(name for argument in arguments for name in (argument, f"L['{argument}']"))

    def kept(entries: Sequence[Any]) -> list[bool]:
        return [
            entry.guard_type == "GLOBAL_STATE"
            or (not entry.is_global and entry.name.startswith(names))
            for entry in entries
        ]

    return kept


class TableGradients(CustomGraphPass):
    """The gradient of a table that rows are looked up in, as a product with ones and zeros.

    Left alone, the compiler adds up the rows by atomic additions: slowly, and on several threads in
    an order that differs from run to run, so that no run could be repeated.
    """

    def __call__(self, graph: fx.Graph) -> None:
        """Replace every sum over looked up rows."""
        scatter = aten._unsafe_masked_index_put_accumulate.default
        for node in graph.find_nodes(op="call_function", target=scatter):
            table, mask, indices, values = node.args
            if len(indices) == 1 and indices[0] is not None:
                with graph.inserting_before(node):
                    node.replace_all_uses_with(_summed(graph, table, mask, indices[0], values))
                graph.erase_node(node)

    def uuid(self) -> Any:
        """What compiled code is kept under."""
        return get_hash_for_files((__file__,))


class SeparateBias(CustomGraphPass):
    """A dense layer on a CPU as a product and a sum, which is fused with what follows.

    The library that multiplies copies the bias into every row first.
    """

    def __call__(self, graph: fx.Graph) -> None:
        """Divide every layer in two."""
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            if node.kwargs or node.meta["val"].device.type != "cpu":
                continue
            bias, left, right = node.args
            with graph.inserting_before(node):
                product = graph.call_function(aten.mm.default, (left, right))
                product.meta["val"] = node.meta["val"]
                total = graph.call_function(aten.add.Tensor, (product, bias))
                total.meta.update(node.meta)
            node.replace_all_uses_with(total)
            graph.erase_node(node)

    def uuid(self) -> Any:
        """What compiled code is kept under."""
        return get_hash_for_files((__file__,))


class OwnProducts(SeparateBias):
    """The same, and products of float32 matrices on a CPU by the kernel of this package."""

    def uuid(self) -> Any:
        """What compiled code is kept under, which is other code than that of the class above."""
        return super().uuid() + b"own"

    def __call__(self, graph: fx.Graph) -> None:
        """Replace every product."""
        super().__call__(graph)
        for node in graph.find_nodes(op="call_function", target=aten.mm.default):
            found = node.meta["val"]
            plain = found.dtype is torch.float32 and found.device.type == "cpu"
            sizes = (*found.shape, node.args[0].meta["val"].shape[1])
            if plain and all(isinstance(size, int) and size > 0 for size in sizes):
                node.target = torch.ops.distvae.product.default


def asked(own: bool = False, device_type: str = "cpu") -> dict[str, Any]:
    """What is asked of inductor wherever something is compiled; ``own`` as above."""
    # it fails where it meets many weights that are changed at once
    of_gpus = {} if device_type == "cpu" else {"loop_ordering_after_fusion": False}
    return {
        **of_gpus,
        "post_grad_custom_pre_pass": TableGradients(),
        # before, product and bias would be joined again
        "post_grad_custom_post_pass": OwnProducts() if own and usable() else SeparateBias(),
    }


def _summed(
    graph: fx.Graph, table: fx.Node, mask: fx.Node, index: fx.Node, values: fx.Node
) -> fx.Node:
    """The rows ``values [N, C]`` added to those of ``table [R, C]`` that ``index [N]`` names.

    Where ``mask [N]`` is false nothing is added.
    """
    shape, dtype = table.meta["val"].shape, values.meta["val"].dtype
    rows, length = index.meta["val"].numel(), math.prod(shape[1:])

    def call(target: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        node = graph.call_function(target, args, kwargs)
        known = fx.node.map_arg((args, kwargs), lambda each: each.meta["val"])
        node.meta["val"] = target(*known[0], **known[1])
        return node

    def shaped(node: fx.Node, *sizes: int) -> fx.Node:
        return call(aten.reshape.default, node, list(sizes))

    value = values.meta["val"]
    of_numbers = {"start": 0, "step": 1, "dtype": torch.int64, "device": value.device}
    with value.fake_mode:
        numbers = call(prims.iota.default, shape[0], **of_numbers, requires_grad=False)
        named = call(aten.eq.Tensor, shaped(numbers, shape[0], 1), shaped(index, 1, rows))  # [R, N]
        named = call(aten.bitwise_and.Tensor, named, shaped(mask, 1, rows))
        ones = call(prims.convert_element_type.default, named, dtype)
        sums = call(aten.mm.default, ones, shaped(values, rows, length))
        return call(aten.add.Tensor, shaped(sums, *shape), table)
