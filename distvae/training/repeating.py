"""A step on a CPU as a list of its operations, repeated without its program and autograd.

Between the operations of a small step Python, autograd and allocations take as long as they do.
What repeats them are functions that torch.fx writes: one call after the other, on memory that stays
where it is. Where a call cannot write to given memory, what it makes is new each time, as are the
views of that.
"""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import itertools
import operator
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from distvae.training.capture import NotCaptured, Repeat, Step
from distvae.training.native import NotBuilt
from distvae.training.native_calls import Memory, is_native, native_call, tensor_at
from distvae.training.operations import ALLOCATED, Noted, Operation, Place, each_of, of_kind
from distvae.training.sequence import sequence

OPTIMIZED = 2
"""Runs after which TorchScript's interpreter has settled on what it does."""
DIFFERENT = "its operations give other numbers when they are repeated without its program"
aten = torch.ops.aten


class OperationRecorder:
    """Records a step on a CPU; see :class:`distvae.training.capture.Recorder`.

    Before a recording is used the next step is taken twice, by the program and by what was
    recorded, and both must change the same memory to the same bytes.
    """

    def record(self, step: Step) -> Repeat:
        """See :class:`distvae.training.capture.Recorder`."""
        step()  # what is made once is there afterwards
        noted = Noted()
        try:
            with noted:
                step()
            repeated = _Repeated(noted)
            for _ in range(OPTIMIZED):
                repeated()
            self._check(step, repeated, noted)
        except (RuntimeError, TypeError, NotBuilt) as error:
            raise NotCaptured(str(error).splitlines()[0]) from error
        return repeated

    def _check(self, step: Step, repeated: Repeat, noted: Noted) -> None:
        written = _storages(
            place for each in noted.operations if each.writes for place in each.places()
        )
        memory = [noted.outer[number].untyped_storage() for number in written & noted.outer.keys()]
        before = [each.clone() for each in memory]
        step()
        expected = [_bytes(each.clone()) for each in memory]
        for each, kept in zip(memory, before, strict=True):
            each.copy_(kept)
        repeated()
        if not all(map(torch.equal, expected, map(_bytes, memory))):
            raise NotCaptured(DIFFERENT)


class _Call(NamedTuple):
    """An operation, and how it is called."""

    operation: Operation
    form: Any
    """That which writes its results to given memory; None without one."""
    part: int = 0
    """Of the step. What returns nothing is a part of its own, and so are native calls in a row."""

    @property
    def returns(self) -> bool:
        return self.native or bool(self.operation.function._schema.returns)

    @property
    def native(self) -> bool:
        """Whether it is called by its address."""
        return is_native(self.operation.function)


class _Repeated:
    """The operations of a step, which are taken once to make it."""

    def __init__(self, noted: Noted) -> None:
        calls = list(_calls(noted.operations))
        memory = _memory(noted, calls)
        groups = itertools.groupby(calls, lambda call: call.part)
        parts = [_called(list(group), memory) for _, group in groups]
        self._parts = [part for part in parts if part is not None]

    @torch.no_grad()
    def __call__(self, steps: int = 1) -> None:
        """See :class:`distvae.training.capture.Repeat`."""
        for call, inputs in self._parts * steps:
            call(*inputs)


Called = tuple[Callable[..., Any], list[Tensor]]
"""What makes the calls of a part, and all that it takes."""


def _called(calls: list[_Call], memory: Memory) -> Called | None:
    """A part, whose calls are made once; None where it has none but views of what stays."""
    if not calls[0].native:
        return _Part(calls, memory).called()
    made = [call.operation for call in calls if call.operation.function is not ALLOCATED]
    if not made:
        return None
    calls_in_a_row = sequence([native_call(operation, memory) for operation in made])
    calls_in_a_row()
    return calls_in_a_row, []


