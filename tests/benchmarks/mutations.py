"""Damage every file that a command reads, in two thousand ways, and see how the commands end.

Prints a table by file. ``same``: exit code 0 with the result of the whole file; ``legit``: exit
code 0 with another result, where the damage is one that its owner may have meant; ``refused``: exit
code 2 and one line. The others are wrong, and each is printed.

    python tests/benchmarks/mutations.py --count 2000
"""

import argparse
import collections
import dataclasses
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conftest import write_shapes
from tests.mutations import CASES, Case, Outcome, outcome, prepare

KINDS = ("same", "legit", "refused", "untidy", "CRASH", "WRONG")
TASKS = [(case, file) for case in CASES for file in case.files]


def work(pristine: Path, seeds: range, answers: "multiprocessing.Queue[Outcome | None]") -> None:
    """Damage by each of the seeds."""
    with tempfile.TemporaryDirectory(dir=pristine.parent) as folder:
        for seed in seeds:
            case, file = TASKS[seed % len(TASKS)]
            answers.put(told(pristine, Path(folder, "copy"), case, file, seed))
    answers.put(None)


def told(pristine: Path, scratch: Path, case: Case, file: str, seed: int) -> Outcome:
    """One outcome, without what cannot be sent."""
    found = outcome(pristine, scratch, case, file, seed)
    plain = Case(case.words, case.files, print)
    return dataclasses.replace(
        found, case=plain, damage=f"seed {seed}: {found.damage}", out="", err=found.err[:3000]
    )


def main() -> None:
    """Damage, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    flags = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        data = write_shapes(Path(folder, "shapes", "train"), 40, 0).parent
        write_shapes(data / "test", 17, 1)
        pristine = Path(folder, "pristine")
        pristine.mkdir()
        prepare(pristine, data)
        context = multiprocessing.get_context("spawn")
        answers: multiprocessing.Queue[Outcome | None] = context.Queue()
        last = flags.first + flags.count
        workers = [
            context.Process(
                target=work,
                args=(pristine, range(flags.first + rank, last, flags.processes), answers),
            )
            for rank in range(flags.processes)
        ]
        for worker in workers:
            worker.start()
        running = len(workers)
        while running:
            found = answers.get()
            if found is None:
                running -= 1
                continue
            counts[found.file][found.kind] += 1
            if found.kind in ("untidy", "CRASH", "WRONG"):
                print(f"{found.kind}: {found.case.words} | {found.file} | {found.damage}")
                print("   ", "\n    ".join(found.err.strip().splitlines()[-3:]), flush=True)
    print(f"| file | {' | '.join(KINDS)} |\n| --- |{' ---: |' * len(KINDS)}")
    for file, kinds in [*counts.items(), ("all", sum(counts.values(), collections.Counter()))]:
        print(f"| {file} | {' | '.join(str(kinds[kind]) for kind in KINDS)} |")


if __name__ == "__main__":
    main()
