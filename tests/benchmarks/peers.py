"""Training speed of the tutorial's VAE here and in other libraries.

    python tests/benchmarks/peers.py                 all, in turn, and a table
    python tests/benchmarks/peers.py PEER            one, in this process: one line of JSON

The model is 784-256-128-2-128-256-784, ReLU, Bernoulli cross-entropy and KL, Adam at 1e-3, batches
of 128 of the bundled MNIST. A peer only trains; it is timed by epochs of 468 full batches, of which
the first is not counted. distvae takes as many steps by its real command, with logging, evaluation,
checkpoints and sample sheets on, and the time of its steps is counted, after the first third. The
mean training loss of the last epoch, in nats per image, shows that all train the same model.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 128
EPOCH_STEPS = 468
HERE = Path(__file__).resolve()
CHECKOUT = HERE.parents[2]
OURS = {"distvae": "eager", "distvae --compile on": "compile"}


@dataclass(frozen=True)
class Peer:
    """Where a peer's training function is and what must be installed for it."""

    module: str
    function: str
    packages: tuple[str, ...]
    install: str


PEERS = {
    "plain": Peer("peer_torch", "train_plain", ("torch", "PIL"), "torch pillow"),
    "datasets": Peer(
        "peer_torch",
        "train_datasets",
        ("torch", "accelerate", "datasets"),
        "torch accelerate datasets",
    ),
    "keras": Peer("peer_keras", "train", ("tensorflow", "keras"), "tensorflow-cpu keras"),
    "keras-jit": Peer("peer_keras", "train_jit", ("tensorflow", "keras"), "tensorflow-cpu keras"),
    "pythae": Peer("peer_pythae", "train", ("torch", "pythae"), "torch pythae"),
    "jax": Peer("peer_jax", "train", ("jax",), "jax"),
}


def train_peer(name: str, steps: int, epochs: int) -> None:
    """Train one peer in this process and print its speed."""
    from distvae.config import DataConfig
    from distvae.data.store import open_data

    peer = PEERS[name]
    images = np.array(open_data(DataConfig()).train.images[: steps * BATCH, 0])
    train = getattr(importlib.import_module(peer.module), peer.function)
    seconds, loss = train(images, epochs)
    rates = [len(images) / second for second in seconds[1:]]
    owners = importlib.metadata.packages_distributions()
    versions = {
        owner: importlib.metadata.version(owner)
        for owner in (owners[package][0] for package in peer.packages)
    }
    line = {
        "peer": name,
        "images_per_second": round(statistics.median(rates), 1),
        "epochs": [round(rate, 1) for rate in rates],
        "loss": round(loss, 2),
        "versions": versions,
    }
    sys.stdout.write(json.dumps(line) + "\n")


def compare(pythons: list[str], rounds: int, steps: int, epochs: int) -> None:
    """Train everything that is installed, in turn, and print a table."""
    from distvae.bench.train import time_run
    from distvae.terminal import make_console, progress_bar

    console = make_console()
    owners = {name: _owner(peer, pythons) for name, peer in PEERS.items()}
    for name in (name for name, python in owners.items() if python is None):
        console.print(
            f"skipped {name}: pip install {PEERS[name].install} (in an environment of its own, "
            "given as --peers-python PATH)"
        )
    found = {name: python for name, python in owners.items() if python is not None}
    rates: dict[str, list[float]] = {name: [] for name in (*OURS, *found)}
    losses: dict[str, float] = {}
    versions: dict[str, str] = {}
    with progress_bar("training", rounds * len(rates)) as advance:
        for _ in range(rounds):
            for name, variant in OURS.items():
                with tempfile.TemporaryDirectory(prefix="distvae-bench-") as scratch:
                    folder = Path(scratch, "run")
                    speed = time_run("mnist-tutorial", variant, steps * epochs, folder)
                    losses[name] = _last_loss(folder, steps)
                rates[name].append(speed.images_per_second)
                advance(1)
            for name, python in found.items():
                told = _run_peer(python, name, steps, epochs)
                rates[name].append(told["images_per_second"])
                losses[name] = told["loss"]
                versions |= told["versions"]
                advance(1)
    _print_table(rates, losses, versions)


def _last_loss(folder: Path, steps: int) -> float:
    """Mean loss over the log lines of a run's last epoch of ``steps`` steps."""
    from distvae.runs import METRICS

    lines = [json.loads(line) for line in (folder / METRICS).read_text("utf-8").splitlines()]
    first = lines[-1]["step"] - steps
    trained = [line for line in lines if line["split"] == "train" and line["step"] > first]
    return statistics.fmean(line["loss"] for line in trained)


def _owner(peer: Peer, pythons: list[str]) -> str | None:
    """The first of these interpreters that has what the peer needs."""
    look = "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
    for python in pythons:
        if subprocess.run([python, "-c", look, *peer.packages], check=False).returncode == 0:
            return python
    return None


def _run_peer(python: str, name: str, steps: int, epochs: int) -> dict[str, Any]:
    words = [python, str(HERE), name, "--steps", str(steps), "--epochs", str(epochs)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{name} failed: {' '.join(words)}\n{ended.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def _print_table(
    rates: dict[str, list[float]], losses: dict[str, float], versions: dict[str, str]
) -> None:
    from rich.table import Table

    from distvae.platform import processor
    from distvae.terminal import make_console

    console = make_console()
    console.print(f"{processor()}, {os.cpu_count()} cores")
    console.print(", ".join(f"{name} {number}" for name, number in sorted(versions.items())))
    sheet = Table(title="MNIST tutorial VAE, images/s", title_justify="left")
    sheet.add_column("trained by")
    for column in ("median", "min-max", "eager /", "compiled /", "loss"):
        sheet.add_column(column, justify="right", no_wrap=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        ratios = (f"{medians[ours] / medians[name]:.2f}" for ours in OURS)
        span = f"{min(values):,.0f}-{max(values):,.0f}"
        sheet.add_row(name, f"{medians[name]:,.0f}", span, *ratios, f"{losses[name]:.1f}")
    console.print(sheet)


def main() -> None:
    """Read the flags and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", nargs="?", choices=PEERS, help="train only this one, here")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, taken in turn")
    parser.add_argument("--steps", type=int, default=EPOCH_STEPS, help="steps in an epoch")
    parser.add_argument("--epochs", type=int, default=5, help="epochs; the first is not counted")
    parser.add_argument(
        "--peers-python",
        action="append",
        default=[],
        help="an interpreter that has peers this one lacks; may be given again",
    )
    flags = parser.parse_args()
    if not 1 <= flags.steps <= EPOCH_STEPS or flags.epochs < 2 or flags.rounds < 1:
        parser.error(
            f"expected --steps of 1 to {EPOCH_STEPS}, --epochs of 2 or more, --rounds of 1 or more"
        )
    if flags.peer:
        train_peer(flags.peer, flags.steps, flags.epochs)
    else:
        compare([sys.executable, *flags.peers_python], flags.rounds, flags.steps, flags.epochs)


if __name__ == "__main__":
    main()