class _Part:
    """Calls that follow each other, as a function of tensors that stay where they are."""

    def __init__(self, calls: list[_Call], memory: Memory) -> None:
        self._memory, self._graph = memory, fx.Graph()
        self._nodes: dict[Place, fx.Node] = {}
        places = dict.fromkeys(place for call in calls for place in call.operation.places())
        for place in places:
            if place.storage in memory:
                self._nodes[place] = self._graph.placeholder(f"x{len(self._nodes)}")
                self._nodes[place].meta["place"] = place
        for call in calls:
            self._add(call)
        self._graph.output(None)
        self._graph.eliminate_dead_code(lambda node: node.op == "output" or "writes" in node.meta)
        self._traceable = all(call.returns for call in calls)

    def called(self) -> Called | None:
        """See :func:`_called`."""
        places = [node.meta["place"] for node in self._graph.nodes if node.op == "placeholder"]
        inputs = [tensor_at(place, self._memory[place.storage]) for place in places]
        if not inputs:
            return None
        calls = fx.GraphModule({}, self._graph).forward
        if self._traceable:
            return _traced(calls, inputs), inputs
        with torch.no_grad():
            calls(*inputs)
        return calls, inputs

    def _add(self, call: _Call) -> None:
        operation, nodes = call.operation, self._nodes
        views = not (operation.made or operation.writes)
        if views and nodes.keys() >= set(of_kind(Place, operation.results)):
            return  # of what stays
        arguments = each_of(Place, nodes.__getitem__, (operation.arguments, operation.options))
        if call.form is None:
            node = self._graph.call_function(operation.function, *arguments)
            if operation.writes:
                node.meta["writes"] = True
            else:
                self._name(node, operation.results)
            return
        outs = [each.name for each in call.form._schema.arguments if each.is_out]
        results = [nodes[place] for place in _several(operation.results)]
        options = {**arguments[1], **dict(zip(outs, results, strict=True))}
        node = self._graph.call_function(call.form, arguments[0], options)
        node.meta["writes"] = True

    def _name(self, node: fx.Node, result: Any) -> None:
        """Let what was made be found by its place, or copy it to where it is looked for."""
        if isinstance(result, list | tuple) and not isinstance(result, Place):
            for number, each in enumerate(result):
                if isinstance(each, Place):
                    part = self._graph.call_function(operator.getitem, (node, number))
                    self._name(part, each)
        elif isinstance(result, Place):
            if result.storage in self._memory:
                kept = self._nodes[result]
                self._graph.call_function(aten.copy_.default, (kept, node)).meta["writes"] = True
            else:
                self._nodes[result] = node


def _traced(calls: Callable[..., Any], inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """Calls as TorchScript's interpreter makes them, where there is one; they are made once.

    It takes a tenth of Python's time between them, and drops those that return nothing, whatever
    they write to. Torch deprecates it.
    """

    def taken(*given: Tensor) -> Tensor:
        calls(*given)
        return given[0]  # it must return something

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is deprecated, and that numbers are constants
            traced: Callable[..., Any] = torch.jit.trace(taken, tuple(inputs), check_trace=False)
    except (AttributeError, RuntimeError):
        return calls
    return traced


def _calls(operations: Iterable[Operation]) -> Iterator[_Call]:
    last = None
    for operation in operations:
        call = _Call(operation, None if is_native(operation.function) else _form(operation))
        if last is not None:
            together = call.native == last.native and call.returns and last.returns
            call = call._replace(part=last.part + (not together))
        yield call
        last = call


def _form(operation: Operation) -> Any:
    """The form of an operation that writes its results to given memory; None without a kernel."""
    function, results = operation.function, _several(operation.results)
    if not operation.made or operation.writes or not all(isinstance(one, Place) for one in results):
        return None
    taken = [(each.name, str(each.type)) for each in function._schema.arguments]
    for name in function.overloadpacket.overloads():
        form = getattr(function.overloadpacket, name)
        arguments = form._schema.arguments
        outs = [each for each in arguments if each.is_out]
        rest = [(each.name, str(each.type)) for each in arguments if not each.is_out]
        if len(outs) == len(results) and rest == taken and _has_kernel(form):
            return form
    return None


def _several(results: Any) -> Sequence[Any]:
    return results if type(results) in (tuple, list) else (results,)


def _has_kernel(form: Any) -> bool:
    """Whether it computes on a CPU by itself, and does not copy what the other form returns."""
    name = ".".join(filter(None, (form._schema.name, form._schema.overload_name)))
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CPU"))


def _memory(noted: Noted, calls: Sequence[_Call]) -> dict[int, torch.UntypedStorage]:
    """Where the storages lie that stay where they are.

    They are those that were there before, those that are written to as they are made, and those
    that go from one part to another. One that a step makes gets the memory of another of its size
    that nobody needs any more.
    """
    memory = {number: tensor.untyped_storage() for number, tensor in noted.outer.items()}
    last = {
        number: at for at, call in enumerate(calls) for number in _storages(call.operation.places())
    }
    ends: dict[int, list[int]] = defaultdict(list)
    for number, at in last.items():
        ends[at].append(number)
    free: dict[int, list[torch.UntypedStorage]] = defaultdict(list)
    for at, call in enumerate(calls):
        for number in call.operation.made:
            if call.form or call.native or calls[last[number]].part != call.part:
                size = noted.sizes[number]
                memory[number] = free[size].pop() if free[size] else torch.UntypedStorage(size)
        for number in ends[at]:
            if number in memory and number not in noted.outer:
                free[noted.sizes[number]].append(memory[number])
    return memory


def _storages(places: Iterable[Place]) -> set[int]:
    return {place.storage for place in places}


def _bytes(memory: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(memory)
