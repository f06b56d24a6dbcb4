"""`distvae bench train`: steady training speed of real runs on this machine.

Every number comes from the command a user would run, with logging, evaluation and checkpoints on,
in a process of its own. Variants take turns, so that a machine that slows down slows all of them.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from rich.table import Table

from distvae.bench.links import KNOWN
from distvae.bench.machine import SIDE, matrix_product_peak
from distvae.card import numbers_of
from distvae.errors import DistvaeError
from distvae.reading import read_lines
from distvae.records import MetricsLine
from distvae.runs import METRICS, Run
from distvae.terminal import make_console, progress_bar
from distvae.values import RecipeName, Word

VARIANTS = {
    "eager": ("--compile", "off", "--mixed-precision", "no"),
    "compile": ("--compile", "on", "--mixed-precision", "no"),
    "uncaptured": ("--compile", "off", "--mixed-precision", "no", "--capture", "off"),
    "bf16": ("--compile", "off", "--mixed-precision", "bf16"),
    "compile-bf16": ("--compile", "on", "--mixed-precision", "bf16"),
}
LOG_EVERY = 50
FEWEST_STEPS = 3 * LOG_EVERY
"""The first third is warm-up, and a number needs log lines after it."""


@dataclass(frozen=True)
class BenchConfig:
    """Measure the training speed of a recipe on this machine; let nothing else use it meanwhile."""

    EXAMPLES = (
        "distvae bench train --config mnist-cvae --variants eager,compile",
        "distvae bench train --plan --config mnist-cvae --gpus 8 --nodes 4",
    )

    config: RecipeName = "mnist-tutorial"
    """YAML recipe: a path, or the name of one that comes with distvae."""
    variants: tuple[Annotated[str, Word("NAME", tuple(VARIANTS))], ...] = ("eager", "compile")
    """What to compare with the first of them: `eager`, `compile`, `uncaptured` (eager, every step taken by its program), `bf16`, `compile-bf16`."""
    rounds: int = 3
    """Runs of each variant; the variants take turns."""
    steps: int = 1500
    """Steps of a run; the first third is warm-up and compilation and is not counted."""
    plan: bool = False
    """Predict the step of --gpus on --nodes from that of one device, for the first variant."""
    gpus: int = 8
    """With --plan: devices in a node."""
    nodes: int = 1
    """With --plan: nodes."""
    links: Annotated[str, Word("NAME", tuple(KNOWN))] = "pcie"
    """With --plan: what joins the devices, `pcie` (PCIe 4.0, Ethernet of 100 Gbit/s between nodes) or `h100` (NVLink 4 and 8 InfiniBand ports of 400 Gbit/s a node, as NVIDIA's DGX H100)."""
    bandwidth: float | None = None
    """With --plan: GB/s each way between the devices of a node; left out: that of --links."""
    node_bandwidth: float | None = None
    """With --plan: GB/s each way between nodes; left out: that of --links."""
    latency: float | None = None
    """With --plan: microseconds from a message's start to its arrival; left out: that of --links."""
    node_latency: float | None = None
    """With --plan: the same between nodes; left out: --latency, else that of --links."""
    measured: str = ""
    """With --plan: steps that were timed on one such device elsewhere, images:milliseconds, as in `128:0.43,4096:5.1`; left out: they are timed here."""


@dataclass(frozen=True)
class Speed:
    """How fast one run was."""

    images_per_second: float
    """Median over the log lines after the first third; time of the steps alone."""
    seconds: float
    """The whole command, with start, compilation, evaluation, checkpoints and sample sheets."""


@dataclass(frozen=True)
class Probe:
    """What a measured speed is to be compared with."""

    device: str
    threads: int
    torch: str
    flop_per_image: float
    """Multiplications and additions of the matrix products, forward and backward."""
    peak: float
    """Best float32 matrix product of 2048 x 2048, as training multiplies, GFLOP/s."""
    parameters: int
    """Numbers that are trained."""


def measure(config: BenchConfig) -> None:
    """Run every variant in turn and print a table.

    Raises:
        DistvaeError: an unknown variant, a number too small, or a run that failed.
    """
    check(config)
    console = make_console()
    if hasattr(os, "getloadavg"):
        console.print(f"load average before the first run: {os.getloadavg()[0]:.2f}")
    speeds: dict[str, list[Speed]] = {variant: [] for variant in config.variants}
    probes = []
    with progress_bar("measuring", config.rounds * len(config.variants)) as advance:
        for _ in range(config.rounds):
            with tempfile.TemporaryDirectory(prefix="distvae-bench-") as scratch:
                for variant, done in speeds.items():
                    folder = Path(scratch, variant)
                    done.append(time_run(config.config, variant, config.steps, folder))
                    advance(1)
                probes.append(probed(folder))
    probe = probes[0]
    console.print(f"{probe.device}, {probe.threads} threads, torch {probe.torch}")
    for variant in speeds:
        words = training_command(config.config, variant, config.steps, Path("TEMP"))
        console.print(f"{variant}: {shlex.join(['python', *words[1:]])}")
    peak = max(probe.peak for probe in probes)
    console.print(
        f"{probe.flop_per_image:,.0f} FLOP per image, forward and backward; the machine's peak is "
        f"torch's best float32 matrix product of {SIDE} x {SIDE} in this session, in its own "
        f"process: {peak:,.0f} GFLOP/s"
    )
    console.print(_sheet(config.config, speeds, probe.flop_per_image, peak))


def training_command(config: str, variant: str, steps: int, folder: Path) -> list[str]:
    """The words of the run that is timed."""
    return [
        *(sys.executable, "-m", "distvae.cli", "train", "--config", config, *VARIANTS[variant]),
        *("--epochs", str(steps), "--max-steps", str(steps)),
        *("--log-every", str(LOG_EVERY), "--output", str(folder)),
    ]


def time_run(config: str, variant: str, steps: int, folder: Path, *flags: str) -> Speed:
    """Train in a process of its own, into ``folder``, and read its speed from metrics.jsonl.

    Raises:
        DistvaeError: the run failed; the message holds the end of what it said.
    """
    words = [*training_command(config, variant, steps, folder), *flags]
    started = time.perf_counter()
    outcome = subprocess.run(words, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if outcome.returncode:
        raise DistvaeError(
            f"the run of variant {variant} ended with exit code {outcome.returncode}",
            outcome.stderr.strip()[-2000:],
            f"The command was: {shlex.join(words)}",
        )
    lines = [line for _, line in read_lines(folder / METRICS, MetricsLine, [])]
    rates = [
        numbers_of(line.values)["images_per_second"] for line in lines if line.split == "train"
    ]
    return Speed(statistics.median(rates[len(rates) // 3 :]), seconds)


def probe(folder: Path) -> Probe:
    """Count the arithmetic of a run's model and time matrix products on the run's device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from distvae.models import VAE
    from distvae.platform import fast_exact_matmul, processor

    fast_exact_matmul()
    model = VAE.from_pretrained(folder)
    batch = 2
    labels = torch.zeros(batch, dtype=torch.int64) if model.conditional else None
    noise = torch.randn(batch, model.latents.infer_dim)
    with FlopCounterMode(display=False) as counter:
        terms = model.terms_of(
            torch.rand(batch, *model.image_shape), model.conditioner.of_label(labels), noise
        )
        (terms.rate.sum() - terms.log_likelihood.sum()).backward()  # type: ignore[no-untyped-call]
    device = torch.device(Run(folder, folder).record().world.device)
    return Probe(
        torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        torch.get_num_threads(),
        torch.__version__,
        counter.get_total_flops() / batch,
        matrix_product_peak(device),
        sum(parameter.numel() for parameter in model.parameters()),
    )


def check(config: BenchConfig) -> None:
    """Refuse an unknown variant and numbers that are too small."""
    if not config.variants:
        raise DistvaeError("--variants is empty", f"expected some of {', '.join(VARIANTS)}")
    for name, value, least in (("rounds", config.rounds, 1), ("steps", config.steps, FEWEST_STEPS)):
        if value < least:
            raise DistvaeError(f"--{name} is {value}", f"expected at least {least}")


def probed(folder: Path) -> Probe:
    """:func:`probe` in a process of its own, so that this one holds no threads during a run."""
    words = [sys.executable, "-m", "distvae.bench.train", str(folder)]
    outcome = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return Probe(**json.loads(outcome.stdout))


def _sheet(title: str, speeds: dict[str, list[Speed]], flop_per_image: float, peak: float) -> Table:
    sheet = Table(title=title, title_justify="left")
    sheet.add_column("variant")
    for column in ("images/s", "min-max", "ratio", "GFLOP/s", "of peak", "command, s"):
        sheet.add_column(column, justify="right", no_wrap=True)
    first = None
    for variant, runs in speeds.items():
        rates = [run.images_per_second for run in runs]
        median = statistics.median(rates)
        first = first or median
        gflops = median * flop_per_image / 1e9
        sheet.add_row(
            variant,
            f"{median:,.0f}",
            f"{min(rates):,.0f}-{max(rates):,.0f}",
            f"{median / first:.2f}",
            f"{gflops:,.1f}",
            f"{gflops / peak:.1%}",
            f"{statistics.median(run.seconds for run in runs):.1f}",
        )
    return sheet


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(probe(Path(sys.argv[1])))))
