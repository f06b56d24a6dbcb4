"""`distvae sweep`: runs that differ in some settings, each in a process and a folder of its own."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from distvae.arguments import Train
from distvae.errors import DONE, INTERRUPTED
from distvae.flags import HELP, given, parse
from distvae.sweeps.grid import read_settings
from distvae.sweeps.jobs import Stopped
from distvae.sweeps.running import Plan, lacking, train_runs
from distvae.terminal import say
from distvae.values import Count, Word

COMMAND = "distvae sweep"
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
    plan = Plan.of(read_settings(texts), common, asked)
    try:
        train_runs(plan)
    except Stopped:
        say(f"stopped; {plan.told}. Go on exactly from here:")
        say(f"  {shlex.join(['distvae', 'sweep', *arguments])}")
        return INTERRUPTED
    tell(plan.folder, plan.results, plan.by)
    if (error := lacking(plan)) is not None:
        raise error
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
