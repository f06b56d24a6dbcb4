"""What counts as the loss of another process, who tells of it, and that nothing cuts it short."""

import signal
import threading
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch._C._distributed_c10d import HashStore, ProcessGroupGloo

from distvae.training import peers
from distvae.training.peers import RollCall, is_loss
from distvae.training.stopping import StopRequest, handlers, put_back

GROUP = 3


def test_every_operation_that_waits_for_a_lost_process_tells_of_its_loss() -> None:
    store = HashStore()
    groups: dict[int, Any] = {}

    def join(rank: int) -> None:
        groups[rank] = ProcessGroupGloo(store, rank, 2, timedelta(seconds=0.5))

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pending = [groups[0].allreduce(torch.ones(3)) for _ in range(3)]  # and rank 1 is silent
    for work in pending:
        with pytest.raises(RuntimeError) as told:
            work.wait()
        assert is_loss(told.value), told.value


@pytest.mark.parametrize("error", [ValueError("gloo"), RuntimeError("shapes [2] and [3]")])
def test_what_else_fails_is_no_loss(error: Exception) -> None:
    assert not is_loss(error)


@pytest.mark.parametrize(
    ("left", "tells"), [((0, 1, 2), 0), ((1, 2), 1), ((2,), 2), ((0, 2), 0)], ids=str
)
def test_the_first_that_is_left_tells(
    left: tuple[int, ...], tells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "TURNS", 5)
    store = HashStore()
    calls = [RollCall(store, rank, GROUP) for rank in left]
    held = [threading.Thread(target=call.hold) for call in calls]
    for thread in held:
        thread.start()
    for thread in held:
        thread.join()
    assert [call.rank for call in calls if call.tells] == [tells]
    for call in calls:
        assert set(call.lost) == set(range(GROUP)) - set(left)


class Gone:
    """The store of a process group whose host cannot be reached."""

    def set(self, key: str, value: str) -> None:
        raise RuntimeError("broken pipe")


@pytest.mark.parametrize(
    ("rank", "local", "agent", "tells"),
    [
        (1, "1", "False", True),  # rank 0 held the store, and is gone with it
        (2, "2", "False", False),
        (0, "0", "True", True),  # the launcher is gone
        (1, "1", "True", False),
        (2, "0", "True", True),  # the first of another host
        (3, "1", "True", False),
    ],
)
def test_where_nobody_can_say_who_is_left_one_of_each_host_tells(
    rank: int, local: str, agent: str, tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", agent)
    call = RollCall(Gone(), rank, 4)
    call.hold()
    assert call.tells == tells
    assert call.lost == ([0] if rank else []), "no process loses itself"


def test_signals_are_noted_until_a_process_that_failed_has_ended() -> None:
    before = handlers()
    try:
        stop = StopRequest(lasting=True)
        with pytest.raises(ZeroDivisionError), stop:
            _ = 1 / 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_name == "SIGTERM"
    finally:
        put_back(before)
    assert handlers() == before
    with StopRequest(lasting=True):
        assert handlers() != before
    assert handlers() == before
