"""`distvae sweep`: runs that differ in some settings, each in a process and a folder of its own."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from distvae.arguments import Train, training
from distvae.card import is_finished
from distvae.errors import DONE, INTERRUPTED, DistvaeError
from distvae.files import write_json
from distvae.flags import HELP, given, parse
from distvae.reading import read_record
from distvae.runs import RUNS, is_run
from distvae.sweeps.grid import points, read_settings
from distvae.sweeps.jobs import Job, Stopped, run_jobs
from distvae.sweeps.live import LiveLine, reason
from distvae.sweeps.results import UDR, Result, metric_of, numbers_in
from distvae.terminal import say
from distvae.values import Count, Word

COMMAND = "distvae sweep"
STATE, LOGS, FAILED = "sweep.json", "logs", "failed"
TAKEN = ("--set", "--jobs", "--by", "--select", "--output")
"""Flags whose values are for the sweep and not for its runs."""


@dataclass(frozen=True)
class Sweep(Train):
    """Train several runs that differ in some settings, and name the best.

    Every combination of the values that are set is a run, an ordinary one in a folder of its own
    below --output (left out: runs/RECIPE-sweep). All other flags are those of distvae train. The
    same command again goes on: runs that are done are passed over, others are resumed.
    """

    EXAMPLES = (
        "distvae sweep --config mnist-tutorial --set beta=1,2,4 --set latent-dim=8,16 --jobs 2",
        "distvae sweep --data photos --set seed=0,1,2 --by log_likelihood",
        "distvae sweep --config sprites-vae --set beta=1,4 --set seed=0,1,2,3,4 --select udr",
    )
    COMMON = ("set", "jobs", "by", "select", *Train.COMMON[:-1])  # type: ignore[assignment]

    set: str | None = None
    """A setting and its values, `NAME=VALUE,VALUE`, where NAME is a flag of distvae train; may be given several times. Values that hold commas are parted by semicolons, as in `hidden=256,128;512`."""  # noqa: E501
    jobs: Count = 1
    """Runs at a time. They share the CPU's cores; where there are several GPUs each has one."""
    by: Annotated[str, Word("NAME")] = "elbo"
    """The number that names the best: one that training logs, or a figure of distvae evaluate, such as `mig`, which is then measured. It is that of validation images where training logs it of some."""  # noqa: E501
    select: Literal["udr"] | None = None
    """Choose without labels: `udr` prefers runs whose latents other seeds find again (Duan et al. 2020, arXiv:1905.12614); needs `--set seed=0,1,2`."""  # noqa: E501


@dataclass(frozen=True)
class State:
    """sweep.json: the runs that were trained to their end."""

    done: dict[str, tuple[str, ...]]
    """By the name of their folder, the words of their command."""


def sweep(arguments: list[str]) -> int:
    """Train the runs that are not done, then write their table and picture.

    Raises:
        DistvaeError: flags are wrong, before anything is trained; or runs failed, after all others
            were trained.
    """
    from distvae.sweeps.telling import tell

    if {*arguments} & {*HELP}:
        parse(Sweep, arguments, COMMAND)
    asked = given(Sweep, arguments, COMMAND)
    texts, common = _parted(arguments)
    settings, by = read_settings(texts), asked.get("by", Sweep.by)
    if asked.get("select") == UDR:
        from distvae.sweeps.ranking import check_seeds

        check_seeds(settings)
        by = UDR
    metric = metric_of(by)
    _check(asked)
    folder = _folder(asked, common)
    results = [Result(each, folder / each.name) for each in points(settings, common)]
    try:
        _train(folder, results, asked, by, metric)
    except Stopped:
        count = sum(each.done for each in results)
        say(f"stopped; {count} of {len(results)} runs are done. Go on exactly from here:")
        say(f"  {shlex.join(['distvae', 'sweep', *arguments])}")
        return INTERRUPTED
    tell(folder, results, by)
    missing = {
        how: [each.point.name for each in results if not each.done and (FAILED in each.state) == so]
        for how, so in ((FAILED, True), ("stopped before their end", False))
    }
    if told := [f"{how} ({', '.join(names)})" for how, names in missing.items() if names]:
        count = sum(not each.done for each in results)
        raise DistvaeError(
            f"{count} of {len(results)} runs {' or '.join(told)}",
            f"what they said is in {folder / LOGS}",
            "The same command goes on with them.",
        )
    return DONE


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of --set, and the words that are meant for all runs."""
    texts, common, left = list[str](), list[str](), iter(arguments)
    for word in left:
        name, joined, value = word.partition("=")
        if name not in TAKEN:
            common.append(word)
            continue
        value = value if joined else next(left)
        if name == "--set":
            texts.append(value)
    return texts, common


def _check(asked: Mapping[str, Any]) -> None:
    if "resume" in asked or asked.get("rewind_schedule"):
        raise DistvaeError(
            "distvae sweep takes no --resume and no --rewind-schedule",
            "it goes on by itself",
            "Give the same command again.",
        )


def _folder(asked: Mapping[str, Any], common: Sequence[str]) -> Path:
    if output := asked.get("output"):
        return Path(output)
    return RUNS / f"{training(list(common)).folder.name}-sweep"


def _train(
    folder: Path, results: Sequence[Result], asked: Mapping[str, Any], by: str, metric: str
) -> None:
    """Run what is not done, and note how each ended."""
    path, afresh = folder / STATE, bool(asked.get("overwrite"))
    done = read_record(path, State).done if path.exists() and not afresh else {}
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    jobs, by_name = [], {}
    for result in results:
        name = result.point.name
        if done.get(name) != result.point.words or not _is_whole(result.folder):
            done.pop(name, None)
        result.state = "done" if name in done else "waiting"
        job = _job(folder, result, afresh, by, metric)
        if job.steps:
            jobs.append(job)
            by_name[name] = result
    passed = len(results) - len(jobs)
    if passed:
        say(f"{passed} of {len(results)} runs are done already")
    with LiveLine(results, passed) as line:

        def ended(job: Job) -> None:
            result = by_name[job.name]
            result.state = "done" if job.code == DONE else f"{FAILED}: {reason(job.log)}"
            if result.done and not _is_whole(result.folder):
                result.state = "stopped before its end"  # by a signal to its process alone
            if result.done:
                done[job.name] = result.point.words
                write_json(path, {"done": done})
            line.ended(result, by)

        run_jobs(jobs, asked.get("jobs", Sweep.jobs), ended, line.look)


def _is_whole(folder: Path) -> bool:
    return is_run(folder) and is_finished(folder)


def _job(folder: Path, result: Result, afresh: bool, by: str, metric: str) -> Job:
    """Training, unless it is done, then the evaluation that ``by`` needs, unless it is known."""

    def train() -> list[str]:
        begin = [] if afresh else ["--resume", "auto"]
        return ["train", *result.point.words, "--output", str(result.folder), *begin]

    def evaluate() -> list[str] | None:
        known = not metric or by in numbers_in(result.folder, by)[0]
        return (
            None
            if known or not _is_whole(result.folder)
            else ["evaluate", str(result.folder), "--metrics", metric]
        )

    steps = [train, evaluate]
    if result.done:
        steps = [evaluate] if evaluate() else []
    return Job(result.point.name, folder / LOGS / f"{result.point.name}.log", steps)
