"""`distvae bench train --plan`: what more devices would bring, computed from what one does.

A step on n devices takes as long as one device takes for its share of the batch, and then the
all-reduce of the gradients, S bytes, 4 for each parameter:

- in a node of n devices a ring: 2 (n-1)/n S / bandwidth + 2 (n-1) latency;
- over m nodes a ring in each node and one ring over the nodes, with the nodes' own bandwidth:
  the sum of both terms.

Every device is taken to be as fast as the one that is measured, and to hold the whole model (DDP).
Nothing is assumed to overlap: the all-reduce waits for the whole backward pass. Real runs send the
last layers' gradients while the first layers' are computed, so this errs on the slow side. Between
the batches that were timed a step's time is a line.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from distvae.bench.links import FLOAT32, KNOWN, Links, all_reduce_seconds
from distvae.bench.steps import StepTimes, read_timed
from distvae.bench.train import FEWEST_STEPS, BenchConfig, check, measure, probed, time_run
from distvae.errors import DistvaeError
from distvae.runs import Run
from distvae.terminal import make_console, progress_bar

LARGE = 16
"""How many times the recipe's batch is timed as well, as far as there are images."""
LARGEST_BATCH = 65_536
GOOD = 0.5
"""Share of a device's time that is well spent."""


@dataclass(frozen=True)
class Outlook:
    """What a prediction is made of."""

    batch: int
    """The recipe's, global."""
    times: StepTimes
    size: float
    """Bytes of the gradients."""
    links: Links
    told: str
    """Where the times are from."""

    def seconds(self, batch: int, devices: int, nodes: int) -> float:
        """Of a step on a global batch, which all devices share."""
        count = devices * nodes
        reduced = all_reduce_seconds(self.size, devices, nodes, self.links)
        return self.times.seconds(batch / count) + reduced

    def efficiency(self, batch: int, devices: int, nodes: int) -> float:
        """Images/s of one of the devices, over those of one that has the whole batch alone."""
        alone = self.times.seconds(batch)
        return alone / (devices * nodes) / self.seconds(batch, devices, nodes)


def layouts(gpus: int, nodes: int) -> list[tuple[int, int]]:
    """(devices in a node, nodes) that are compared: one node fills up, then nodes are added."""
    return [*((count, 1) for count in _doubled(gpus)), *((gpus, n) for n in _doubled(nodes)[1:])]


def measure_or_plan(config: BenchConfig) -> None:
    """What `distvae bench train` does: plan where --plan asks for it."""
    (plan if config.plan else measure)(config)


def plan(config: BenchConfig) -> None:
    """Measure the recipe on one device and print what more of them would do.

    Raises:
        DistvaeError: an unknown variant, a number too small, or a run that failed.
    """
    check(config)
    links = _links(config)
    timed = read_timed(config.measured) if config.measured else {}
    outlook = _measured(config, links, timed)
    console = make_console()
    for line in _premises(outlook):
        console.print(line)
    few, usual = min(outlook.times.timed), outlook.times.seconds(outlook.batch)
    if few[0] < outlook.batch and few[1] >= usual and not timed:
        console.print(
            f"{few[0]} images took as long as {outlook.batch}: something else used the machine, or "
            "a step costs the same whatever it holds; the first table then shows no gain",
            style="yellow",
        )
    for on_each in (False, True):
        console.print(_sheet(config, outlook, on_each))
    console.print(_by_batch(config, outlook))
    for line in _worth(config, outlook):
        console.print(line)


def _premises(outlook: Outlook) -> Iterator[str]:
    links = outlook.links
    yield outlook.told
    yield f"links: {links.source}"
    yield (
        f"all-reduce of S = {outlook.size / 1e6:,.2f} MB of gradients over n devices in each of m "
        f"nodes: 2(n-1)/n S / {links.device / 1e9:g} GB/s + 2(n-1) {1e6 * links.latency:g} us, "
        f"plus 2(m-1)/m S / {links.node / 1e9:g} GB/s + 2(m-1) {1e6 * links.node_latency:g} us"
    )
    yield (
        "assumed: every device is as fast as this one and holds the whole model (DDP); nothing "
        "overlaps, the all-reduce waits for the whole backward pass"
    )
    yield "efficiency: images/s of one of the devices, over those of a device alone"


