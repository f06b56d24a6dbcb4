"""Figures of recipes that take minutes of a GPU, each part in pieces of under seven minutes.

    python tests/benchmarks/records.py --part ladder          again until it says that it is done
    python tests/benchmarks/records.py --part ladder-cpu      the same on two CPU cores
    python tests/benchmarks/records.py --part ladder --small  that every step runs, in a minute
    python tests/benchmarks/records.py --part photos-gpu      of photographs: photographs.py

A part trains for as many steps as fit into its minutes, by the speed of a probe, and evaluates.
Each call works for ``--seconds`` at most: a training that is not done is stopped, leaves a
checkpoint, and the next call goes on from it exactly. A table of what is known is printed at the
end of each call.
"""

import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distvae.packages import is_installed
from distvae.terms.lite0 import PACKAGE

PROBE = 150
"""Steps by which the speed is told; the last line of the log is of the last 50."""
LEAST = 30.0
"""Seconds that a training is worth beginning for."""


@dataclass(frozen=True)
class Part:
    """A training and its evaluation."""

    minutes: float
    """Of training."""
    train: str
    evaluate: str
    figures: tuple[str, ...]
    """Of evaluation.json."""
    small: str = "--width 0.1 --batch-size 64"
    """Settings with which it takes a minute and its figures mean nothing."""
    photographs: bool = False
    """Whether it is trained on them."""


LIKELIHOOD = ("elbo", "log_likelihood", "log_likelihood_standard_error", "log_likelihood_draws")
BY_LABEL = (
    *LIKELIHOOD,
    *("judge_accuracy", "judge_test_accuracy", "diversity"),
    *("recall_judge", "recall_judge_real", "fid_judge", "fid_judge_real"),
)
LARGE = "--levels 12 --network resnet --batch-size 256 --learning-rate 1e-3 --skip-above 20"
PARTS = {
    "ladder": Part(
        *(15, f"--config mnist-ladder {LARGE}", "--metrics elbo,likelihood --draws 1000"),
        LIKELIHOOD,
    ),
    "ladder-labels": Part(
        15,
        f"--config mnist-ladder --model cvae {LARGE}",
        "--metrics elbo,likelihood,judge,distances --draws 1000",
        BY_LABEL,
    ),
    "ladder-cpu": Part(
        30,
        "--config mnist-ladder --compile on",
        "--metrics elbo,likelihood --draws 100",
        LIKELIHOOD,
    ),
    "ladder-labels-cpu": Part(
        30,
        "--config mnist-ladder --model cvae --compile on",
        "--metrics elbo,likelihood,judge,distances --draws 100",
        BY_LABEL,
    ),
    "flow-cpu": Part(
        30,
        "--config mnist-vae-conv-flow --compile on",
        "--metrics elbo,likelihood --draws 500",
        LIKELIHOOD,
    ),
}
RECONSTRUCTION = ("psnr", "ssim", "rate_bits_per_pixel", "bits_per_dim")
TINY = "--width 0.1 --batch-size 4 --image-size 64"


def photos(minutes: float, train: str, tiny: str = "") -> Part:
    """One of photographs."""
    small = f"{TINY} {tiny}".rstrip()
    evaluate = "--metrics elbo,reconstruction"
    return Part(minutes, train, evaluate, RECONSTRUCTION, small, photographs=True)


WIDE = "--config photos-f8 --image-size 128 --width 1"
PERCEPTUAL = "efficientnet_lite0" if is_installed(PACKAGE) else "ms_ssim"
"""The second needs no weights, which may not be there."""
PARTS |= {
    "photos-cpu": photos(10, "--config photos-f8"),
    "photos-gpu": photos(15, WIDE),
    "photos-gpu-critic": photos(
        15, f"{WIDE} --critic patch --perceptual {PERCEPTUAL}", "--critic-width 4"
    ),
}
DRAWN = 6
"""Pictures that stand for photographs where only the steps are looked at."""


