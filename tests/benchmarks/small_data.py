"""Few images: does a model that was trained without a flag draw what it is asked for?

    python tests/benchmarks/small_data.py --sets moderate-grey moderate-colour --work /tmp/small
    python tests/benchmarks/small_data.py --sets digits-54 --batches 8 16 32 --steps 500 1000 2000

It draws sets of circles, squares and triangles at 32x32, 120 of each; a tenth is held out. It
trains ``distvae train --data SET`` with nothing else, or with the flags after ``--``, and has 300
samples of each label judged by a network of its own, trained on 6,000 other images of the kind.
``digits-54`` and ``digits-5000`` are bundled digits, 9 of each of six classes and 5,000; theirs is
trained on 20,000 others. The share that the judge gets right of images that it never saw is printed
beside its verdict. ``--seeds 1`` takes other images and ``train --seed 1``.

With ``--batches`` and ``--steps`` it makes the crossed table: for each batch one run as long as the
most steps, judged on its way, so that shorter columns are parts of the same learning rate schedule;
with ``--separate`` each cell is a run with a schedule of its own.
"""

import argparse
import dataclasses
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from distvae import VAE
from distvae.config import DataConfig
from distvae.data.store import open_data
from distvae.runs import checkpoint_path

SHAPES = ("circle", "square", "triangle")
SIDE, FINER = 32, 4
SETS = (
    "moderate-grey", "moderate-colour", "wide-grey", "wide-colour", "digits-54", "digits-5000",
)  # fmt: skip
Images = NDArray[np.uint8]


def shape(name: str, kind: str, rng: np.random.Generator) -> Images:
    """One image ``[32, 32, 1 or 3]``: anywhere if wide, else near the middle."""
    spread, colour = kind.split("-")
    whole = SIDE * FINER
    lightness = rng.integers(100, 256, 3) if colour == "colour" else rng.integers(150, 256, 1)
    ink = tuple(int(value) for value in np.broadcast_to(lightness, 3))
    if spread == "wide":
        r = rng.uniform(5, 10) * FINER
        x, y = rng.uniform(r + 2, whole - r - 2, 2)
    else:
        r = 9 * rng.uniform(0.75, 1.25) * FINER
        x, y = whole / 2 + rng.uniform(-3 * FINER, 3 * FINER, 2)
    canvas = Image.new("RGB", (whole, whole))
    pen = ImageDraw.Draw(canvas)
    if name == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    elif name == "square":
        pen.rectangle((x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r), fill=ink)
    else:
        corners = [(x, y - r), (x - 0.95 * r, y + 0.8 * r), (x + 0.95 * r, y + 0.8 * r)]
        pen.polygon(corners, fill=ink)
    fine = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=float)
    noisy = (fine + rng.normal(0, 6, fine.shape)).clip(0, 255).astype(np.uint8)
    return noisy if colour == "colour" else noisy[..., :1]


def drawn(kind: str, count: int, seed: int) -> tuple[Images, NDArray[np.int64]]:
    """``count`` images of each shape ``[N, 32, 32, C]`` and their labels."""
    rng = np.random.default_rng(seed)
    images = np.stack([shape(name, kind, rng) for name in SHAPES for _ in range(count)])
    return images, np.repeat(np.arange(len(SHAPES)), count)


def digits(classes: int, count: int, first: int) -> tuple[Images, NDArray[np.int64]]:
    """``count`` bundled digits of each class after the ``first`` ones."""
    train = open_data(DataConfig()).train
    assert train.labels is not None
    rows = [
        np.flatnonzero(train.labels == label)[first : first + count] for label in range(classes)
    ]
    picked = np.concatenate(rows)
    return train.images[picked].transpose(0, 2, 3, 1), np.asarray(train.labels[picked])


def parts(kind: str, seed: int) -> list[tuple[Images, NDArray[np.int64]]]:
    """What is trained on, what the judge is trained on, and what the judge is tested on."""
    if kind == "digits-54":
        return [digits(6, 9, 9 * seed), digits(6, 2000, 1000), digits(6, 500, 4000)]
    if kind == "digits-5000":
        return [digits(10, 500, 500 * seed), digits(10, 2000, 1000), digits(10, 500, 4000)]
    return [drawn(kind, 120, 100 * seed), drawn(kind, 2000, 5), drawn(kind, 300, 6)]


def write(folder: Path, images: Images, labels: NDArray[np.int64]) -> None:
    """A folder for each class, of PNG files."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / f"class-{label}" / f"{number:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(place)


def told(network: nn.Module, images: Tensor) -> Tensor:
    """The class of each image in [0, 1], by the judge."""
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in torch.split(images, 500)])


def tensor(images: Images) -> Tensor:
    """``[N, H, W, C]`` bytes to ``[N, C, H, W]`` in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2) / 255


