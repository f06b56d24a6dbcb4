"""The runs of a sweep from what is asked to what they came to; the same command goes on with them.

A sweep is a folder with a folder for each run, what the runs said, and sweep.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distvae.arguments import training
from distvae.card import is_finished
from distvae.errors import DONE, DistvaeError
from distvae.files import write_json
from distvae.reading import read_record
from distvae.runs import RUNS, is_run
from distvae.sweeps.grid import points
from distvae.sweeps.jobs import Job, run_jobs
from distvae.sweeps.live import LiveLine, reason
from distvae.sweeps.results import UDR, Result, metric_of, numbers_in
from distvae.terminal import say

STATE, LOGS, FAILED = "sweep.json", "logs", "failed"
CUT = "stopped before its end"


@dataclass(frozen=True)
class State:
    """sweep.json: the runs that were trained to their end."""

    done: dict[str, tuple[str, ...]]
    """By the name of their folder, the words of their command."""


@dataclass(frozen=True)
class Plan:
    """A sweep that was asked for and checked."""

    folder: Path
    results: list[Result]
    """Of its runs, in their order."""
    by: str
    """The number that names the best."""
    metric: str = ""
    """The metric of `distvae evaluate` that measures it; empty where it is the training."""
    jobs: int = 1
    """Runs at a time."""
    afresh: bool = False
    """Whether runs that are there are deleted."""
    done: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """As sweep.json has them."""

    @classmethod
    def of(
        cls,
        settings: dict[str, tuple[str, ...]],
        common: Sequence[str],
        asked: Mapping[str, Any],
    ) -> "Plan":
        """What is asked for.

        Args:
            settings: values by flag.
            common: words for `distvae train` that all runs have.
            asked: flags of the sweep and of the training that were given, by field.

        Raises:
            DistvaeError: something of it is not possible; nothing was made yet.
        """
        by = asked.get("by", "elbo")
        if asked.get("select") == UDR:
            from distvae.sweeps.ranking import check_seeds

            check_seeds(settings)
            by = UDR
        metric = metric_of(by)
        if "resume" in asked or asked.get("rewind_schedule"):
            raise DistvaeError(
                "distvae sweep takes no --resume and no --rewind-schedule",
                "it goes on by itself",
                "Give the same command again.",
            )
        output = asked.get("output")
        name = "" if output else f"{training(list(common)).folder.name}-sweep"
        folder = Path(output) if output else RUNS / name
        results = [Result(each, folder / each.name) for each in points(settings, common)]
        return cls(folder, results, by, metric, asked.get("jobs", 1), bool(asked.get("overwrite")))

    @property
    def told(self) -> str:
        """How many of its runs are done."""
        return f"{sum(each.done for each in self.results)} of {len(self.results)} runs are done"


def train_runs(plan: Plan) -> None:
    """Run what is not done, and note how each ended.

    Raises:
        Stopped: a signal told it to; runs that were under way have written a checkpoint.
    """
    path = plan.folder / STATE
    plan.done.update(read_record(path, State).done if path.exists() and not plan.afresh else {})
    (plan.folder / LOGS).mkdir(parents=True, exist_ok=True)
    jobs, by_name = [], {}
    for result in plan.results:
        name = result.point.name
        if plan.done.get(name) != result.point.words or not _is_whole(result.folder):
            plan.done.pop(name, None)
        result.state = "done" if name in plan.done else "waiting"
        job = _job(plan, result)
        if job.steps:
            jobs.append(job)
            by_name[name] = result
    passed = len(plan.results) - len(jobs)
    if passed:
        say(f"{passed} of {len(plan.results)} runs are done already")
    with LiveLine(plan.results, passed) as line:

        def ended(job: Job) -> None:
            result = by_name[job.name]
            result.state = "done" if job.code == DONE else f"{FAILED}: {reason(job.log)}"
            if result.done and not _is_whole(result.folder):
                result.state = CUT  # by a signal to its process alone
            if result.done:
                plan.done[job.name] = result.point.words
                write_json(path, {"done": plan.done})
            line.ended(result, plan.by)

        run_jobs(jobs, plan.jobs, ended, line.look)


def lacking(plan: Plan) -> DistvaeError | None:
    """What is to be said of runs that are not done; None where all are."""
    missing = {
        how: [
            each.point.name
            for each in plan.results
            if not each.done and each.state.startswith(FAILED) == so
        ]
        for how, so in ((FAILED, True), ("stopped before their end", False))
    }
    told = [f"{how} ({', '.join(names)})" for how, names in missing.items() if names]
    if not told:
        return None
    count = sum(not each.done for each in plan.results)
    return DistvaeError(
        f"{count} of {len(plan.results)} runs {' or '.join(told)}",
        f"what they said is in {plan.folder / LOGS}",
        "The same again goes on with them.",
    )


def _is_whole(folder: Path) -> bool:
    return is_run(folder) and is_finished(folder)


def _job(plan: Plan, result: Result) -> Job:
    """Training, unless it is done, then the evaluation that ``by`` needs, unless it is known."""

    def train() -> list[str]:
        begin = [] if plan.afresh else ["--resume", "auto"]
        return ["train", *result.point.words, "--output", str(result.folder), *begin]

    def evaluate() -> list[str] | None:
        known = not plan.metric or plan.by in numbers_in(result.folder, plan.by)[0]
        return (
            None
            if known or not _is_whole(result.folder)
            else ["evaluate", str(result.folder), "--metrics", plan.metric]
        )

    steps = [train, evaluate]
    if result.done:
        steps = [evaluate] if evaluate() else []
    return Job(result.point.name, plan.folder / LOGS / f"{result.point.name}.log", steps)
