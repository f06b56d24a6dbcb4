"""What a classifier of another kind than the judges takes samples of a model for.

    python -m tests.benchmarks.second_opinion RUN RUN ...

A support vector machine of scikit-learn, with a radial kernel of pixels, is fitted to training
images of the first run. It tells the labels of test images and of as many samples of each run.
Models that were trained by a classifier may please the judges, which are built as that one is; this
machine shares nothing with them but the images.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from distvae.data.provenance import open_recorded
from distvae.data.store import Split
from distvae.models import VAE
from distvae.runs import find_run

PENALTY = 5.0
"""C of the machine; its kernel has the width of scikit-learn's ``gamma="scale"``."""


def columns(split: Split, most: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pixels in [0, 1] ``[N, D]`` of the first labelled images, and their labels."""
    assert split.labels is not None
    known = np.flatnonzero(split.labels >= 0)[:most]
    pixels = np.asarray(split.stored[known], np.float32) / 255.0
    return pixels.reshape(len(known), -1), np.asarray(split.labels[known], np.int64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--images", type=int, default=30_000, help="to fit it to")
    parser.add_argument("--each", type=int, default=1_000, help="samples of a label")
    asked = parser.parse_args()
    from sklearn.svm import SVC

    data = open_recorded(find_run(asked.runs[0]), None, quiet=True)
    machine = SVC(C=PENALTY).fit(*columns(data.train, asked.images))
    pixels, labels = columns(data.test, len(data.test))
    print("| what is told | rightly |\n| --- | ---: |")
    print(f"| test images | {share(machine.predict(pixels) == labels)} |")
    for run in asked.runs:
        model = VAE.from_pretrained(find_run(run).model)
        right = [
            machine.predict(model.sample(name, asked.each, number).flatten(1).numpy()) == number
            for number, name in enumerate(data.label_names)
        ]
        print(f"| samples of {run} | {share(np.concatenate(right))} |", flush=True)


def share(right: NDArray[np.bool_]) -> str:
    """Per cent, with the error of so many examples."""
    return f"{100 * right.mean():.2f} ± {100 * right.std() / len(right) ** 0.5:.2f} %"


if __name__ == "__main__":
    main()
