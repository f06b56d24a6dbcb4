"""Disentanglement of VAE, beta-VAE, beta-TCVAE and a falling KL weight on drawn sprites, by seeds.

Every row is that of real ``distvae train`` runs which differ in the objective and the seed alone:

    python tests/benchmarks/disentanglement.py --seeds 5 --output runs/disentanglement

A run that is in the output folder with its scores is not repeated, so a stopped table goes on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SETTINGS = {
    "data": "sprites:small",
    "model": "vae",
    "prior": "normal",
    "network": "mlp",
    "latent-dim": 10,
    "binarize": "threshold",
    "batch-size": 128,
    "learning-rate": 1e-3,
    "mixed-precision": "no",
    "epochs": 1000,
    "eval-every": 1000,
    "sample-every": 1000,
    "checkpoint-every": 100_000,
}
OBJECTIVES = {
    "VAE": {"objective": "elbo", "beta": 1},
    "beta-VAE": {"objective": "elbo", "beta": 4},
    "beta-TCVAE": {"objective": "beta_tc", "penalty": 6, "beta": 1},
    "falling-beta": {"objective": "elbo", "beta": 4, "kl-start": 40, "kl-warmup-epochs": 20},
}
SHOWN = ("mig", "sap", "dci_disentanglement", "dci_completeness", "factor_vae_score", "elbo")


def scores(name: str, seed: int, steps: int, output: Path) -> dict[str, float]:
    """Train and score one model, unless that was done before."""
    folder = output / f"{name}-{steps}-{seed}"
    kept = folder.with_suffix(".json")
    if not kept.exists():
        flags = {**SETTINGS, **OBJECTIVES[name], "seed": seed, "max-steps": steps, "output": folder}
        words = [str(word) for flag, value in flags.items() for word in (f"--{flag}", value)]
        ended = subprocess.run(
            [sys.executable, "-m", "distvae.cli", "train", *words, "--overwrite"],
            env={"OMP_NUM_THREADS": "1", **os.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ended.returncode:
            sys.exit(f"{name}, seed {seed}: {ended.stderr[-3000:]}")
        kept.write_text(json.dumps(measured(folder)), encoding="utf-8")
    found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def measured(folder: Path) -> dict[str, float]:
    """The scores of a run, its bound on the test split and its seconds."""
    from distvae.data.store import open_data
    from distvae.evaluation.disentanglement import disentanglement_metrics
    from distvae.models import VAE
    from distvae.runs import find_run

    run = find_run(folder)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    tested = [line for line in lines if line["split"] == "test"]
    data = open_data(run.config().data)
    found = dict(disentanglement_metrics(VAE.from_pretrained(folder), data, seed=0))
    return {**found, "elbo": tested[-1]["elbo"]}


def main() -> None:
    """Print a row for each objective: mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--output", type=Path, default=Path("runs/disentanglement"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    print("objective   seeds  " + "  ".join(f"{name:>20}" for name in SHOWN), flush=True)
    for name in options.objectives.split(","):
        found = [scores(name, n, options.steps, options.output) for n in range(options.seeds)]
        cells = []
        for shown in SHOWN:
            values = [each[shown] for each in found]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"{statistics.mean(values):9.3f} +- {spread:<6.3f}")
        print(
            f"{name:11} {len(found):5}  " + "  ".join(f"{cell:>20}" for cell in cells), flush=True
        )


if __name__ == "__main__":
    main()
