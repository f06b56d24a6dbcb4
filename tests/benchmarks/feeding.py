"""What it costs a step to get its batch, by where the images are.

    python -m tests.benchmarks.feeding [FOLDER]

Each kind runs the same steps: gather a batch, then compute for about ``WORK_MS`` milliseconds.
Where batches come ahead in time, a step takes as long as the computing alone. On a GPU nothing
waits for the device before the end of all steps, so it shows whether the copies overlap; on a CPU
loading and decoding take their time from the same cores. FOLDER keeps the streamed shards.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from distvae.config import DataConfig
from distvae.data.ahead import Epochs
from distvae.data.batches import Gathered, ResidentImages, epoch_order
from distvae.data.loaded import LoadedImages
from distvae.data.store import open_data
from distvae.data.streamed import StreamedImages
from tests.benchmarks.streaming import SIDE, write_noise

IMAGES, BATCH = 8000, 100
STEPS, ROUNDS = 60, 3
WORK_MS = 10.0
Gather = Callable[[int], Gathered]
"""(step) -> its batch."""


def worker(device: torch.device) -> Callable[[Tensor], None]:
    """Something that computes for so long on a batch."""
    size = 4096 if device.type == "cuda" else 512
    matrix = torch.randn(size, size, device=device)

    def compute(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            matrix @ matrix
        _wait(device)
        return 1e3 * (time.perf_counter() - started)

    compute(3)
    times = max(1, round(WORK_MS / (compute(20) / 20)))

    def work(stored: Tensor) -> None:
        stored.float().mean()
        for _ in range(times):
            matrix @ matrix

    return work


def kinds(device: torch.device, folder: Path) -> Iterator[tuple[str, Gather]]:
    """How a batch is got, by name."""
    if not (folder / "noise").exists():
        write_noise(folder / "noise", IMAGES)
    stored = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    epochs = Epochs(IMAGES, BATCH, 0, 1)
    host = ResidentImages(stored, labels, device)
    there = ResidentImages(stored.to(device), labels.to(device), device)
    order = torch.from_numpy(epoch_order(IMAGES, 0, 0))

    def rows(step: int) -> range:
        return range(step * BATCH, (step + 1) * BATCH)

    def one(step: int) -> Gathered:
        return Gathered(there.stored[:BATCH], None)

    on_device = order.to(device)
    yield "computing alone", one
    yield "on the device", lambda step: there.gather(on_device[step * BATCH : (step + 1) * BATCH])
    yield (
        "on the host, when asked",
        lambda step: host.gather(order[step * BATCH : (step + 1) * BATCH]),
    )
    loaded = LoadedImages(host, epochs, 0)
    yield "on the host, two ahead", lambda step: loaded.gather(rows(step))
    loaded.close()
    data = open_data(DataConfig(data=str(folder / "noise"), streaming=True))
    assert data.stream is not None
    streamed = StreamedImages(data.stream, data.image_shape, 0, epochs, device)
    yield "streamed, two ahead", lambda step: streamed.gather(rows(step))
    streamed.close()


def milliseconds(gather: Gather, work: Callable[[Tensor], None], device: torch.device) -> float:
    """A step's, over all steps; the median of some rounds. The first steps are not counted."""
    found = []
    for _ in range(ROUNDS):
        for step in range(STEPS + 5):
            if step == 5:
                _wait(device)
                started = time.perf_counter()
            work(gather(step).stored)
        _wait(device)
        found.append(1e3 * (time.perf_counter() - started) / STEPS)
    return statistics.median(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main(folder: Path) -> None:
    """Print the table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work = worker(device)
    megabytes = BATCH * SIDE * SIDE / 1e6
    print(f"{device.type}, batches of {BATCH} images, {megabytes:.1f} MB, {STEPS} steps")
    print("| images | ms a step | over computing alone |")
    print("| --- | ---: | ---: |")
    alone = 0.0
    for name, gather in kinds(device, folder):
        took = milliseconds(gather, work, device)
        alone = alone or took
        print(f"| {name} | {took:.2f} | {took / alone:.2f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
