"""The processes of a sweep: several at a time, each command with a log for what it prints."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from distvae.terminal import PLAIN, PROGRESS, QUIET

PAUSE = 0.2
"""Seconds between two looks at the processes."""
Step = Callable[[], "list[str] | None"]
"""The words of the next command, asked for once the one before is done; None: it is needless."""


@dataclass
class Job:
    """One run: commands after each other, until one fails."""

    name: str
    log: Path
    """What its commands print; it grows."""
    steps: list[Step]
    """Those that are still to come."""
    slot: int = -1
    """Its number among the jobs that are under way."""
    process: "subprocess.Popen[bytes] | None" = None
    code: int | None = None
    """How it ended: that of the command that failed, else 0; None until then."""


class Stopped(Exception):
    """The sweep was told to stop, by the signal that it names; its processes have ended."""


def run_jobs(
    jobs: Sequence[Job],
    count: int,
    ended: Callable[[Job], None],
    look: Callable[[Sequence[Job]], None],
) -> None:
    """Run jobs, so many at a time, in their order.

    Args:
        jobs: whose ``code`` is set when they have ended.
        count: how many at a time.
        ended: told of each that has.
        look: called again and again with those that are under way.

    Raises:
        Stopped: SIGINT or SIGTERM came; it was passed on, and every process has ended.
    """
    waiting, running = list(jobs), list[Job]()
    with _noticing() as told:
        try:
            while waiting or running:
                while waiting and len(running) < count and not told:
                    job = waiting.pop(0)
                    job.slot = min(set(range(count)) - {each.slot for each in running})
                    running.append(job)
                if told:
                    _stop(running, told)
                    raise Stopped(signal.Signals(told[0]).name)
                for job in running:
                    _advance(job, count)
                for job in [job for job in running if job.code is not None]:
                    running.remove(job)
                    ended(job)
                look(running)
                if running:
                    time.sleep(PAUSE)
        finally:
            for job in running:
                if job.process is not None and job.process.poll() is None:
                    job.process.kill()
                    job.process.wait()


def _advance(job: Job, count: int) -> None:
    """Start the next command of a job when the one before is done."""
    if job.process is not None:
        job.code = job.process.poll() or None
        if job.code is not None or job.process.returncode is None:
            return
        job.process = None
    while job.steps:
        words = job.steps.pop(0)()
        if words is not None:
            with job.log.open("ab") as log:
                job.process = _started(words, log, job.slot, count)
            return
    job.code = 0


def _started(
    words: Sequence[str], log: IO[bytes], slot: int, count: int
) -> "subprocess.Popen[bytes]":
    """A command as a process that the terminal's Ctrl-C does not reach: this one passes it on."""
    environment = {**os.environ, PROGRESS: PLAIN, QUIET: ""}
    if count > 1 and "OMP_NUM_THREADS" not in environment:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // count))
    if len(devices := _devices()) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return subprocess.Popen(
        [sys.executable, "-m", "distvae", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )


def _devices() -> list[str]:
    """GPUs of NVIDIA that this process may take, each the whole of a job."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [each for each in named.split(",") if each]
    count = sum(path.name[6:].isdigit() for path in Path("/dev").glob("nvidia*"))
    return [str(number) for number in range(count)]


def _stop(running: Sequence[Job], told: list[int]) -> None:
    """Pass a signal on and wait, until all have ended or it comes once more."""
    left = [job.process for job in running if job.process is not None]
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(told[0])
    while len(told) < 2 and any(process.poll() is None for process in left):
        time.sleep(PAUSE)


@contextlib.contextmanager
def _noticing() -> Iterator[list[int]]:
    """Gives a list to which SIGINT and SIGTERM are added as they come, in the main thread."""
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
