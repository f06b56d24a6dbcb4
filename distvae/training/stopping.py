"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 as a request that the loop honours between two steps."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from accelerate import Accelerator

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]
SECOND_THOUGHT = 1.0
"""Seconds after which another Ctrl-C is meant; before, a launcher may have passed on the same."""
VOTE_SECONDS = 0.5
"""How often several processes agree on whether to stop."""
ALONE_SECONDS = 0.1
"""How often a process alone looks whether it shall stop."""


class Interrupted(Exception):
    """A run was asked to stop and has written a checkpoint."""


def handlers() -> dict[signal.Signals, Any]:
    """What now happens at each of the signals."""
    return {number: signal.getsignal(number) for number in SIGNALS}


def put_back(found: dict[signal.Signals, Any]) -> None:
    """Let signals do what they did; only the main thread of a process may."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in found.items():
            # None is a handler that was not set by Python, which then cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class StopRequest:
    """While active, a signal sets ``signal_name``; a second Ctrl-C acts at once.

    Only the main thread of a process may listen to signals; in another one none sets it.

    Args:
        lasting: whether it stays active when an error leaves it. One of several processes that
            fails still has to say why, and a launcher that saw another one end sends it SIGTERM.
    """

    def __init__(self, lasting: bool = False) -> None:
        self.signal_name: str | None = None
        self._lasting = lasting
        self._since = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._previous = handlers()
        main = threading.current_thread() is threading.main_thread()
        for number in SIGNALS if main else ():
            if number.name == "SIGHUP" and self._previous[number] == signal.SIG_IGN:
                continue  # nohup: the run shall outlive its terminal
            signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or not self._lasting:
            put_back(self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is None:
            self.signal_name, self._since = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > SECOND_THOUGHT:
            raise KeyboardInterrupt


class Vote:
    """Processes agree on the step at which they stop, though a signal reaches but one.

    They look at it after some steps, at the times below, or after each step where one takes longer;
    each look settles the step of the next. A process alone needs to ask nobody, so it looks more
    often.

    Args:
        accelerator: with its process group up.
        stop: what was asked of this process.
        step: steps taken so far.
    """

    def __init__(self, accelerator: Accelerator, stop: StopRequest, step: int) -> None:
        self._accelerator = accelerator
        self._stop = stop
        self._last, self.due = step, step + 1
        self._since = time.perf_counter()
        self.troubled = False
        """Whether a process is in trouble, so that all shall look."""

    def signal_name(self, step: int, trouble: bool = False) -> str | None:
        """The signal that all shall stop for after this step, None to go on.

        Steps may be taken up to the one that is ``due`` without asking.
        """
        name, alone = self._stop.signal_name, self._accelerator.num_processes == 1
        if step < self.due and not alone:
            return None
        each = (time.perf_counter() - self._since) / max(1, step - self._last)
        if not alone:
            mine = [float(signal.Signals[name]) if name else 0.0, each, float(trouble)]
            votes = torch.tensor([mine], device=self._accelerator.device)
            number, each, troubled = self._accelerator.gather(votes).amax(0).tolist()
            name, trouble = signal.Signals(int(number)).name if number else None, troubled > 0
        self.troubled = trouble
        seconds = ALONE_SECONDS if alone else VOTE_SECONDS
        self._last, self.due = step, step + max(1, int(seconds / max(each, 1e-6)))
        self._since = time.perf_counter()
        return name
