"""Latent spaces side by side on MNIST by label, each trained for the same time.

    python -m tests.benchmarks.latent_spaces --speed fsq      steps that fit, nothing else running
    python -m tests.benchmarks.latent_spaces --train fsq      trains, evaluates and exports
    python -m tests.benchmarks.latent_spaces --seconds 60     the same of all rows, one by one
    python -m tests.benchmarks.latent_spaces --table          what is known, in Markdown

A row is a recipe with beta 1 and its own latents, in float32. Its steps are those that
``--seconds`` of this machine give it by the speed of a short run, which is measured once and kept.
How long the training itself then takes does not matter any more. What is done is left as it is, and
a training that was stopped goes on from its checkpoint, so the command can be given again.
"""

import argparse
import json
import shlex
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.records import command, rows_of

LONG = 24 * 3600.0
"""Seconds that no step here takes."""


@dataclass(frozen=True)
class Row:
    """One latent space."""

    told: str
    network: str
    words: str
    """Of ``distvae train``."""
    probe: int
    """Steps by which its speed is told."""


CONV = "--config mnist-cvae-conv --beta 1"
CODES = "--code-layout vector --network conv"
ROWS = {
    "gaussian-mlp": Row("gaussian, a vector of 16", "mlp", "--config mnist-cvae --beta 1", 600),
    "gaussian": Row("gaussian, a vector of 16", "conv", CONV, 200),
    "flow": Row(
        "gaussian, flow posterior and prior", "conv", f"{CONV} --prior flow --posterior flow", 200
    ),
    "ladder": Row(
        "ladder of 3 levels, two of maps",
        "conv",
        f"{CONV} --latent-space ladder --levels 3 --level-maps 4",
        150,
    ),
    "spatial": Row(
        "spatial, 4 channels of 7 x 7",
        "fcn",
        f"{CONV} --latent-space spatial --network fcn --downscale 4 --latent-channels 4 "
        "--prior normal",
        150,
    ),
    "fsq": Row("fsq, 4 codes of 240", "mlp", "--config mnist-fsq", 600),
    "vq": Row("vq, 4 codes of 256", "mlp", "--config mnist-vq", 600),
    "fsq-conv": Row("fsq, 4 codes of 240", "conv", f"--config mnist-fsq {CODES}", 300),
}
FIGURES = ("elbo", "distortion", "rate", "judge_accuracy", "diversity")


def speed(name: str, row: Row, folder: Path) -> float:
    """Images a second by a short run: the medians of its halves, which are the stages of codes."""
    known = folder / f"{name}-speed.json"
    if not known.exists():
        probe = folder / f"{name}-probe"
        words = f"train {row.words} --mixed-precision no --max-steps {row.probe} --log-every 50"
        words += (
            f" --eval-every 1000 --sample-every 1000 --overwrite --output {shlex.quote(str(probe))}"
        )
        if command(words, LONG) != 0:
            raise SystemExit("the short run did not end well")
        _, *rates = (
            line["images_per_second"] for line in rows_of(probe) if line["split"] == "train"
        )
        half = len(rates) // 2
        halves = [statistics.median(rates[:half]), statistics.median(rates[half:])]
        found = {"images_per_second": statistics.harmonic_mean(halves)}
        known.write_text(json.dumps(found), encoding="utf-8")
    return float(json.loads(known.read_text(encoding="utf-8"))["images_per_second"])


def train(name: str, row: Row, folder: Path, seconds: float, flags: str) -> None:
    """Train a row for its steps, evaluate it and export its decoder, as far as that is not done."""
    run, steps = folder / name, int(seconds * speed(name, row, folder) / 128)
    at = shlex.quote(str(run))
    if not (run / "evaluation.json").exists():
        words = f"train {row.words} {flags} --mixed-precision no --resume auto --epochs 1000"
        words += f" --max-steps {steps} --warmup-epochs 0.2 --eval-every 1000"
        words += f" --sample-every 1000 --output {at}"
        if command(words, LONG) or command(f"evaluate {at} --metrics elbo,judge", LONG):
            raise SystemExit("it did not end well")
    if not (run / "onnx").exists() and command(f"export {at} --onnx", LONG):
        raise SystemExit("it did not end well")


def line(name: str, row: Row, folder: Path) -> list[str]:
    """What is known of a row."""
    run, cells = folder / name, [row.told, row.network]
    if not (folder / f"{name}-speed.json").exists():
        return [*cells, *["not measured"] * 8]
    cells.append(f"{speed(name, row, folder):,.0f}")
    needed = (run / "evaluation.json", run / "onnx" / "decoder.onnx")
    if not all(path.exists() for path in needed):
        return [*cells, *["not done"] * 7]
    found: dict[str, Any] = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    found = found.get("metrics", found)
    step = max(entry["step"] for entry in rows_of(run) if entry["split"] == "train")
    elbo, distortion, rate, judged, diverse = (
        (found[key], found[f"{key}_standard_error"]) for key in FIGURES
    )
    size = sum(path.stat().st_size for path in (run / "onnx").glob("decoder.onnx*"))
    return [
        *(*cells, f"{step:,}", f"{elbo[0]:.2f} ± {elbo[1]:.2f}"),
        *(f"{distortion[0]:.2f}", f"{rate[0]:.2f}"),
        *(f"{each[0]:.2%} ± {each[1]:.2%}" for each in (judged, diverse)),
        f"{size / 1e6:.1f} MB",
    ]


def table(folder: Path) -> None:
    """All rows in Markdown."""
    heads = ("latents", "network", "images/s", "steps", "elbo, nats", "distortion", "rate")
    lines = [line(name, row, folder) for name, row in ROWS.items()]
    print("|", " | ".join((*heads, "judge", "diversity", "decoder.onnx")), "|")
    print("| --- | --- |" + " ---: |" * 8)
    for cells in lines:
        print("|", " | ".join(cells), "|")


def main() -> None:
    """One piece of work, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--speed", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--train", choices=ROWS, metavar="ROW", help="the same")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/latent-spaces"))
    parser.add_argument("--seconds", type=float, default=60.0, help="that each row gets")
    parser.add_argument("--flags", default="", help="more of distvae train, such as --threads 1")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.speed:
        speed(given.speed, ROWS[given.speed], given.folder)
    elif given.train:
        name = given.train
        train(name, ROWS[name], given.folder, given.seconds, given.flags)
    elif not given.table:
        started = time.monotonic()
        for name, row in ROWS.items():
            train(name, row, given.folder, given.seconds, given.flags)
        print(f"{time.monotonic() - started:,.0f} s")
    table(given.folder)


if __name__ == "__main__":
    main()
