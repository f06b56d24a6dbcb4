"""Whether the lowest versions that pyproject.toml claims do: every command once, with them.

    python tests/lowest/run.py

Every requirement but torch is installed at its floor, in a virtual environment of its own; torch is
that of constraints.txt. It takes some minutes, a network and 2 GB, so it is no part of the tests.
Run it before a floor is lowered and after a new API is used. Needs Python 3.11 or newer.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import tomllib

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SMALL = "--hidden 32 --width 0.25 --latent-dim 4 --max-steps 30 --batch-size 32 --threads 1"
COMMANDS = (
    f"distvae train --data {{images}} --image-size 16 {SMALL} --output runs/dense",
    "distvae train --resume runs/dense --max-steps 40",
    f"distvae train --data {{tables}} --network conv --prior flow {SMALL} --output runs/conv",
    "distvae fit-prior runs/dense",
    "distvae evaluate runs/dense --metrics elbo,likelihood,latents,judge,distances,downstream",
    "distvae evaluate runs/conv --metrics elbo,marginal",
    "distvae export runs/dense --onnx --precision int8",
    "distvae export runs/conv --onnx --precision fp16",
    "distvae sample runs/dense/onnx/decoder.onnx --label square --output square.png",
    "distvae sample runs/dense/onnx/decoder-int8.onnx --label circle --output circle.npz",
    "distvae sample runs/conv/checkpoints/step-00000030 --label circle --output circles.png",
    "distvae sample runs/conv/onnx/decoder-fp16.onnx --label circle --output circle.png",
    "distvae inspect runs/dense/onnx/decoder.onnx",
    "distvae inspect {tables}",
    f"accelerate launch {CHECKOUT}/launch/train.py --data {{images}} {SMALL} --image-size 16",
)
DATA = """
import sys
from pathlib import Path
import datasets
import numpy as np
from PIL import Image
root, random = Path(sys.argv[1]), np.random.default_rng(0)
y, x = np.mgrid[:16, :16]
paths = []
for number in range(300):
    name = ("circle", "square", "stripe")[number % 3]
    row, column = random.integers(5, 11, 2)
    far = {"circle": np.hypot(y - row, x - column), "stripe": abs(y - row) * 2,
           "square": np.maximum(abs(y - row), abs(x - column))}[name]
    paths.append(root / "images" / name / f"{number}.png")
    paths[-1].parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(255 * (far < 4))).save(paths[-1])
label = datasets.ClassLabel(names=["circle", "square", "stripe"])
features = datasets.Features({"image": datasets.Image(), "label": label})
cells = [{"bytes": path.read_bytes(), "path": None} for path in paths]
table = {"image": cells, "label": [n % 3 for n in range(300)]}
(root / "tables").mkdir()
datasets.Dataset.from_dict(table, features).to_parquet(root / "tables" / "train.parquet")
"""


def floors() -> list[str]:
    """Every requirement of the package at its lower bound, but torch."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pairs = [re.match(r"([\w-]+)>=([\d.]+)", line) for line in project["dependencies"]]
    return [f"{pair[1]}=={pair[2]}" for pair in pairs if pair and pair[1] != "torch"]


def torch_pin() -> str:
    """The torch that continuous integration runs with."""
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def build(folder: Path) -> Path:
    """The scripts of a new environment with the package and its floors."""
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, torch_pin(), *floors()], check=True)
    subprocess.run([*pip, "--no-deps", "-e", str(CHECKOUT)], check=True)
    return folder / "bin"


def run_all(scripts: Path, folder: Path) -> int:
    """Run every command in ``folder``; the number of those that failed."""
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "DISTVAE_CACHE": str(folder / "cache"),
    }
    made = [str(scripts / "python"), "-c", DATA, str(folder)]
    subprocess.run(made, cwd=folder, env=environment, check=True, capture_output=True)
    failed = 0
    for line in COMMANDS:
        words = line.format(images=folder / "images", tables=folder / "tables").split()
        ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        print(f"{'ok    ' if ended.returncode == 0 else 'FAILED'}  {' '.join(words)}")
        if ended.returncode:
            failed += 1
            print(ended.stdout[-2000:], ended.stderr[-4000:])
    return failed


def main() -> None:
    """Install, run, and end with 1 where a command failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", type=Path, help="keep the environment here, or use it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.environment or Path(scratch, "environment")
        scripts = folder / "bin" if (folder / "bin" / "distvae").exists() else build(folder)
        work = Path(scratch, "work")
        work.mkdir()
        print(" ".join([torch_pin(), *floors()]))
        sys.exit(min(1, run_all(scripts, work)))


if __name__ == "__main__":
    main()
