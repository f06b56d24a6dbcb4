"""When a process of the run is lost: what the others say, and that they end."""

import contextlib
import os
import re
import shlex
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from distvae.errors import DistvaeError, LostError
from distvae.runs import is_run
from distvae.training.stopping import StopRequest, handlers, put_back
from distvae.training.world import introduce

TURN, TURNS = 0.05, 60
"""Seconds between two looks at who signed, and how many; time in which a process is stopped, or has
no processor, is no turn."""
BACKENDS = ("gloo", "nccl", "pair closure")
"""One of these is in what a backend says; the last where gloo says of an operation that another one
was not done in time, as of those that DDP has under way at once."""
AGENT = "TORCHELASTIC_USE_AGENT_STORE"
"""Whether torch's launcher keeps the store of the process group."""


def is_loss(error: BaseException) -> bool:
    """Whether a collective failed because another process or the way to it did."""
    text = str(error).lower()
    kind = isinstance(error, torch.distributed.DistError)
    return kind or (isinstance(error, RuntimeError) and any(word in text for word in BACKENDS))


@contextlib.contextmanager
def watched_peers(
    accelerator: Accelerator, folder: Path, stays: bool = False
) -> Iterator[list[str]]:
    """Turn the loss of another process into one message; gives how to call each rank.

    A process that fails here leaves its reason for the others. After a failed collective the ranks
    that are left sign a list in the process group's store; those that do not sign are lost.

    Args:
        accelerator: with its process group up.
        folder: the run, to say how to go on.
        stays: whether the process group is left for what the processes do next.

    Raises:
        LostError: another process was lost, or did not answer in time.
    """
    if accelerator.num_processes == 1:
        try:
            yield introduce(accelerator)
        finally:
            _let_go(stays)
        return
    rank, names = accelerator.process_index, [f"rank {n}" for n in range(accelerator.num_processes)]
    store = torch.distributed.distributed_c10d._get_default_store()
    found, telling = handlers(), False
    try:
        names[:] = introduce(accelerator)
        yield names
    except Exception as error:
        if not is_loss(error):
            if not isinstance(error, DistvaeError):
                _leave_reason(store, rank, f"{type(error).__name__}: {error}")
            raise
        with StopRequest(lasting=True):
            call = RollCall(store, rank, len(names))
            call.hold()
            lost = _lost(call, names, folder, str(error))
            telling = lost.tells
            raise lost from error
    finally:
        _let_go(stays)
        if stays or not telling:  # one that tells ends, but not before it has told
            put_back(found)


def _let_go(stays: bool) -> None:
    """Leave the process group; not under NCCL, which would wait for the lost, and for graphs."""
    if stays:
        return
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


@dataclass
class RollCall:
    """Who is left."""

    store: Any
    rank: int
    size: int
    answered: bool = False
    """Whether the store did; under a plain start it dies with rank 0."""
    missing: set[int] = field(default_factory=set)
    reasons: dict[int, str] = field(default_factory=dict)
    """By rank, why those ended that could still tell."""

    def hold(self) -> None:
        """Sign, and wait for the others to; in a thread, as the way to the store may be cut."""
        thread = threading.Thread(target=self._hold, daemon=True)
        thread.start()
        for _ in range(2 * TURNS):
            if thread.is_alive():
                thread.join(TURN)

    @property
    def lost(self) -> list[int]:
        """The ranks that did not sign; where nobody can tell, the one that is known to be gone."""
        if self.answered:
            return sorted(self.missing)
        return [0] if self.rank else []

    @property
    def tells(self) -> bool:
        """Whether it is for this rank to say it."""
        if not self.answered:
            held = os.environ.get(AGENT) != "True"  # by rank 0, and went with it
            return os.environ.get("LOCAL_RANK") == "0" or (self.rank == 1 and held)
        left = min(set(range(self.size)) - self.missing)
        return self.rank == left and 0 not in self.reasons  # rank 0 tells its own end itself

    def _hold(self) -> None:
        missing = set(range(self.size))
        with contextlib.suppress(RuntimeError):
            self.store.set(f"distvae/here/{self.rank}", "here")
            for _ in range(TURNS):
                missing = {r for r in missing if not self.store.check([f"distvae/here/{r}"])}
                if not missing:
                    break
                time.sleep(TURN)
            for rank in missing:
                if self.store.check([f"distvae/left/{rank}"]):
                    self.reasons[rank] = self.store.get(f"distvae/left/{rank}").decode()
            self.missing = missing
            self.answered = True


def _leave_reason(store: Any, rank: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError):
        store.set(f"distvae/left/{rank}", reason[:500])


def _lost(call: RollCall, names: list[str], folder: Path, error: str) -> LostError:
    go_on = "Start all processes again"
    if is_run(folder):
        go_on += f" by the same launcher with: distvae train --resume {shlex.quote(str(folder))}"
    reasons = [f"rank {rank} said {reason}" for rank, reason in call.reasons.items()]
    plain = re.sub(r"^\[[^]]*\] ", "", error.splitlines()[0]).partition(". This")[0]
    found = "; ".join(reasons) or plain  # without the line of gloo's source
    if not call.answered and call.rank == 0:
        return LostError(
            "rank 0 lost the launcher, which knows what processes are left",
            f"expected {len(names)} processes, found: {found}",
            f"{go_on}.",
            call.tells,
        )
    if not call.lost:
        return LostError(
            f"the {len(names)} processes failed to exchange numbers, and all are still there",
            f"found on rank {call.rank}: {found}",
            f"{go_on}; where one just takes long, with a larger --timeout.",
            call.tells,
        )
    lost = ", ".join(names[rank] for rank in call.lost)
    return LostError(
        f"rank {call.rank} lost {lost}",
        f"expected {len(names)} processes, found: {found}",
        f"{go_on}.",
        call.tells,
    )
