"""Real processes over gloo, started by torch's launcher or one by one."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distvae.runs import checkpoints
from tests.conftest import CHECKOUT, HANG, Ended
from tests.warm import Started, begin

TRAIN = (str(CHECKOUT / "launch" / "train.py"),)


class Group:
    """Processes of one run, or the launcher that started them."""

    def __init__(self, processes: list[Started], run: Path) -> None:
        self.processes = processes
        self.run = run

    def ended(self) -> list[Ended]:
        """How each ended."""
        outputs = [process.communicate(timeout=HANG) for process in self.processes]
        return [
            Ended(process.wait(), *told)
            for process, told in zip(self.processes, outputs, strict=True)
        ]

    def kill(self) -> None:
        """SIGKILL to all at once, workers of a launcher included."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for worker in workers(process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            process.kill()
            process.communicate()

    def wait_for_step(self, step: int) -> None:
        """Return when the run is past a step."""
        path = self.run / "metrics.jsonl"
        deadline = time.monotonic() + HANG
        while time.monotonic() < deadline:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            lines = text.splitlines()[-2:-1]
            if lines and int(lines[0].split('"step": ')[1].split(",")[0]) >= step:
                return
            for process in self.processes:
                assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        raise AssertionError(f"step {step} did not come")

    def wait_for_checkpoint(self, count: int) -> None:
        """Return when the run has as many checkpoints."""
        deadline = time.monotonic() + HANG
        while len(checkpoints(self.run)) < count:
            assert time.monotonic() < deadline
            for process in self.processes:
                assert process.poll() is None, process.communicate()
            time.sleep(0.005)


def workers(launcher: Started) -> list[int]:
    """Process numbers of what a launcher started, each in a session of its own, by rank."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            _, parent, _, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(parent) == launcher.pid and session == folder.name:
                found.append(int(folder.name))
    return sorted(found)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Starter:
    """Starts groups in a folder, and ends what is left of them."""

    def __init__(self, here: Path, environment: dict[str, str]) -> None:
        self.here = here
        self.environment = {**environment, "ACCELERATE_USE_CPU": "1"}
        self.groups: list[Group] = []

    def launched(self, *flags: object, run: str = "run", size: int = 2) -> Group:
        """As torch's launcher starts them; it is the one process of the group."""
        launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
        command = [*launcher, "--nproc_per_node", str(size), *TRAIN, *map(str, flags)]
        return self._note([begin(command, self.here, self.environment, new_session=True)], run)

    def plain(
        self,
        *flags: object,
        run: str = "run",
        script: tuple[str, ...] = TRAIN,
        only: dict[int, dict[str, Any]] | None = None,
        size: int = 2,
    ) -> Group:
        """One by one, with nobody to look after them; ``only`` has flags, env and here by rank."""
        world = {
            **self.environment,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
        }
        processes = []
        for rank in range(size):
            own = (only or {}).get(rank, {})
            command = [sys.executable, *script, *map(str, [*flags, *own.get("flags", ())])]
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            environment = {**world, **ranks, **own.get("env", {})}
            here = own.get("here", self.here)
            processes.append(begin(command, here, environment, new_session=True))
        return self._note(processes, run)

    def _note(self, processes: list[Started], run: str) -> Group:
        self.groups.append(Group(processes, self.here / run))
        return self.groups[-1]


@contextlib.contextmanager
def starting(here: Path, environment: dict[str, str]) -> Iterator[Starter]:
    """A starter whose groups are gone afterwards."""
    starter = Starter(here, environment)
    try:
        yield starter
    finally:
        for group in starter.groups:
            group.kill()


@pytest.fixture
def starter(tmp_path: Path, environment: dict[str, str]) -> Iterator[Starter]:
    """Starts processes in ``tmp_path``."""
    with starting(tmp_path, environment) as made:
        yield made