def command(words: str, seconds: float) -> int | None:
    """Run ``distvae`` with these words; None where it was stopped after so many seconds."""
    full = [sys.executable, "-m", "distvae", *shlex.split(words)]
    print("$ distvae", words, flush=True)
    with subprocess.Popen(full) as process:
        try:
            return process.wait(timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # a training writes a checkpoint
            process.wait()
            return None


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Lines of a run's log."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def photographs_in(given: Path, folder: Path, small: bool) -> Path:
    """The folder of photographs; of ``small`` parts pictures are drawn where there is none."""
    if (given / "train").is_dir():
        return given
    if not small:
        raise SystemExit(
            f"{given / 'train'} is not there: this part is trained on photographs. Where Debian's "
            "packages can be fetched, run\n  python tests/benchmarks/photographs.py photographs\n"
            "copy that folder here, and name it by --photographs."
        )
    drawn, generator = folder / "drawn", np.random.default_rng(0)
    print(f"{given / 'train'} is not there: {DRAWN} pictures are drawn into {drawn}", flush=True)
    for split in ("train", "test"):
        (drawn / split).mkdir(parents=True, exist_ok=True)
        for number in range(DRAWN):
            coarse = generator.integers(0, 256, (12, 16, 3), np.uint8)
            picture = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
            picture.save(drawn / split / f"{number}.png")
    return drawn


def steps_of(name: str, part: Part, folder: Path, extra: str, left: float) -> int:
    """How many steps fit into the minutes of a part, by a run of a few."""
    probe = folder / f"{name}-probe"
    words = f"train {part.train} {extra} --max-steps {PROBE} --eval-every 1000 --log-every 50"
    words += f" --overwrite --output {shlex.quote(str(probe))}"
    if command(words, left) != 0:
        raise SystemExit("the probe did not end well")
    settings = json.loads((probe / "config.json").read_text(encoding="utf-8"))
    batch = settings["settings"]["batch_size"]
    (*_, last) = [row for row in rows_of(probe) if row["split"] == "train"]
    return max(PROBE, int(last["images_per_second"] * 60 * part.minutes / batch))


def work(
    name: str, part: Part, folder: Path, small: bool, seconds: float, photographs: Path
) -> bool:
    """Do what can be done of a part in so many seconds; whether it is done."""
    end = time.monotonic() + seconds
    run, known = folder / name, folder / f"{name}.json"
    extra = part.small if small else ""
    evaluation = run / "evaluation.json"
    if evaluation.exists():
        return True
    if part.photographs:
        extra += f" --data {shlex.quote(str(photographs_in(photographs, folder, small)))}"
    if not known.exists():
        steps = 40 if small else steps_of(name, part, folder, extra, end - time.monotonic())
        known.write_text(json.dumps({"steps": steps}), encoding="utf-8")
    steps = json.loads(known.read_text(encoding="utf-8"))["steps"]
    if end - time.monotonic() < LEAST:
        return False
    words = f"train {part.train} {extra} --max-steps {steps} --resume auto"
    code = command(f"{words} --output {shlex.quote(str(run))}", end - time.monotonic())
    if code is None:
        return False
    if code:
        raise SystemExit(f"training ended with {code}")
    flags = re.sub(r"(--draws) \d+", r"\1 5", part.evaluate) if small else part.evaluate
    code = command(f"evaluate {shlex.quote(str(run))} {flags}", end - time.monotonic())
    if code:
        raise SystemExit(f"evaluation ended with {code}")
    return code == 0


def table(folder: Path, names: Sequence[str]) -> None:
    """What is known of each part."""
    for name in names:
        path = folder / name / "evaluation.json"
        if not path.exists():
            print(f"{name}: not done")
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        found = found.get("metrics", found)
        trained = [row for row in rows_of(folder / name) if row["split"] == "train"]
        parts = [f"{key} {found[key]:.4g}" for key in PARTS[name].figures]
        print(f"{name}: step {trained[-1]['step']}, {', '.join(parts)}")


def main() -> None:
    """One piece of work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, default="ladder")
    parser.add_argument("--folder", type=Path, default=Path("runs/records"))
    parser.add_argument("--seconds", type=float, default=400.0, help="that a call takes at most")
    parser.add_argument("--small", action="store_true", help="tiny models, figures without meaning")
    parser.add_argument("--photographs", type=Path, default=Path("photographs"))
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    part = PARTS[flags.part]
    done = work(flags.part, part, flags.folder, flags.small, flags.seconds, flags.photographs)
    table(flags.folder, [flags.part])
    print("done" if done else "not done: call it again")


if __name__ == "__main__":
    main()
