"""A step that is recorded once, and then repeated by its device without its program.

A GPU works off a step of a small model faster than Python can tell it what to do. As a CUDA graph
the step is told once: its kernels, with the memory they read and write. Whatever changes from step
to step must therefore lie in memory of the device that stays where it is: see ``plan.py``.
"""

import contextlib
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from distvae.errors import DistvaeError

WARM_UP = 3
"""Steps before a recording: libraries settle on their kernels, and compiled ones are compiled."""
WARM_UP_BETWEEN_PROCESSES = 11
"""The same under DDP, which measures its first ten."""
IN_A_ROW = 8
"""Steps of one recording: a GPU pauses for some microseconds before each recording it repeats."""
Step = Callable[[], None]


class Repeat(Protocol):
    """Repeats a recorded step."""

    def __call__(self, steps: int = 1) -> None:
        """So many times."""
        ...


class NotCaptured(Exception):
    """A step cannot be recorded; the message says why."""


class Recorder(Protocol):
    """Records steps."""

    def record(self, step: Step) -> Repeat:
        """Take the step a few times, and return what repeats it without its program.

        Raises:
            NotCaptured: it does what cannot be recorded, or there is no room.
        """
        ...


class CudaRecorder:
    """Records a step as a CUDA graph, on the current stream, which is not the default one.

    What a step allocates lies in memory of the graph. Gradients are made and forgotten within a
    step, so they do as well.
    """

    def record(self, step: Step) -> Repeat:
        """See :class:`Recorder`."""
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            for _ in range(WARM_UP_BETWEEN_PROCESSES if _between_processes() else WARM_UP):
                step()
            with _waiting_refused():  # a recording that fails half-way leaves its memory behind
                step()
            torch.cuda.synchronize()
            self._check_room(torch.cuda.max_memory_allocated() - before)
            one, several = _graph(step, 1), _graph(step, IN_A_ROW)
        except RuntimeError as error:  # which running out of memory is, too
            raise NotCaptured(_reason(error)) from error

        def repeat(steps: int = 1) -> None:
            for _ in range(steps // IN_A_ROW):
                several.replay()
            for _ in range(steps % IN_A_ROW):
                one.replay()

        return repeat

    def _check_room(self, needed: int) -> None:
        """Refuse a step that would run out of memory while it is recorded, which ends badly."""
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        if free < needed:
            raise NotCaptured(
                f"out of memory: a recorded step needs {needed >> 20:,} MiB of its own, and "
                f"{free >> 20:,} MiB are free"
            )


def _graph(step: Step, steps: int) -> torch.cuda.CUDAGraph:
    """So many steps as one graph, recorded and not taken."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    # other threads may use the GPU meanwhile
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        for _ in range(steps):
            step()
    return graph


class Graphs:
    """The recorded step of a run: made when it is first asked for, and made anew for another one.

    Args:
        recorder: of the device.
        insist: whether a step that cannot be recorded ends the run; else it is taken by its
            program from then on.
        agreed: (why this process failed, empty if it did not) -> why some process failed.
    """

    def __init__(
        self, recorder: Recorder, insist: bool, agreed: Callable[[str], str] = lambda why: why
    ) -> None:
        self._recorder, self._insist, self._agreed = recorder, insist, agreed
        self._key: Hashable = None
        self._replay: Repeat | None = None
        self.refused = ""
        """Why the step could not be recorded, once it could not."""
        self._told = False

    def of(
        self, key: Hashable, step: Step, untouched: Callable[[], AbstractContextManager[None]]
    ) -> Repeat | None:
        """What repeats a step; None where it must be taken by its program.

        Args:
            key: of all that a recording depends on; the step of another key is recorded anew.
            step: what is recorded.
            untouched: within which steps may be taken that leave no trace.

        Raises:
            DistvaeError: it cannot be recorded, and the run insists.
        """
        if self.refused or key == self._key:
            return self._replay
        self.forget()
        why = ""
        with untouched():
            try:
                self._replay = self._recorder.record(step)
            except NotCaptured as error:
                why = str(error) or "no reason is known"
        self.refused = self._agreed(why)
        if self.refused:
            self.forget()
            if self._insist:
                raise refusal(self.refused)
        else:
            self._key = key
        return self._replay

    def news(self) -> str:
        """What to say, once, of a step that could not be recorded; else nothing."""
        if self._told or not self.refused:
            return ""
        self._told = True
        return f"steps are not captured, and taken one by one: {self.refused}"

    def forget(self) -> None:
        """Drop what was recorded, and its memory."""
        self._key = self._replay = None


def refusal(why: str) -> DistvaeError:
    """What ends a run that insists."""
    return DistvaeError(
        "--capture on: the steps of this run cannot be captured",
        why,
        "Take --capture auto, which captures them where it can.",
    )


def use_own_stream(device: torch.device) -> None:
    """Queue the work of this thread on a stream of its own: that of the default cannot be recorded.

    Modules are wrapped and trained on the same stream, as DDP ties gradients to the one on which it
    was built.
    """
    if device.type != "cuda":
        return
    default = torch.cuda.default_stream(device)
    if torch.cuda.current_stream(device) == default:
        own = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        own.wait_stream(default)
        torch.cuda.set_stream(own)


@contextlib.contextmanager
def _waiting_refused() -> Iterator[None]:
    """Inside, what makes the host wait for the device, which no recording can hold, is an error."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _between_processes() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _reason(error: BaseException) -> str:
    """The first cause of what went wrong, in one line; the end of a recording hides it."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0]
