"""How a step is given to ``torch.compile``: what is asked of its compiler and checked in each call.

Legend: N rows looked up, R rows of a table, C numbers of each.
"""

import math
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

from distvae.training import tiles
from distvae.training.generated import noted_apart
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
        own: whether it multiplies by the kernel or, on a GPU, the template of this package, where
            that is usable.
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

    def called(*given: Any) -> Any:
        with noted_apart():
            return compiled(*given)

    return called if device_type == "cpu" else compiled


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
        for target in (
            aten._unsafe_masked_index_put_accumulate.default,
            aten._unsafe_index_put.default,
            aten.index_put.default,
        ):
            for node in graph.find_nodes(op="call_function", target=target):
                _replace_sum(graph, node)

    def uuid(self) -> Any:
        """What compiled code is kept under."""
        return get_hash_for_files((__file__,))


class SeparateBias(CustomGraphPass):
    """A dense layer as a product and a sum, which is fused with what follows.

    On a CPU that is every layer, as the library that multiplies copies the bias into every row
    first; on a GPU it is one whose product is compiled as well.
    """

    def __call__(self, graph: fx.Graph) -> None:
        """Divide layers in two."""
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            bias, left, right = node.args
            if node.kwargs or not self._takes(left, right):
                continue
            with graph.inserting_before(node):
                product = graph.call_function(aten.mm.default, (left, right))
                product.meta["val"] = node.meta["val"]
                total = graph.call_function(aten.add.Tensor, (product, bias))
                total.meta.update(node.meta)
            node.replace_all_uses_with(total)
            graph.erase_node(node)

    def _takes(self, left: fx.Node, right: fx.Node) -> bool:
        """Whether the layer of this product is divided."""
        return bool(left.meta["val"].device.type == "cpu")

    def uuid(self) -> Any:
        """What compiled code is kept under."""
        return get_hash_for_files((__file__,))


class TiledProducts(SeparateBias):
    """Products of small matrices on a GPU by a template, to which the compiler adds the rest."""

    def _takes(self, left: fx.Node, right: fx.Node) -> bool:
        return tiles.fits(left.meta["val"], right.meta["val"])

    def __call__(self, graph: fx.Graph) -> None:
        """Replace every product that fits."""
        super().__call__(graph)
        for node in graph.find_nodes(op="call_function", target=aten.mm.default):
            if not node.kwargs and self._takes(*node.args):
                node.target = torch.ops.distvae.tiled.default

    def uuid(self) -> Any:
        """What compiled code is kept under."""
        return get_hash_for_files((__file__, tiles.__file__))


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
    products = SeparateBias
    if own and device_type == "cpu" and usable():
        products = OwnProducts
    elif own and device_type != "cpu" and tiles.usable():
        products = TiledProducts
    return {
        **of_gpus,
        "post_grad_custom_pre_pass": TableGradients(),
        "post_grad_custom_post_pass": products(),  # before, product and bias would be joined again
    }


def _replace_sum(graph: fx.Graph, node: fx.Node) -> None:
    """Replace one sum over looked up rows, by whichever operation of torch's versions it is."""
    table, *rest = cast(list[Any], node.args)
    mask = rest.pop(0) if node.target is aten._unsafe_masked_index_put_accumulate.default else None
    indices, values, *accumulate = rest
    adds = mask is not None or accumulate == [True]
    if not adds or len(indices) != 1 or indices[0] is None:
        return
    if indices[0].meta["val"].dtype is torch.bool:  # which names rows in another way
        return
    with graph.inserting_before(node):
        node.replace_all_uses_with(_summed(graph, table, mask, indices[0], values))
    graph.erase_node(node)


def _summed(
    graph: fx.Graph, table: fx.Node, mask: fx.Node | None, index: fx.Node, values: fx.Node
) -> fx.Node:
    """The rows ``values [N, C]`` added to those of ``table [R, C]`` that ``index [N]`` names.

    Where ``mask [N]`` is there and false, nothing is added.
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
        if mask is not None:
            named = call(aten.bitwise_and.Tensor, named, shaped(mask, 1, rows))
        ones = call(prims.convert_element_type.default, named, dtype)
        sums = call(aten.mm.default, ones, shaped(values, rows, length))
        return call(aten.add.Tensor, shaped(sums, *shape), table)
