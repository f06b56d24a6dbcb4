"""`distvae bench train --plan`: what more devices would bring, computed from what one does.

A step on n devices takes as long as one device takes for its share of the batch, and then the
all-reduce of the gradients, S bytes, 4 for each parameter:

- in a node of n devices a ring: 2 (n-1)/n S / bandwidth + 2 (n-1) latency;
- over m nodes a ring in each node and one ring over the nodes, with the nodes' own bandwidth:
  the sum of both terms.

Every device is taken to be as fast as the one that is measured, and to hold the whole model (DDP).
Nothing is assumed to overlap: the all-reduce waits for the whole backward pass. Real runs send the
last layers' gradients while the first layers' are computed, so this errs on the slow side. A share
of b images takes a + c b seconds; a and c come from two measured batches.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from distvae.bench.train import BenchConfig, check, probed, time_run
from distvae.errors import DistvaeError
from distvae.runs import Run
from distvae.terminal import make_console, progress_bar

GIGA, MICRO = 1e9, 1e-6
FLOAT32 = 4
CALLS = 30


@dataclass(frozen=True)
class Links:
    """What joins the devices, bytes per second and seconds."""

    device: float
    """Bandwidth between the devices of a node."""
    node: float
    """Bandwidth between nodes."""
    latency: float
    """Of one message."""


@dataclass(frozen=True)
class Step:
    """Seconds of a step of b images on one device: ``fixed + each * b``."""

    fixed: float
    each: float

    @classmethod
    def through(cls, first: tuple[int, float], second: tuple[int, float]) -> "Step":
        """The line through two measured (images, seconds), of which none is negative."""
        (many, long), (few, short) = first, second
        each = (long - short) / (many - few) if many != few else long / many
        each = min(max(each, 0.0), long / many)
        return cls(long - each * many, each)

    def seconds(self, images: float) -> float:
        """Of so many images."""
        return self.fixed + self.each * images


def ring_seconds(size: float, devices: int, bandwidth: float, latency: float) -> float:
    """All-reduce of ``size`` bytes in a ring; bytes per second, seconds."""
    others = devices - 1
    return 2 * others / devices * size / bandwidth + 2 * others * latency


def all_reduce_seconds(size: float, devices: int, nodes: int, links: Links) -> float:
    """All-reduce of ``size`` bytes over ``nodes`` of ``devices`` each."""
    within = ring_seconds(size, devices, links.device, links.latency)
    return within + ring_seconds(size, nodes, links.node, links.latency)


def layouts(gpus: int, nodes: int) -> list[tuple[int, int]]:
    """(devices in a node, nodes) that are compared: one node fills up, then nodes are added."""
    return [*((count, 1) for count in _doubled(gpus)), *((gpus, n) for n in _doubled(nodes)[1:])]


def plan(config: BenchConfig) -> None:
    """Measure the recipe on one device and print what more of them would do.

    Raises:
        DistvaeError: an unknown variant, a number too small, or a run that failed.
    """
    check(config)
    _check(config)
    console = make_console()
    load = f", load average before {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    variant = config.variants[0]
    with progress_bar("measuring", 2) as advance, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "whole")
        whole = time_run(config.config, variant, config.steps, folder).images_per_second
        record = Run(folder, folder).config()
        batch = record.optim.batch
        few = max(1, batch // (config.gpus * config.nodes))
        advance(1)
        share = time_run(
            config.config, variant, config.steps, Path(scratch, "few"), f"--batch-size={few}"
        ).images_per_second
        advance(1)
        probe = probed(folder)
    step = Step.through((batch, batch / whole), (few, few / share))
    size = probe.parameters * FLOAT32
    links = Links(config.bandwidth * GIGA, config.node_bandwidth * GIGA, config.latency * MICRO)
    console.print(
        f"measured on one {probe.device}, {variant}{load}: {1e3 * batch / whole:,.3f} ms a step "
        f"of {batch} images, {1e3 * few / share:,.3f} ms of {few}\n"
        f"all-reduce of S = {size / 1e6:,.2f} MB of gradients over n devices in each of m nodes: "
        f"2(n-1)/n S / {config.bandwidth:g} GB/s + 2(n-1) {config.latency:g} us, plus "
        f"2(m-1)/m S / {config.node_bandwidth:g} GB/s + 2(m-1) {config.latency:g} us\n"
        "assumed: every device is as fast as this one and holds the whole model (DDP); nothing "
        "overlaps, the all-reduce waits for the whole backward pass\n"
        "efficiency: images/s of one of the devices, over those of a device alone"
    )
    if few < batch and step.each == 0:
        console.print(
            f"{few} images took as long as {batch}: something else used the machine, or a step "
            "costs the same whatever it holds; the first table then shows no gain",
            style="yellow",
        )
    for on_each in (False, True):
        console.print(_sheet(config, step, batch, size, links, on_each))


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
    return Links(bandwidth, bandwidth, small / 2)


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


def _sheet(
    config: BenchConfig, step: Step, batch: int, size: float, links: Links, on_each: bool
) -> Table:
    """A row for each layout: that batch on each device, or one batch shared by all."""
    title = f"batch {batch} {'on each device' if on_each else 'shared by all devices'}"
    sheet = Table(title=f"{config.config}, {title}", title_justify="left", caption_justify="left")
    for column in ("devices", "nodes", "global batch", "on each", "all-reduce, ms", "step, ms"):
        sheet.add_column(column, justify="right", no_wrap=True)
    for column in ("images/s", "efficiency"):
        sheet.add_column(column, justify="right", no_wrap=True)
    alone = batch / step.seconds(batch)
    uneven = []
    for devices, nodes in layouts(config.gpus, config.nodes):
        count = devices * nodes
        if not on_each and batch % count:
            uneven.append(str(count))
            continue
        local = batch if on_each else batch // count
        reduce = all_reduce_seconds(size, devices, nodes, links)
        seconds = step.seconds(local) + reduce
        speed = local * count / seconds
        sheet.add_row(
            *(str(count), str(nodes), f"{local * count:,}", f"{local:,}"),
            *(f"{1e3 * reduce:,.3f}", f"{1e3 * seconds:,.3f}"),
            *(f"{speed:,.0f}", f"{speed / count / alone:.1%}"),
        )
    if uneven:
        sheet.caption = f"left out: {', '.join(uneven)} devices, which cannot share {batch} equally"
    return sheet


def _doubled(most: int) -> list[int]:
    """1, 2, 4, ... and ``most`` itself."""
    powers = [2**n for n in range(most.bit_length()) if 2**n < most]
    return [*powers, most]


def _check(config: BenchConfig) -> None:
    for name in ("gpus", "nodes", "bandwidth", "node_bandwidth"):
        if not getattr(config, name) > 0:
            flag = name.replace("_", "-")
            raise DistvaeError(f"--{flag} is {getattr(config, name)}", "expected more than 0")
    if config.latency < 0:
        raise DistvaeError(f"--latency is {config.latency}", "expected 0 or more")


if __name__ == "__main__":
    time_all_reduces(int(sys.argv[1]))
