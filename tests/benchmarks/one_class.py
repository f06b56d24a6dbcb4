"""One-class MNIST: how well a digit is told from the nine others by what was trained on it alone.

    python tests/benchmarks/one_class.py runs/one-class --seeds 5
    python tests/benchmarks/one_class.py runs/one-class --rivals

trains the recipe `one-class-mnist` on each digit of the official training split and scores the
whole test split. A line of figures for each digit and seed is added to figures.jsonl in the folder,
and what stands there is not done again. --rivals are scikit-learn's one-class SVM, kernel density
and PCA on the same images.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distvae.arguments import training
from distvae.data.sources.mnist import read_arrays_of
from distvae.tools.detection import detection
from distvae.tools.score import score
from distvae.tools.scoring import STRANGE
from distvae.training.run import run_training

RIVAL_TEST = 4
"""Every so many-eth test image is seen by the rivals, of which the kernel density is slow."""
Images = NDArray[np.float64]


def main() -> None:
    """Measure what was asked for and print the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--digits", default="0123456789")
    parser.add_argument("--rivals", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    log = asked.folder / ("rivals.jsonl" if asked.rivals else "figures.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(line["seed"], line["digit"]) for line in lines}
    for seed in range(1 if asked.rivals else asked.seeds):
        for digit in map(int, asked.digits):
            if (seed, digit) in done:
                continue
            begun = time.monotonic()
            found = rivals(digit) if asked.rivals else own(asked.folder, digit, seed)
            line = {"seed": seed, "digit": digit, **found, "seconds": time.monotonic() - begun}
            lines.append(line)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
    summarize(lines)


def own(folder: Path, digit: int, seed: int) -> dict[str, float]:
    """AUROC of each score of a run that is trained here."""
    run = folder / f"digit-{digit}-seed-{seed}"
    words = ["--config", "one-class-mnist", "--only-label", str(digit), "--seed", str(seed)]
    run_training(*training([*words, "--output", str(run), "--overwrite", "--threads", "1"]))
    images, labels = read_arrays_of("test")
    found = score(str(run), images[:, None], knn=True).scores
    turned = {name: STRANGE[name] * values for name, values in found.items()}
    strange = labels != digit
    return {
        name: detection(values[strange], values[~strange]).auroc for name, values in turned.items()
    }


def rivals(digit: int) -> dict[str, float]:
    """AUROC of others; settings are those that scikit-learn or Deep SVDD's authors have."""
    images, labels = read_arrays_of("train")
    train = images[labels == digit].reshape(-1, 784) / 255.0
    images, labels = read_arrays_of("test")
    test, strange = images[::RIVAL_TEST].reshape(-1, 784) / 255.0, labels[::RIVAL_TEST] != digit
    return {
        name: detection(values[strange], values[~strange]).auroc
        for name, values in _rival_scores(train, test)
    }


def _rival_scores(train: Images, test: Images) -> Iterator[tuple[str, Images]]:
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KernelDensity
    from sklearn.svm import OneClassSVM

    yield "one-class SVM", -OneClassSVM(nu=0.1, gamma="scale").fit(train).score_samples(test)
    pca = PCA(32, random_state=0).fit(train)
    error = test - pca.inverse_transform(pca.transform(test))
    yield "PCA error, 32 components", np.square(error).sum(1)
    pca = PCA(0.95, random_state=0).fit(train)
    density = KernelDensity(bandwidth=1.0).fit(pca.transform(train))
    yield "kernel density after PCA of 95 %", -density.score_samples(pca.transform(test))


def summarize(lines: list[dict[str, float]]) -> None:
    """Mean over digits of each score, with the standard error over seeds."""
    seeds = sorted({line["seed"] for line in lines})
    whole = [seed for seed in seeds if sum(line["seed"] == seed for line in lines) == 10]
    for name in [each for each in lines[0] if each not in ("seed", "digit", "seconds")]:
        means = [np.mean([line[name] for line in lines if line["seed"] == seed]) for seed in whole]
        if not means:
            continue
        error = float(np.std(means, ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else math.nan
        digits = [
            f"{np.mean([line[name] for line in lines if line['digit'] == digit]):.3f}"
            for digit in range(10)
        ]
        print(f"{name}: {np.mean(means):.4f} ± {error:.4f} ({len(means)} seeds)", *digits)


if __name__ == "__main__":
    os.environ.setdefault("DISTVAE_PROGRESS", "off")
    main()
