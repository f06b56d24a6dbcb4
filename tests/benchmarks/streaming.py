"""Memory and speed of --streaming, over data sets of growing size and beside decoding them first.

python tests/benchmarks/streaming.py FOLDER [GIGABYTES]      writes so much into FOLDER, 2 left out
"""

import json
import os
import re
import resource
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 128
SHARDS = 8
ROWS = 100
"""Images in a row group."""
FLAGS = shlex.split(
    "--hidden 16 --latent-dim 3 --model vae --prior normal --batch-size 100 --epochs 1 "
    "--log-every 10 --overwrite --shuffle-buffer 400"
)


def write_noise(root: Path, images: int, test: int = 50) -> Path:
    """Shards of grey noise of 128 x 128, which nothing makes smaller, and a test split."""
    import datasets

    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    head = f"P5 {SIDE} {SIDE} 255\n".encode()
    sizes = {f"train-{shard}": images // SHARDS for shard in range(SHARDS)}
    for name, size in {**sizes, "test": test}.items():
        pixels = random.integers(0, 256, (size, SIDE * SIDE), dtype=np.uint8)
        cells = [{"bytes": head + row.tobytes(), "path": None} for row in pixels]
        features = datasets.Features(image=datasets.Image())
        table = datasets.Dataset.from_dict({"image": cells}, features=features)
        table.to_parquet(root / f"{name}.parquet", batch_size=ROWS)
    return root


def megabytes(images: int) -> float:
    """What so many images take when they are decoded."""
    return images * SIDE * SIDE / 1e6


def measured(
    words: Sequence[object], environment: dict[str, str], limit: float | None = None
) -> dict[str, Any]:
    """Train in a process of its own, with at most ``limit`` MB of data where there is a limit.

    Returns:
        Exit code, what was said, and peaks of memory in MB by their name in /proc.
    """
    ended = subprocess.run(
        [sys.executable, __file__, "--child", str(limit or 0), *map(str, words)],
        # other allocators take memory beforehand, and the limit would say nothing of what is used
        env={**environment, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = ended.stdout.splitlines()
    peaks = json.loads(told[-1]) if told and told[-1].startswith("{") else {}
    return {"code": ended.returncode, "told": ended.stdout + ended.stderr, **peaks}


def child(limit: str, words: list[str]) -> int:
    """The process that trains."""
    from distvae.cli import main

    threading.stack_size(1 << 20)  # what a stack may grow to counts as data, used or not
    if size := int(float(limit) * 1e6):
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    peaks: dict[str, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            for name, value in re.findall(r"(VmData|RssAnon|RssFile):\s+(\d+)", status):
                peaks[name] = max(peaks.get(name, 0.0), int(value) * 1024 / 1e6)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        code = main(["train", *words])
    finally:
        done.set()
        watcher.join()
    print(json.dumps(peaks))
    return code


def main(folder: str, gigabytes: str = "2") -> None:
    """Print the table."""
    environment = {**os.environ, "DISTVAE_CACHE": str(Path(folder, "cache"))}
    environment["HF_HOME"] = str(Path(folder, "huggingface"))
    whole = int(float(gigabytes) * 1e9 / SIDE / SIDE) // SHARDS // ROWS * SHARDS * ROWS
    print("| data, MB decoded | images/s | peak of memory that is no file's, MB | command, s |")
    print("| ---: | ---: | ---: | ---: |")
    for images, how in ((whole // 10, True), (whole, True), (whole, False)):
        data = Path(folder, str(images))
        if not data.exists():
            write_noise(data, images)
        run = Path(folder, f"run-{images}-{how}")
        flags = ("--streaming",) if how else ()
        started = time.perf_counter()
        found = measured(("--data", data, *FLAGS, *flags, "--output", run), environment)
        seconds = time.perf_counter() - started
        if found["code"]:
            raise SystemExit(found["told"])
        text = (run / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        rate = statistics.median(
            line["images_per_second"] for line in lines if line["split"] == "train"
        )
        kind = "" if how else ", decoded first"
        print(
            f"| {megabytes(images):,.0f}{kind} | {rate:,.0f} | {found['RssAnon']:,.0f} "
            f"| {seconds:.0f} |"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        raise SystemExit(child(sys.argv[2], sys.argv[3:]))
    main(*sys.argv[1:])
