"""The model card of a run: what it is, what it was measured at, how to sample from it. No torch."""

import collections
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from distvae.attributes import LABEL, example_of, values_of
from distvae.config import unusual
from distvae.curves import CURVES
from distvae.declarations import declared
from distvae.errors import DistvaeError, shown
from distvae.figures import missing_name, rows_by_label, rows_of
from distvae.files import write_text
from distvae.front_matter import front_matter
from distvae.parts import MetricPart
from distvae.reading import read_lines, read_record
from distvae.records import DataRecord, Evaluation, MetricsLine, RunRecord, Scalar
from distvae.runs import (
    METRICS,
    SAMPLES,
    Run,
    checkpoints,
    domain_recorded,
    read_model_record,
    without_folders,
)
from distvae.terminal import warn
from distvae.text import counted, markdown, markdown_table, printable, rounded

if TYPE_CHECKING:
    from distvae.domains import Domain

CARD = "README.md"
EVALUATION = "evaluation.json"
TABLE = "evaluation.md"
LEFT_OUT = "left_out/"
"""Before the name of a figure in evaluation.json that could not be had; its value says why."""
BEST = {"best_step", "best_epoch", "best_loss", "evaluations_since_best"}
NOT_MEASURED = {"weights_step", *BEST}
"""What a line of metrics.jsonl holds beside what was measured."""
OF_THE_MACHINE = ("cache_dir", "output", "threads")
"""Settings that say nothing of the model to another machine."""


def last_metrics(folder: Path, split: str) -> MetricsLine | None:
    """The newest line of a split in metrics.jsonl, None if there is none.

    What is damaged there is passed over; :func:`check_log` tells of it.
    """
    path = folder / METRICS
    lines = read_lines(path, MetricsLine, []) if path.exists() else ()
    found = [line for _, line in lines if line.split == split]
    return found[-1] if found else None


def check_log(folder: Path) -> None:
    """Say which lines of metrics.jsonl are damaged, so that nobody takes them for missing.

    Raises:
        DistvaeError: it cannot be read at all.
    """
    path, damaged = folder / METRICS, list[str]()
    if path.exists():
        collections.deque(read_lines(path, MetricsLine, damaged), maxlen=0)
    if damaged:
        warn(f"{path} has {counted(len(damaged), 'damaged lines')}, left out: {damaged[0]}")


def evaluation(folder: Path) -> Evaluation:
    """What was measured by `distvae evaluate`, nothing before that.

    Raises:
        DistvaeError: evaluation.json is damaged.
    """
    path = folder / EVALUATION
    result = read_record(path, Evaluation) if path.exists() else Evaluation({})
    figures = {name for name in result.values if not name.startswith(LEFT_OUT)}
    if wrong := sorted(figures - numbers_of(result.values).keys()):
        raise DistvaeError(
            f"{path} is damaged",
            f"{shown(wrong[0])} is {shown(result.values[wrong[0]])} and no number",
            "Delete it and measure again: distvae evaluate",
        )
    return result


def numbers_of(values: Mapping[str, Scalar]) -> dict[str, float]:
    """The values that are numbers."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


class Best(NamedTuple):
    """The evaluation whose weights a run keeps."""

    split: str
    step: int
    epoch: float
    loss: float
    since: int
    """Evaluations after it."""

    def __str__(self) -> str:
        """Which it is, and that none was better."""
        since = f"{counted(self.since, 'evaluations')} since then without a"
        return (
            f"step {self.step} (epoch {rounded(self.epoch)}), the best by {self.split} loss: "
            f"{self.loss:.2f} nats; {f'{since} better one' if self.since else 'it is the newest'}"
        )


def best(folder: Path) -> Best | None:
    """The best evaluation so far of a run that keeps its weights."""
    for split in ("validation", "test"):
        line = last_metrics(folder, split)
        logged = numbers_of(line.values) if line else {}
        if logged.keys() >= BEST:
            step, since = int(logged["best_step"]), int(logged["evaluations_since_best"])
            return Best(split, step, logged["best_epoch"], logged["best_loss"], since)
    return None


def is_finished(folder: Path) -> bool:
    """Whether a run is as long as it was to be, or was stopped early."""
    kept, saved = best(folder), checkpoints(folder)
    record = read_model_record(folder)
    if not isinstance(record, RunRecord) or not record.schedule:
        return True
    patience = record.settings.get("early_stopping")
    early = kept is not None and isinstance(patience, int) and kept.since >= patience
    step = int(saved[-1].name.partition("-")[2]) if saved else 0
    return early or step >= record.schedule[-1].end


def best_sheet(folder: Path) -> Path | None:
    """The sheet of samples of a run's best weights, else its newest."""
    kept, sheets = best(folder), sorted((folder / SAMPLES).glob("epoch-*.png"))
    matching = f"epoch-{math.ceil(kept.epoch):04d}.png" if kept else ""
    return next(
        (sheet for sheet in sheets if sheet.name == matching), sheets[-1] if sheets else None
    )


def measured(folder: Path) -> dict[str, float]:
    """Every number known of a run's test split: the last while training, and the evaluation's."""
    last = last_metrics(folder, "test")
    numbers = numbers_of({**(last.values if last else {}), **evaluation(folder).values})
    return {name: value for name, value in numbers.items() if name not in NOT_MEASURED}


