"""Trains the judges of the bundled MNIST that come with the package.

They see eight times as many images as judges that are trained on the spot, and are stored in half
precision; what they are right on was measured after that. Run it after a change of the judges'
network or training: `python tests/benchmarks/mnist_judges.py`, some minutes of five cores, or of
one after the other.
"""

import platform
from datetime import date

import torch

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.examples import domain_of_data
from distvae.data.store import open_data
from distvae.evaluation.ensemble import BATCH, JUDGES, MNIST, contents, write_ensemble
from distvae.evaluation.judge_training import train_networks
from distvae.files import new_folder
from distvae.platform import processor
from distvae.terminal import progress_bar

STEPS = 4000


def main() -> None:
    """Train, round, write and tell."""
    data = open_data(DataConfig(data="mnist"), progress_bar)
    train = ResidentImages.from_split(data.train)
    with progress_bar("training the judges", JUDGES * STEPS * BATCH) as advance:
        networks = train_networks(
            train, domain_of_data(data), data.num_labels, STEPS, BATCH, range(JUDGES), advance
        )
    provenance = {
        "made": "python tests/benchmarks/mnist_judges.py",
        "made_on": date.today().isoformat(),
        "made_by": [processor(), torch.__version__, platform.python_version()],
        "trained_on": f"the {len(train):,} training images of the bundled MNIST, CC BY-SA 3.0",
        "steps": STEPS,
        "batch": BATCH,
    }
    with new_folder(MNIST) as folder:
        halves = [network.half() for network in networks]
        write_ensemble(folder, halves, data, {**contents(data), **provenance})
    print((MNIST / "config.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