def _measured(config: BenchConfig, links: Links, timed: dict[int, float]) -> Outlook:
    """The times of steps, of this machine where none were given, and the gradients' bytes."""
    variant, steps = config.variants[0], config.steps
    with tempfile.TemporaryDirectory() as scratch, progress_bar("measuring", 3) as advance:
        folder = Path(scratch, "whole")
        speed = time_run(config.config, variant, 1 if timed else steps, folder).images_per_second
        advance(1)
        run = Run(folder, folder)
        batch = run.config().optim.batch
        there = max(1, min(LARGE, run.record().data.train_images // batch))
        found = timed or {batch: batch / speed}
        if not timed:
            few = max(1, batch // (config.gpus * config.nodes))
            for other in {few, there * batch} - {batch}:
                count = max(FEWEST_STEPS, steps * batch // max(batch, other))
                where, flag = Path(scratch, str(other)), f"--batch-size={other}"
                speed = time_run(config.config, variant, count, where, flag).images_per_second
                found[other] = other / speed
                advance(1)
        probe = probed(folder)
    load = f", load average {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    told = "given by --measured" if timed else f"measured on one {probe.device}, {variant}{load}"
    steps_told = ", ".join(f"{1e3 * found[size]:,.3f} ms of {size}" for size in sorted(found))
    told = f"{told}: a step takes {steps_told} images"
    return Outlook(batch, StepTimes.of(found), probe.parameters * FLOAT32, links, told)


def _sheet(config: BenchConfig, outlook: Outlook, on_each: bool) -> Table:
    """A row for each layout: that batch on each device, or one batch shared by all."""
    batch = outlook.batch
    title = f"batch {batch} {'on each device' if on_each else 'shared by all devices'}"
    sheet = Table(title=f"{config.config}, {title}", title_justify="left", caption_justify="left")
    for column in ("devices", "nodes", "global batch", "on each", "all-reduce, ms", "step, ms"):
        sheet.add_column(column, justify="right", no_wrap=True)
    for column in ("images/s", "efficiency"):
        sheet.add_column(column, justify="right", no_wrap=True)
    alone = batch / outlook.times.seconds(batch)
    uneven = []
    for devices, nodes in layouts(config.gpus, config.nodes):
        count = devices * nodes
        if not on_each and batch % count:
            uneven.append(str(count))
            continue
        local = batch if on_each else batch // count
        reduced = all_reduce_seconds(outlook.size, devices, nodes, outlook.links)
        seconds = outlook.seconds(local * count, devices, nodes)
        speed = local * count / seconds
        sheet.add_row(
            *(str(count), str(nodes), f"{local * count:,}", f"{local:,}"),
            *(f"{1e3 * reduced:,.3f}", f"{1e3 * seconds:,.3f}"),
            *(f"{speed:,.0f}", f"{speed / count / alone:.1%}"),
        )
    if uneven:
        sheet.caption = f"left out: {', '.join(uneven)} devices, which cannot share {batch} equally"
    return sheet


def _by_batch(config: BenchConfig, outlook: Outlook) -> Table:
    """A row for each global batch: how many times as fast as one device the others are."""
    title = f"{config.config}, times as fast as one device, and efficiency, by nodes x devices"
    sheet = Table(title=title, title_justify="left")
    sheet.add_column("batch", justify="right", no_wrap=True)
    shown = [each for each in layouts(config.gpus, config.nodes) if each != (1, 1)]
    for devices, nodes in shown:
        sheet.add_column(f"{nodes} x {devices}", justify="right", no_wrap=True)
    for batch in _batches(outlook.batch, LARGEST_BATCH):
        cells = []
        for devices, nodes in shown:
            share = outlook.efficiency(batch, devices, nodes)
            even = batch % (devices * nodes) == 0
            cells.append(f"{share * devices * nodes:.2f} {share:.0%}" if even else "-")
        sheet.add_row(f"{batch:,}", *cells)
    return sheet


def _worth(config: BenchConfig, outlook: Outlook) -> Iterator[str]:
    """From which global batch on each number of devices helps: a line for each."""
    for devices, nodes in layouts(config.gpus, config.nodes):
        count = devices * nodes
        if count == 1:
            continue
        faster, good = (
            next(
                (
                    f"{batch:,}"
                    for batch in _batches(outlook.batch, 2**30)
                    if outlook.efficiency(batch, devices, nodes) > least
                ),
                "none",
            )
            for least in (1 / count, GOOD)
        )
        yield (
            f"{count} devices are faster than one from a global batch of {faster} on, and at least "
            f"{GOOD:.0%} efficient from {good} on"
        )


def _batches(first: int, last: int) -> Iterator[int]:
    """Global batches, each twice the one before."""
    while first <= last:
        yield first
        first *= 2


def _doubled(most: int) -> list[int]:
    """1, 2, 4, ... and ``most`` itself."""
    powers = [2**n for n in range(most.bit_length()) if 2**n < most]
    return [*powers, most]


def _links(config: BenchConfig) -> Links:
    """What joins the devices.

    Raises:
        DistvaeError: an unknown name, or a number that is too small.
    """
    for name in ("gpus", "nodes", "bandwidth", "node_bandwidth"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            flag = name.replace("_", "-")
            raise DistvaeError(f"--{flag} is {value}", "expected more than 0")
    for name in ("latency", "node_latency"):
        value = getattr(config, name)
        if value is not None and not value >= 0:
            raise DistvaeError(f"--{name.replace('_', '-')} is {value}", "expected 0 or more")
    return KNOWN[config.links].changed(
        {
            "device": config.bandwidth,
            "node": config.node_bandwidth,
            "latency": config.latency,
            "node_latency": config.latency if config.node_latency is None else config.node_latency,
        }
    )