def judge(images: Images, labels: NDArray[np.int64]) -> nn.Module:
    """Three strided convolutions and two dense layers, eight epochs of Adam."""
    torch.manual_seed(0)
    pixels, classes = tensor(images), torch.from_numpy(labels)
    network = nn.Sequential(
        nn.Conv2d(pixels.shape[1], 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU(),
        nn.Linear(128, int(labels.max()) + 1),
    )  # fmt: skip
    adam = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(8):
        for rows in torch.split(torch.randperm(len(pixels)), 64):
            loss = F.cross_entropy(network(pixels[rows]), classes[rows])
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
    return network


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A set of images in a folder, and a judge of what is drawn after training on it."""

    kind: str
    seed: int
    data: Path
    names: tuple[str, ...]
    network: nn.Module
    reference: float
    """The share of real images of which the judge is right."""

    @classmethod
    def of(cls, kind: str, seed: int, work: Path) -> "Experiment":
        """Write the images below ``work`` and train the judge."""
        (images, labels), known, (unseen, truth) = parts(kind, seed)
        data = work / f"{kind}-{seed}"
        if not data.exists():
            write(data, images, labels)
        network = judge(*known)
        right = told(network, tensor(unseen)).numpy() == truth
        count = int(labels.max()) + 1
        names = tuple(map(str, range(count))) if kind.startswith("digits") else SHAPES
        return cls(kind, seed, data, names, network, float(right.mean()))

    def train(self, name: str, flags: list[str]) -> Path:
        """The folder of a run of the command on these images."""
        run = self.data.with_name(f"run-{self.data.name}-{name}")
        command = ["-m", "distvae.cli", "train", "--data", str(self.data), "--output", str(run)]
        own = ["--seed", str(self.seed)] if self.seed else []
        subprocess.run([sys.executable, *command, "--overwrite", *own, *flags], check=True)
        return run

    def verdict(self, folder: Path) -> str:
        """Per cent of 300 samples of each label that are what was asked; the worst label's."""
        model, shares = VAE.from_pretrained(str(folder)), []
        for label in range(len(self.names)):
            with torch.no_grad():
                samples = model.sample(labels=f"class-{label}", n=300, seed=1)
            shares.append((told(self.network, samples) == label).double().mean().item())
        worst = int(np.argmin(shares))
        return f"{100 * np.mean(shares):.1f} ({self.names[worst]} {100 * shares[worst]:.1f})"

    def row(self, *cells: object) -> None:
        """A row of a table, told at once."""
        ends = [self.kind, self.seed, *cells, f"{100 * self.reference:.1f}"]
        print("|", *(f"{cell} |" for cell in ends), flush=True)


def alone(experiment: Experiment, flags: list[str]) -> None:
    """One run of the command, with nothing but ``flags``."""
    began = time.perf_counter()
    run = experiment.train("alone", flags)
    seconds = round(time.perf_counter() - began)
    experiment.row(" ".join(flags) or "(none)", seconds, experiment.verdict(run))


def crossed(
    experiment: Experiment, batch: int, steps: list[int], separate: bool, flags: list[str]
) -> None:
    """The cells of one batch: of one run on its way, or of a run for each number of steps."""
    rare = ["--eval-every", "100000", "--sample-every", "100000", "--batch-size", str(batch)]
    ways = [[count] for count in steps] if separate else [steps]
    cells = []
    for way in ways:
        every = math.gcd(*way)
        kept = ["--checkpoint-every", str(every), "--keep", str(max(way) // every)]
        name = f"{batch}-{max(way)}"
        length = ["--epochs", str(max(way)), "--max-steps", str(max(way))]
        run = experiment.train(name, [*rare, *kept, *length, *flags])
        cells += [experiment.verdict(checkpoint_path(run, count)) for count in way]
    experiment.row(batch, *cells)


def main() -> None:
    """Print the tables."""
    own, flags = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, flags = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS[:2])
    parser.add_argument("--seeds", nargs="+", type=int, choices=(0, 1), default=(0,))
    parser.add_argument("--batches", nargs="+", type=int, default=())
    parser.add_argument("--steps", nargs="+", type=int, default=(500, 1000, 2000))
    parser.add_argument("--separate", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("small-data"))
    asked = parser.parse_args(own)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    steps = sorted(asked.steps)
    cells = ["batch", *map(str, steps)] if asked.batches else ["flags", "seconds", "right, %"]
    header = ["set", "seed", *cells, "judge on real, %"]
    print("|", *(f"{cell} |" for cell in header))
    print("|", *("--- |" for _ in header), flush=True)
    for kind in asked.sets:
        for seed in asked.seeds:
            experiment = Experiment.of(kind, seed, asked.work)
            for batch in asked.batches:
                crossed(experiment, batch, steps, asked.separate, flags)
            if not asked.batches:
                alone(experiment, flags)


if __name__ == "__main__":
    main()
