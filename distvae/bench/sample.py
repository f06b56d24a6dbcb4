"""`distvae bench sample`: how fast a run draws, through torch and through ONNX Runtime."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.table import Table

from distvae.bench.machine import SIDE, matrix_product_peak
from distvae.errors import DistvaeError, shown
from distvae.flags import Positional
from distvae.labels import numbers_of
from distvae.runs import CONFIG, ONNX, WEIGHTS, Run, find_run
from distvae.terminal import make_console, progress_bar
from distvae.values import RunName, Word

EAGER = "eager"
VARIANTS = {
    EAGER: "",
    "onnx": "decoder.onnx",
    "fp16": "decoder-fp16.onnx",
    "int8": "decoder-int8.onnx",
}
"""What is compared, and the exported file that it runs."""
MOST = 2**20
"""Images at once, or rounds."""
SECONDS = 0.5
"""Of repeated calls for each number."""
Draw = Callable[[int], object]
"""(number of images) -> the images, uint8 in numpy."""


@dataclass(frozen=True)
class BenchSampleConfig:
    """Measure how fast a run draws on this machine; let nothing else use it meanwhile.

    Noise drawn, labels checked, grey levels in numpy: everything that a caller waits for. Each
    variant runs in a process of its own, and so does a whole `distvae sample` of ten images, from
    the start of the process to the PNG.
    """

    EXAMPLES = ("distvae bench sample runs/mnist-cvae",)

    run: Annotated[RunName | None, Positional] = None
    """Run folder with an export; left out: the newest run."""
    variants: tuple[Annotated[str, Word("NAME", tuple(VARIANTS))], ...] = (EAGER, "onnx")
    """What to compare with the first of them: `eager` (torch), `onnx`, `fp16`, `int8`."""
    batches: tuple[int, ...] = (1, 64, 1024, 8192)
    """Images drawn by one call."""
    rounds: int = 5
    """Runs of each variant; the variants take turns."""


@dataclass(frozen=True)
class Drawn:
    """What one round of a variant showed."""

    images_per_second: dict[int, float]
    """Median over calls, by images in one call."""
    seconds: float
    """A whole `distvae sample` of ten images to a PNG, from the start of its process."""
    megabytes: float
    """The most memory that command held, MiB."""


def measure_sampling(config: BenchSampleConfig) -> None:
    """Run every variant in turn and print tables.

    Raises:
        DistvaeError: an unknown variant, a number too small, or no export of that kind.
    """
    run = find_run(config.run)
    _check(config, run)
    console = make_console()
    if hasattr(os, "getloadavg"):
        console.print(f"load average before the first run: {os.getloadavg()[0]:.2f}")
    found: dict[str, list[Drawn]] = {variant: [] for variant in config.variants}
    with progress_bar("measuring", config.rounds * len(found)) as advance:
        for _ in range(config.rounds):
            for variant, rounds in found.items():
                rounds.append(_round(run, variant, config.batches))
                advance(1)
    from distvae.platform import processor

    flop, peak = _worker("probe", run.folder, ())
    console.print(
        f"{processor()}, {os.cpu_count()} cores; {flop:,.0f} FLOP an image; torch's best float32 matrix "
        f"product of {SIDE} x {SIDE}: {peak:,.0f} GFLOP/s"
    )
    console.print(_speeds(str(run.folder), found, flop, peak))
    console.print(_starts(found))


def _check(config: BenchSampleConfig, run: Run) -> None:
    for variant in config.variants:
        if variant != EAGER and not _path(run, variant).is_file():
            precision = "" if variant == "onnx" else f" --precision {variant}"
            raise DistvaeError(
                f"{_path(run, variant)} is missing",
                "expected an exported run",
                f"Export it: distvae export {run.folder}{precision}",
            )
    for name, numbers in (("rounds", [config.rounds]), ("batches", config.batches)):
        if not numbers or not 1 <= min(numbers) <= max(numbers) <= MOST:
            raise DistvaeError(f"--{name} is {shown(numbers)}", f"expected from 1 to {MOST:,}")


def _path(run: Run, variant: str) -> Path:
    """What a variant samples from."""
    return run.folder / ONNX / VARIANTS[variant] if variant != EAGER else run.model


def _round(run: Run, variant: str, batches: tuple[int, ...]) -> Drawn:
    speeds = _worker(variant, _path(run, variant), batches)
    with tempfile.TemporaryDirectory(prefix="distvae-bench-") as scratch:
        source = _path(run, variant)
        if variant == EAGER:  # without an export beside it, it is drawn from through torch
            source = Path(scratch, "model")
            source.mkdir()
            for name in (CONFIG, WEIGHTS):
                shutil.copyfile(run.model / name, source / name)
        words = ["sample", str(source), "--count", "10", "--output", str(Path(scratch, "a.png"))]
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "distvae.cli", *words], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise DistvaeError(f"distvae {' '.join(words)} failed", f"exit code {process.returncode}")
    return Drawn(dict(zip(batches, speeds, strict=True)), seconds, usage.ru_maxrss / 1024)


def _worker(what: str, path: Path, batches: tuple[int, ...]) -> list[float]:
    """The numbers that a process of its own prints."""
    words = [sys.executable, "-m", "distvae.bench.sample", what, str(path), *map(str, batches)]
    outcome = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    numbers: list[float] = json.loads(outcome.stdout)
    return numbers


def _rate(draw: Draw, batch: int) -> float:
    """Images/s of one batch size: the median call."""
    times: list[float] = []
    draw(batch)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        started = time.perf_counter()
        draw(batch)
        times.append(time.perf_counter() - started)
    return batch / statistics.median(times)


def _torch_draw(folder: Path) -> Draw:
    """What one writes in torch: noise, prior, decoder, grey levels."""
    import torch

    from distvae.models import VAE

    model = VAE.from_pretrained(folder)

    @torch.no_grad()
    def draw(count: int) -> object:
        labels = torch.arange(count) % len(model.label_names) if model.conditional else None
        context = model.conditioner.of_label(labels)
        latents = model.latents.draw(torch.randn(count, model.latents.noise_dim), context)
        return model.domain.to_stored(model.render(latents, context)).numpy()

    return draw


def _onnx_draw(path: Path) -> Draw:
    from distvae.export import Sampler

    sampler = Sampler(path)
    names = sampler.label_names

    def draw(count: int) -> object:
        if not names:
            return sampler.sample(count=count)
        return sampler.sample(numbers_of(names)[np.arange(count) % len(names)])

    return draw


def _probe(folder: Path) -> tuple[float, float]:
    """Operations of drawing one image, and the most that torch's matrix product does in a second."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from distvae.models import VAE

    model = VAE.from_pretrained(folder)
    labels = torch.zeros(1, dtype=torch.int64) if model.conditional else None
    context = model.conditioner.of_label(labels)
    latents = model.latents.draw(torch.randn(1, model.latents.noise_dim), context)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.decoder(model.latents.state(latents, context), context)
    return counter.get_total_flops(), matrix_product_peak(torch.device("cpu"))