def write_evaluation(
    folder: Path, values: Mapping[str, Scalar], data: DataRecord, examples: str = "images"
) -> None:
    """Write evaluation.md of a folder: what was measured on this data, its error beside it.

    What was left out stands in ``values`` under its name with ``LEFT_OUT`` before it, with why.
    """
    numbers = numbers_of(values)
    reasons = {name: why for name, why in values.items() if name.startswith(LEFT_OUT)}
    tables = markdown_table(("", ""), rows_of(numbers, examples))
    if by_label := rows_by_label(numbers):
        header, *labels = by_label
        tables += f"\n{markdown_table(header, labels)}"
    left_out = "".join(
        f"\nLeft out: {markdown(missing_name(name.removeprefix(LEFT_OUT)))}: {markdown(str(why))}\n"
        for name, why in reasons.items()
    )
    parts = (one.part for one in declared("metric").values())
    drawn = (name for part in parts if issubclass(part, MetricPart) for name in part.pictures)
    pictures = "".join(
        f"\n![{markdown(path.stem)}]({quote(path.name)})\n"
        for name in drawn
        for path in sorted(folder.glob(f"{name}*.png"))
    )
    write_text(
        folder / TABLE,
        f"""# {markdown(folder.resolve().name)}: evaluation

On {counted(data.test_images, f"test {examples}")} of {_source(data)}: {markdown(data.test_split)}

{tables}{left_out}{pictures}""",
    )


def write_card(folder: Path) -> None:
    """Write README.md of a run folder from its config.json and what has been measured."""
    run = Run(folder, folder)
    record, settings = run.record(), run.config()
    data, sheet = record.data, best_sheet(folder)
    picture = f"![samples](samples/{quote(sheet.name)})\n" if sheet else ""
    curves = f"\n![curves]({CURVES})\n" if (folder / CURVES).exists() else ""
    domain = domain_recorded(folder, record)
    kind, name = domain.examples, folder.resolve().name
    conditional = settings.model.model == "cvae"
    asked = f"labels={example_of(record.given)!r}, " if conditional else ""
    write_text(
        folder / CARD,
        f"""{front_matter(name, record, domain, numbers_of(evaluation(folder).values))}
# {markdown(name)}

A {"conditional " if conditional else ""}variational autoencoder of {domain.told}: network
{settings.model.network}, {counted(settings.model.latent_dim, "latents")}.

- Data: {_source(data)}, {counted(data.train_images, f"training {kind}")}
- Tested on {counted(data.test_images, kind)}: {markdown(data.test_split)}
{_facts(folder, record, domain, conditional)}
{picture}
## Measured

On the test split. More, label by label too, is in evaluation.md where there is one.

{markdown_table(("", ""), rows_of(measured(folder), kind))}{curves}
## Sample

```python
from distvae import VAE

model = VAE.from_pretrained({_from(folder)!r})  # or from the Hub: "OWNER/NAME"
{domain.line(f"model.sample({asked}n=16, seed=0)")}
```

## Settings

{_settings(record)}""",
    )


def _facts(folder: Path, record: RunRecord, domain: "Domain", conditional: bool) -> str:
    """Lines that not every run has: who judged, which weights were kept, labels."""
    data, kept = record.data, best(folder)
    lines = []
    if domain.levels is not None:
        lines.append(f"Binarization: {record.settings['binarize']}")
    if data.validation_images:
        split = markdown(data.validation_split)
        others = counted(data.validation_images, f"other {domain.examples}")
        lines.append(f"Judged while training by {others}: {split}")
    if kept:
        lines.append(f"Weights: {kept}")
    if conditional:
        for each in record.given:
            name = "Labels" if each.name == LABEL else markdown(each.name)
            lines.append(f"{name}: {markdown(values_of(each))}")
    return "".join(f"- {line}\n" for line in lines)


def _settings(record: RunRecord) -> str:
    """Every setting that is no matter of the machine, as YAML: first what is not the default."""
    shown = {name: it for name, it in record.settings.items() if name not in OF_THE_MACHINE}
    if isinstance(shown.get("data"), str):
        shown["data"] = without_folders(shown["data"])
    other = unusual(shown)
    rest = {name: it for name, it in shown.items() if name not in other}
    return (
        "Those that differ from the defaults, chosen or made to fit the data:\n\n"
        f"```yaml\n{_yaml(other)}```\n\n"
        f"<details>\n<summary>All others</summary>\n\n```yaml\n{_yaml(rest)}```\n\n</details>\n"
    )


def _yaml(settings: Mapping[str, Any]) -> str:
    return "".join(f"{printable(name)}: {json.dumps(it)}\n" for name, it in settings.items())


def _source(data: DataRecord) -> str:
    """Where the data came from, without a folder of this machine."""
    return markdown(without_folders(data.source))


def _from(folder: Path) -> str:
    """How a run folder is named to ``from_pretrained``: without the folders of this machine."""
    here = not folder.is_absolute() and ".." not in folder.parts
    return folder.as_posix() if here else f"./{folder.resolve().name}"
