"""Whether a change of the code changes what is computed: digests of weights and of figures.

    python tests/digests.py write before.json    # in a checkout from before the change
    python tests/digests.py check before.json    # after it, on the same machine

Each run takes 200 steps on one thread in float32. Its weights, a byte apart or not, tell every
number that went into them. Figures of an evaluation are held to a relative 1e-9, as the order in
which they are summed up is nobody's promise. A digest holds on one machine with one version of
torch, so none is kept here.
"""

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

STEPS = 200
TOLERANCE = 1e-9
FLAGS = "--mixed-precision no --compile off --threads 1 --eval-every 1000 --sample-every 1000"
CONVOLVED = "--data mnist --width 0.25 --batch-size 32"
PLAIN = "--data mnist --model vae --network mlp --prior normal --latent-dim 10"
RUNS = {
    "mnist-cvae": "--config mnist-cvae",
    "mnist-tutorial": "--config mnist-tutorial",
    "burda-iwae-short": "--config burda-iwae-short",
    "dreg": "--config burda-dreg-short --accumulate 2",
    "flow": f"{PLAIN} --posterior flow",
    "factor": f"{PLAIN} --objective factor --penalty 10",
    "beta_tc": f"{PLAIN} --objective beta_tc",
    "logistic": f"{PLAIN} --likelihood discretized_logistic_mixture --batch-size 32",
    "mmd": f"{PLAIN} --objective mmd",
    "obedience": f"{PLAIN} --model cvae --objective obedience",
    "conv": f"{CONVOLVED} --network conv --prior vamp --prior-components 2",
    "resnet": f"{CONVOLVED} --network resnet --prior mixture",
}
EVALUATIONS = {
    "mnist-cvae": "--metrics elbo,latents,downstream,judge",
    "burda-iwae-short": "--metrics elbo,likelihood --draws 20",
    "flow": "--metrics elbo,latents",
}


def distvae(*words: str) -> None:
    """Run a command of the package that this Python imports."""
    subprocess.run(
        [sys.executable, "-m", "distvae.cli", *words], check=True, stdout=subprocess.DEVNULL
    )


def figures(folder: Path) -> dict[str, float]:
    """The numbers of an evaluation."""
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if isinstance(value, float)}


def computed(names: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Of each run the digest of its weights, and its figures where it is evaluated."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            folder = Path(temporary, name)
            given = [*RUNS[name].split(), *FLAGS.split(), "--max-steps", str(STEPS)]
            distvae("train", *given, "--output", str(folder))
            weights = (folder / "model.safetensors").read_bytes()
            found: dict[str, object] = {"weights": hashlib.sha256(weights).hexdigest()}
            if name in EVALUATIONS:
                distvae("evaluate", str(folder), *EVALUATIONS[name].split())
                found |= figures(folder)
            yield name, found


def alike(before: object, after: object) -> bool:
    """Whether two digests are the same, or two figures as good as the same."""
    if isinstance(before, float) and isinstance(after, float):
        return math.isclose(before, after, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return before == after


def main() -> int:
    """Write the digests, or print what differs from those written before."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("action", choices=["write", "check"])
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", nargs="*", help="left out: all")
    given = parser.parse_args()
    names, path = given.runs or list(RUNS), given.file
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    differs = False
    for run, found in computed(names):
        if given.action == "write":
            before[run] = found
            path.write_text(json.dumps(before, indent=1) + "\n", encoding="utf-8")
            print(f"{run}: written", flush=True)
            continue
        known = before.get(run, {})
        other = [what for what in {**known, **found} if not alike(known.get(what), found.get(what))]
        for what in other:
            print(f"{run}: {what} was {known.get(what)} and is {found.get(what)}")
        print(f"{run}: {'differs' if other else f'{len(found)} numbers are the same'}", flush=True)
        differs |= bool(other)
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
