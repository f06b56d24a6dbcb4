"""The line of a run on recorded terminals of several widths."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator

import pyte
import pytest

from distvae.training.console import TrainingConsole

EVALUATED = {"elbo": -88.0, "distortion": 73.5, "rate": 14.5, "active_units": 16, "latent_dim": 16}
TRAINED = {"elbo": -91.25, "distortion": 76.0, "rate": 15.25, "images_per_second": 12345.0}


def recorded(columns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a terminal of so many columns shows while a run goes on; lines without their ends."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 12, columns, 0, 0))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))  # rich asks the process's own terminal otherwise
    for name in ("LINES", "NO_COLOR", "FORCE_COLOR", "JPY_PARENT_PID", "DISTVAE_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(_read_all(main)))
    reader.start()
    with os.fdopen(side, "w") as terminal, monkeypatch.context() as streams:
        for name in ("stdout", "stdin", "stderr"):
            streams.setattr(sys, name, terminal)
        console = TrainingConsole(True, 30_000, 468, 0)
        console.say("a line of words that is longer than a narrow terminal has room for, by far")
        with console:
            console.moved(7488)
            console.step(TRAINED)
            console.epoch(16.0, EVALUATED, "test")
    reader.join()
    os.close(main)
    screen = pyte.Screen(columns, 12)
    stream, shown = pyte.ByteStream(screen), list[str]()
    for part in re.split(rb"(?=\r\x1b\[2K)", b"".join(found)):  # before a line is drawn anew
        stream.feed(part)
        shown += [line.rstrip() for line in screen.display]
    return shown


def _read_all(descriptor: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # the other side is closed
        while chunk := os.read(descriptor, 1 << 16):
            yield chunk


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_steps_and_time_left_are_shown_whatever_the_width(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = recorded(columns, monkeypatch)
    live = [line for line in shown if "step 7,488/30,000" in line]
    assert live
    assert all(re.search(r"\d:\d\d:\d\d left", line) for line in live)
    assert all(len(line) <= columns for line in shown)
    text = "\n".join(live)
    assert "elbo -91.25" in text
    assert ("rate 15.25" in text) == (columns >= 100)
    assert "distortion" not in text
    assert ("━" in text) == (columns >= 80)
    assert any(line.startswith("epoch 16/64.1  test  elbo -88.00") for line in shown)
    assert any("done, stopped early, step 7,488" in line for line in shown[-12:])
    words = " ".join(line for line in shown[-12:] if line and "epoch" not in line)
    assert words == "a line of words that is longer than a narrow terminal has room for, by far"
