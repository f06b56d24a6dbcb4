"""What a run says at its end: where everything is, the test numbers, and what to type next."""

import math
import shlex

from rich.console import Console

from distvae.asking import example_flag
from distvae.card import best, best_sheet, last_metrics, numbers_of
from distvae.commands import TOOLS
from distvae.curves import CURVES
from distvae.figures import ERROR, rows_of
from distvae.labels import label_flag
from distvae.runs import CHECKPOINTS, METRICS, Run, domain_recorded
from distvae.terminal import make_console, table
from distvae.text import counted, rounded
from distvae.training.run import Outcome

NAMES = ("elbo", "distortion", "rate", "bits_per_dim", "active_units", "code_usage", "label_error")


def report(outcome: Outcome) -> None:
    """Print the end of a run."""
    console = make_console()
    folder, quoted = outcome.folder, shlex.quote(str(outcome.folder))
    if outcome.idle:
        _report_idle(outcome, console)
        return
    if not outcome.finished:
        console.print(f"{outcome.signal_name}: a checkpoint is written. Go on exactly from it:")
        console.print(f"  distvae train --resume {quoted}", style="bold")
        return
    measured = last_metrics(folder, "test")
    numbers = numbers_of(measured.values if measured else {})
    shown = {name: value for name, value in numbers.items() if name.removesuffix(ERROR) in NAMES}
    progress = outcome.progress
    step = numbers.get("weights_step", progress.step)
    title = f"test split after epoch {rounded(step / outcome.steps_per_epoch)}"
    record = Run(folder, folder).record()
    examples = domain_recorded(folder, record).examples
    console.print(table(title, rows_of(shown, examples)))
    sheet = best_sheet(folder)
    console.print(f"trained in {outcome.progress.seconds:.0f} s; everything is in {folder}/")
    if sheet:
        console.print(f"  samples      {sheet}")
    if (folder / CURVES).exists():
        console.print(f"  curves       {folder}/{CURVES}")
    console.print(f"  weights      {folder}/model.safetensors")
    console.print(f"  checkpoints  {folder}/{CHECKPOINTS}/")
    console.print(f"  metrics      {folder}/{METRICS}")
    names = record.label_names
    label = f" {label_flag(names[-1])}" if names else ""
    label = f" {example_flag(record.attributes)}" if record.attributes else label
    console.print("next:")
    console.print(f"  distvae sample {quoted}{label} --count 64", style="bold")
    console.print(f"  distvae evaluate {quoted}", style="bold")
    console.print(f"  distvae report {quoted}", style="bold")
    console.print(f"and, as distvae --help tells: {', '.join(TOOLS)}")
    if kept := best(folder):
        early = "stopped early. " if outcome.stopped_early else ""
        console.print(f"{early}The weights are those of {kept}.")


def _report_idle(outcome: Outcome, console: Console) -> None:
    """Say that the run was finished before, and what to give to go on."""
    step, epoch = outcome.progress.step, outcome.progress.step / outcome.steps_per_epoch
    count = outcome.progress.evaluations_since_best
    early = f", stopped early after {counted(count, 'evaluations')} without a better loss"
    finished = "finished" if step <= outcome.total_steps else "past that end"
    console.print(
        f"{outcome.folder} is {finished}: it stands at step {step:,} of {outcome.total_steps:,} "
        f"(epoch {rounded(epoch)}){early if outcome.stopped_early else ''}. Nothing was done."
    )
    go_on = f"distvae train --resume {shlex.quote(str(outcome.folder))}"
    console.print("to go on:")
    if outcome.stopped_early:
        console.print(f"  {go_on} --early-stopping {2 * count}", style="bold")
    console.print(f"  {go_on} --epochs {math.ceil(2 * epoch)}", style="bold")
    console.print(f"  {go_on} --max-steps {2 * step}", style="bold")