def _speeds(title: str, found: dict[str, list[Drawn]], flop: float, peak: float) -> Table:
    sheet = Table(title=title, title_justify="left")
    for heading in (
        "at once",
        "variant",
        "images/s",
        "min-max",
        "ratio",
        "GFLOP/s",
        "of peak",
    ):
        sheet.add_column(heading, justify="left" if heading == "variant" else "right", no_wrap=True)
    first = next(iter(found.values()))
    for batch in first[0].images_per_second:
        reference = statistics.median(one.images_per_second[batch] for one in first)
        for variant, rounds in found.items():
            rates = [one.images_per_second[batch] for one in rounds]
            median = statistics.median(rates)
            sheet.add_row(
                f"{batch:,}",
                variant,
                f"{median:,.0f}",
                f"{min(rates):,.0f}-{max(rates):,.0f}",
                f"{median / reference:.2f}",
                f"{median * flop / 1e9:,.0f}",
                f"{median * flop / 1e9 / peak:.0%}",
            )
    return sheet


def _starts(found: dict[str, list[Drawn]]) -> Table:
    sheet = Table(title="distvae sample, ten images to a PNG", title_justify="left")
    for heading in ("variant", "seconds", "min-max", "peak memory, MiB"):
        sheet.add_column(heading, justify="left" if heading == "variant" else "right", no_wrap=True)
    for variant, rounds in found.items():
        times = [one.seconds for one in rounds]
        sheet.add_row(
            variant,
            f"{statistics.median(times):.2f}",
            f"{min(times):.2f}-{max(times):.2f}",
            f"{statistics.median(one.megabytes for one in rounds):,.0f}",
        )
    return sheet


if __name__ == "__main__":
    kind, place, *sizes = sys.argv[1:]
    if kind == "probe":
        answer = list(_probe(Path(place)))
    else:
        drawing = _torch_draw(Path(place)) if kind == EAGER else _onnx_draw(Path(place))
        answer = [_rate(drawing, int(size)) for size in sizes]
    sys.stdout.write(json.dumps(answer))
