"""Two processes of one thread each against one process of two threads, on one machine.

Every number is that of a real ``distvae train``, in rounds in which all kinds of run take turns:

    python tests/benchmarks/processes.py --rounds 3

``plain`` is what Accelerate does when told nothing, ``distvae`` what this package tells it, the
others change one thing each. ``bf16`` halves what is sent by rounding the gradients. ``predicted``
is the cost model of ``distvae bench train --plan`` for two processes: ``half`` and an all-reduce
whose bandwidth and latency are measured beside.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG_EVERY = 10
KINDS: Mapping[str, Mapping[str, Any] | None] = {
    "distvae": None,
    "plain": {},
    "view": {"gradient_as_bucket_view": True},
    "one bucket": {"bucket_cap_mb": 100},
    "static": {"static_graph": True},
    "bf16": {"comm_hook": "bf16"},
}
ONE, HALF = "one process", "half"
"""``half`` is one process of one thread with half of the batch: what each of two computes."""
WORKLOADS = {
    "tutorial 512": ("mnist-tutorial", 512, 300),
    "tutorial 128": ("mnist-tutorial", 128, 600),
    "conv 512": ("mnist-vae-conv", 512, 60),
    "conv 128": ("mnist-vae-conv", 128, 150),
}


def train(kind: str, arguments: list[str]) -> int:
    """One rank of a run, with the options of a kind."""
    from accelerate.utils import DDPCommunicationHookType, DistributedDataParallelKwargs

    from distvae.cli import main
    from distvae.training import accelerator

    options = KINDS[kind]
    if options is not None:
        options = {
            name: DDPCommunicationHookType(value) if name == "comm_hook" else value
            for name, value in options.items()
        }
        accelerator.GRADIENTS = DistributedDataParallelKwargs(**options)
    return main(["train", *arguments])


def images_per_second(workload: str, kind: str, folder: Path) -> float:
    """Median over a run's log lines after the first third."""
    recipe, batch_size, steps = WORKLOADS[workload]
    processes = 2 if kind in KINDS else 1
    threads = 2 if kind == ONE else 1
    flags = {
        "config": recipe,
        "batch-size": batch_size // 2 if kind == HALF else batch_size,
        "epochs": 1000,
        "max-steps": steps,
        "log-every": LOG_EVERY,
        "eval-every": 1000,
        "sample-every": 1000,
        "threads": threads,
        "output": folder,
    }
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ended = subprocess.run(
        [
            *(sys.executable, *(launcher if processes == 2 else []), __file__),
            *("--rank-of", kind if kind in KINDS else "distvae", *words),
        ],
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(f"{workload}, {kind}: {ended.stderr[-3000:]}")
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    rates: list[float] = [line["images_per_second"] for line in lines if line["split"] == "train"]
    return statistics.median(rates[len(rates) // 3 :])


def gradient_bytes(folder: Path) -> int:
    """Four for each parameter of a run."""
    from distvae.models import VAE

    return 4 * sum(parameter.numel() for parameter in VAE.from_pretrained(folder).parameters())


def main() -> None:
    """Measure in rounds and print one table for each workload."""
    from distvae.bench.links import measure_links, ring_seconds

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--kinds", default=",".join(KINDS))
    options = parser.parse_args()
    kinds = [ONE, HALF, *options.kinds.split(",")]
    for workload in options.workloads.split(","):
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        loads = []
        for _ in range(options.rounds):
            for kind in kinds:
                loads.append(running())
                with tempfile.TemporaryDirectory() as scratch:
                    folder = Path(scratch, "run")
                    rates[kind].append(images_per_second(workload, kind, folder))
                    size = gradient_bytes(folder)
        say(f"\n{workload}: others that ran at a run's start, mean {statistics.mean(loads):.1f}")
        medians = {kind: statistics.median(found) for kind, found in rates.items()}
        for kind, found in rates.items():
            span = f"({min(found):,.0f}-{max(found):,.0f})"
            share = medians[kind] / medians[ONE]
            say(f"{kind:12} {medians[kind]:10,.0f} images/s {span:>17} {share:6.1%}")
        links = measure_links(size)
        reduce = ring_seconds(size, 2, links.device, links.latency)
        batch_size = WORKLOADS[workload][1]
        predicted = batch_size / (batch_size / 2 / medians[HALF] + reduce)
        say(
            f"predicted    {predicted:10,.0f} images/s, {predicted / medians[ONE]:.1%}: "
            f"all-reduce of {size / 1e6:.2f} MB in {1e3 * reduce:.2f} ms, "
            f"{links.device / 1e9:.2f} GB/s, {1e6 * links.latency:.0f} us"
        )


def running() -> int:
    """Processes that run now, this one apart."""
    return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]) - 1


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank-of"]:
        from distvae.cli import end_process

        end_process(train(sys.argv[2], sys.argv[3:]))
    main()
