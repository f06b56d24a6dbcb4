"""Two hosts, as network namespaces joined by a cable that can be cut."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distvae.runs import checkpoints
from tests.conftest import CHECKOUT, HANG
from tests.training.groups import TRAIN, Starter, starter
from tests.warm import Started, begin

__all__ = ["starter"]

ADDRESSES = ("10.77.0.1", "10.77.0.2")
STEPS, EVERY, EPOCH, TIMEOUT = 240, 25, 30, 8
"""No checkpoint but the last is at the end of an epoch."""
FLAGS = (
    *("--hidden", "16", "--latent-dim", "3", "--batch-size", "4", "--max-steps", str(STEPS)),
    *("--checkpoint-every", str(EVERY), "--eval-every", "50", "--sample-every", "50"),
    *("--log-every", "10", "--mixed-precision", "no", "--timeout", str(TIMEOUT)),
)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=HANG)


@dataclass
class Hosts:
    """Two machines that see the same files."""

    names: tuple[str, str]
    here: Path
    environment: dict[str, str]
    started: list[Started] = field(default_factory=list)

    def start(self, *flags: str) -> list[Started]:
        """The same command on each, with its number."""
        settings = {
            **self.environment,
            "ACCELERATE_USE_CPU": "1",
            "GLOO_SOCKET_IFNAME": "cable",
        }
        config = str(CHECKOUT / "accelerate_configs" / "multi_node.yaml")
        launcher = [
            *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", config),
            *("--num_machines", "2", "--num_processes", "4", "--main_process_ip", ADDRESSES[0]),
            *("--main_process_port", "29500"),
        ]
        begun = [
            begin(
                [*launcher, "--machine_rank", str(rank), *TRAIN, "--resume", "auto", *flags],
                self.here,
                settings,
                one_output=True,
                network=name,
            )
            for rank, name in enumerate(self.names)
        ]
        self.started += begun
        return begun

    def cable(self, state: str) -> None:
        ip("-n", self.names[0], "link", "set", "cable", state)


def ended(processes: list[Started]) -> list[tuple[int, str]]:
    """Exit codes and what was said."""
    texts = [process.communicate(timeout=HANG)[0] for process in processes]
    return [(process.wait(), text) for process, text in zip(processes, texts, strict=True)]


@pytest.fixture
def hosts(here: Path, environment: dict[str, str]) -> Iterator[Hosts]:
    """Two namespaces with two addresses and one cable."""
    if shutil.which("ip") is None:
        pytest.skip("no network namespaces: the command ip (iproute2) is not installed")
    mark = uuid.uuid4().hex[:6]
    first, second = names = (f"distvae-{mark}-a", f"distvae-{mark}-b")
    found = Hosts(names, here, environment)
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ends = ("type", "veth", "peer", "name", "cable", "netns", second)
            ip("link", "add", "cable", "netns", first, *ends)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not permitted here: {error.stderr.decode()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield found
    finally:
        for name in names:
            left = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
            for pid in left.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
        for process in found.started:
            process.communicate()
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
def test_a_cut_cable_stops_both_hosts_and_the_same_command_goes_on(
    hosts: Hosts, starter: Starter, shapes: Path, here: Path
) -> None:
    command = ("--data", str(shapes), *FLAGS)
    cut = hosts.start(*command, "--output", "cut")
    deadline = time.monotonic() + HANG
    while not checkpoints(here / "cut"):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in cut), ended(cut)
        time.sleep(0.02)
    hosts.cable("down")
    whole = starter.plain(*command, "--output", "whole", size=4)  # while they wait for each other
    sides = (("error: rank 0 lost rank 2 (", ", rank 3 ("), ("error: rank 2 lost rank 0 (",))
    for (code, said), words in zip(ended(cut), sides, strict=True):
        assert code != 0, said
        told = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(told) == 1, said
        for word in (*words, "expected 4 processes", "--resume cut"):
            assert word in told[0]
    newest = checkpoints(here / "cut")[-1]
    assert int(newest.name.removeprefix("step-")) % EPOCH
    for alone in whole.ended():
        assert alone.code == 0, alone

    hosts.cable("up")
    (code, said), (last, _) = ended(hosts.start(*command, "--output", "cut"))
    assert (code, last) == (0, 0), said
    assert f"resuming cut from cut/checkpoints/{newest.name}" in said
    one, other = (here / run / "model.safetensors" for run in ("whole", "cut"))
    assert one.read_bytes() == other.read_bytes()
