"""What joins devices, and how long an all-reduce over it takes.

Run as a program, this file is one of two processes that time all-reduces on this machine.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace

GIGA, MICRO = 1e9, 1e-6
FLOAT32 = 4
CALLS = 30


@dataclass(frozen=True)
class Links:
    """What joins the devices, bytes per second in each direction, and seconds."""

    device: float
    """Bandwidth between the devices of a node."""
    node: float
    """Bandwidth between nodes, of all devices of a node together."""
    latency: float
    """Of one message in a node."""
    node_latency: float
    """Of one message between nodes."""
    source: str = ""
    """Where the numbers are from, and which are assumed."""

    def changed(self, given: dict[str, float | None]) -> "Links":
        """The same with those numbers that are given, in GB/s and microseconds."""
        units = {"device": GIGA, "node": GIGA, "latency": MICRO, "node_latency": MICRO}
        asked = {name: value * units[name] for name, value in given.items() if value is not None}
        if not asked:
            return self
        left = "" if len(asked) == len(units) else f", else {self.source}"
        source = f"as asked{left}"
        return replace(self, **asked, source=source)


KNOWN = {
    "pcie": Links(
        20 * GIGA,
        10 * GIGA,
        20 * MICRO,
        20 * MICRO,
        "assumed: PCIe 4.0 in a node, Ethernet of 100 Gbit/s between nodes, 20 us a message",
    ),
    "h100": Links(
        450 * GIGA,
        400 * GIGA,
        2 * MICRO,
        5 * MICRO,
        "NVIDIA's DGX H100: NVLink 4 of 900 GB/s for each GPU, half of it each way, and 8 "
        "InfiniBand ports of 400 Gbit/s for a node of 8; assumed: their full rate, 2 us a message "
        "over NVLink, 5 us over InfiniBand",
    ),
}
"""By the name that --links gives."""


def ring_seconds(size: float, devices: int, bandwidth: float, latency: float) -> float:
    """All-reduce of ``size`` bytes in a ring; bytes per second, seconds."""
    others = devices - 1
    return 2 * others / devices * size / bandwidth + 2 * others * latency


def all_reduce_seconds(size: float, devices: int, nodes: int, links: Links) -> float:
    """All-reduce of ``size`` bytes over ``nodes`` of ``devices`` each."""
    within = ring_seconds(size, devices, links.device, links.latency)
    return within + ring_seconds(size, nodes, links.node, links.node_latency)


def measure_links(size: int) -> Links:
    """Of two gloo processes on this machine, from all-reduces of one number and of ``size`` bytes.

    Latency is half the time of the smallest all-reduce, as the ring's formula has it for two.
    """
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", __name__]
    outcome = subprocess.run(
        [sys.executable, *words, str(size)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    small, large = json.loads(outcome.stdout)
    bandwidth = size / max(large - small, 1e-9)
    return Links(bandwidth, bandwidth, small / 2, small / 2, "measured on this machine")


def time_all_reduces(size: int) -> None:
    """One of the processes: median seconds of both sizes of all-reduce, as a line of JSON."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    medians = []
    for count in (1, max(1, size // FLOAT32)):
        numbers = torch.zeros(count)
        seconds = []
        for _ in range(CALLS):
            distributed.barrier()
            started = time.perf_counter()
            distributed.all_reduce(numbers)
            seconds.append(time.perf_counter() - started)
        medians.append(statistics.median(seconds))
    if distributed.get_rank() == 0:
        sys.stdout.write(json.dumps(medians))
    distributed.destroy_process_group()


if __name__ == "__main__":
    time_all_reduces(int(sys.argv[1]))
