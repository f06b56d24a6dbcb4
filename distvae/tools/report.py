"""`distvae report`: one HTML file that shows all of a run, and needs no network."""

import contextlib
import csv
import importlib
import io
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from distvae.attributes import LABEL
from distvae.card import OF_THE_MACHINE, best, evaluation, measured
from distvae.commands import COMMANDS, TOOLS, Command
from distvae.config import TrainConfig
from distvae.curves import CURVES
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.figures import headlines, rows_by_label, rows_of
from distvae.files import write_text
from distvae.flags import Positional
from distvae.records import RunRecord
from distvae.runs import find_run
from distvae.terminal import progress_bar, say
from distvae.text import counted
from distvae.told_settings import name_of, told, unusual_flags
from distvae.tools.html import Section, page, picture, preformatted, rows_as_table
from distvae.tools.outputs import OF_VOLUMES, Outputs
from distvae.tools.trained import Trained, open_trained
from distvae.values import DataName, PathName, RunName

ROWS, MOST_SHEETS = 20, 2
"""Of a table, and sheets of a section that are shown without a click."""


@dataclass(frozen=True)
class ReportConfig:
    """Write one HTML file that shows all of a run: it can be sent, and opens without a network.

    Settings, curves, samples, reconstructions, what each latent changes, the plane of two latents,
    scores, evaluation with its figures label by label, and how to reproduce the run. What a tool
    cannot do for this run is left out and told why.
    """

    EXAMPLES = ("distvae report", "distvae report runs/photos --output photos.html")

    run: Annotated[RunName | None, Positional] = None
    """Run folder; left out: the newest run."""
    data: DataName | None = None
    """Where the data of the run lies now, if it was moved; left out: where the run says."""
    output: PathName | None = None
    """A folder, or a file that ends in .html; left out: RUN/report."""


@dataclass(frozen=True)
class Shown:
    """A section whose pictures a command draws."""

    title: str
    about: str
    command: str
    flags: tuple[tuple[str, Any], ...] = ()
    takes_data: bool = True


SHOWN = (
    Shown("Samples", "Drawn from the prior by the seed 0.", "sample", takes_data=False),
    Shown(
        "Reconstructions",
        "Test examples, and what the decoder makes of the mean of their posterior.",
        "reconstruct",
        (("count", 30),),
    ),
    Shown(
        "What each latent changes",
        "One latent at a time, from low to high quantiles of the prior, sorted by rate: the nats "
        "of an example that it carries.",
        "traverse",
    ),
    Shown(
        "The plane of two latents",
        "What is drawn over the two latents of the greatest rates.",
        "manifold",
        (("size", 12),),
    ),
    Shown("Scores", "How unlike the training data each test example is.", "score"),
)
SLICES = (
    ("Samples", "The three middle slices of each, drawn by the training.", "epoch-*.png"),
    (
        "Reconstructions",
        "Middle slices of patches of the test split, and of the decoder's mean for each.",
        "reconstructions-*.png",
    ),
)
"""Of volumes: title, what is shown, and the names of the files."""


def report(run: Any = None, data: Any = None, output: Any = None) -> Path:
    """Write the report of a run.

    Args:
        run: its folder or name; None is the newest.
        data: where its data lies now, if it was moved.
        output: a folder or an ``.html`` file; None is ``report/`` in the run.

    Returns:
        The file.

    Raises:
        DistvaeError: there is no such run, or the output cannot be written.
    """
    texts = [None if each is None else str(each) for each in (run, data, output)]
    return write_report(ReportConfig(*texts))


def write_report(config: ReportConfig) -> Path:
    """Write what ``distvae report`` was asked for; gives the file.

    Raises:
        DistvaeError: there is no such run, or the output cannot be written.
    """
    trained = open_trained(config.run)
    record = find_run(trained.folder).record()
    outputs = Outputs(trained, "report", config.output, (".html",))
    sections, notes = [_numbers(trained), *_curves(trained)], dict[str, None]()
    shows = [each for each in SHOWN if each.command in COMMANDS | TOOLS]
    if isinstance(trained.domain, Volumes):
        sections += _slices(trained.folder)
        shows = [each for each in shows if each.command in OF_VOLUMES]
    with progress_bar("drawing the report", len(shows)) as advance:
        for shown in shows:
            sections.append(_drawn(shown, trained, config, notes))
            advance(1)
    for note in notes:  # each once, though several commands say it
        say(note, stderr=True)
    sections += [*_evaluation(trained), _settings(record), _reproduce(record)]
    path = outputs.path("report.html")
    name = trained.folder.resolve().name
    text = page(name, _facts(trained, record), sections)
    write_text(path, text)
    outputs.tell(f"{counted(len(sections), 'sections')}, {len(text.encode()) / 1e6:.1f} MB")
    return path


def _facts(trained: Trained, record: RunRecord) -> str:
    """What the run is, in a sentence or two."""
    model, data = record.model, record.data
    kind = "conditional variational" if model.get("model") == "cvae" else "variational"
    given = ", ".join(
        counted(len(each.labels), "labels") if each.name == LABEL else each.name
        for each in record.given
    )
    known = f", {given}" if given else ""
    kept = best(trained.folder)
    chosen = f" Its weights are those of {kept}." if kept else ""
    return (
        f"A {kind} autoencoder of {trained.domain.told}{known}: network {model.get('network')}, "
        f"{counted(model['latent_dim'], 'latents')}. "
        f"Trained on {counted(data.train_images, trained.domain.examples)} of "
        f"{Path(data.source).name}, tested on {counted(data.test_images, 'others')} "
        f"({data.test_split}).{chosen}"
    )


def _numbers(trained: Trained) -> Section:
    found = measured(trained.folder)
    rows = rows_of(headlines(found) or found, trained.domain.examples)
    about = "Of the test split; nats per example, with standard errors over the examples."
    return Section("In short", about, rows_as_table(rows))


def _curves(trained: Trained) -> Iterator[Section]:
    path = trained.folder / CURVES
    if path.is_file():
        yield Section(
            "Training", "What was logged.", picture(path.read_bytes(), "curves of the training")
        )


def _slices(folder: Path) -> Iterator[Section]:
    """The last sheets of slices that the training drew."""
    for title, about, names in SLICES:
        if found := sorted((folder / "samples").glob(names)):
            yield Section(title, about, picture(found[-1].read_bytes(), title))


def _drawn(shown: Shown, trained: Trained, config: ReportConfig, notes: dict[str, None]) -> Section:
    """A section with what a command draws of the run, or why it draws nothing.

    What it says on standard error is added to ``notes``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, shown.command)
        flags = dict(shown.flags)
        if shown.takes_data and config.data is not None:
            flags["data"] = config.data
        output = folder / "sheet.png" if shown.command == "sample" else folder
        endings = "*.png"
        if "pictures" not in trained.domain.part.traits:
            endings = "*.csv"
            output = output.with_suffix(".csv") if shown.command == "sample" else output
        output.parent.mkdir(exist_ok=True)
        run = str(trained.folder)
        try:
            elsewhere = find_run(run).record().data.source, str(trained.folder.resolve())
            command = (COMMANDS | TOOLS)[shown.command]
            with contextlib.redirect_stderr(io.StringIO()) as aside:
                said = _run(command, run, str(output), flags, elsewhere)
            notes |= dict.fromkeys(aside.getvalue().splitlines())
        except DistvaeError as error:
            return Section(shown.title, shown.about, "", [f"Left out: {error}"])
        found = sorted(folder.glob(endings))
        body = _together([_shown(path, shown.title) for path in found])
        return Section(shown.title, shown.about, body, said)


def _shown(path: Path, title: str) -> str:
    """A picture, or the first rows of a table."""
    if path.suffix == ".png":
        return picture(path.read_bytes(), f"{title}: {path.stem.replace('-', ' ')}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(itertools.islice(csv.reader(file), ROWS + 1))
    return rows_as_table(rows, header=True)


def _together(parts: Sequence[str]) -> str:
    """What a command drew; of many sheets, as one for each label, all but the first are folded."""
    if len(parts) <= MOST_SHEETS:
        return "".join(parts)
    rest = f"<details><summary>{len(parts) - 1} more</summary>{''.join(parts[1:])}</details>"
    return f"{parts[0]}{rest}"


def _run(
    command: Command, run: str, output: str, flags: dict[str, Any], elsewhere: Sequence[str]
) -> list[str]:
    """Run a command into a scratch folder; gives the lines that it said of its numbers.

    The folders of what lies ``elsewhere`` are no matter of whoever reads it.
    """
    module = importlib.import_module(command.module)
    config = getattr(module, command.config)(run=run, output=output, **flags)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        getattr(module, command.function)(config)
    text = said.getvalue()
    for name in elsewhere:
        text = text.replace(f"{Path(name).parent}/", "")
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and output not in line and "written to" not in line]


def _evaluation(trained: Trained) -> Iterator[Section]:
    """All figures, and those of each label."""
    numbers = measured(trained.folder)
    asked = bool(evaluation(trained.folder).values)
    about = "Measured by distvae evaluate." if asked else "Measured at the end of the training; "
    if not asked:
        about += f"`distvae evaluate {trained.folder.resolve().name}` measures more."
    yield Section("Evaluation", about, rows_as_table(rows_of(numbers, trained.domain.examples)))
    if by_label := rows_by_label(numbers):
        about = "How far labels are apart: each with its standard error."
        yield Section("Label by label", about, rows_as_table(by_label, header=True))


def _settings(record: RunRecord) -> Section:
    usual = TrainConfig().to_flat()
    rows = [
        (name_of(name), told(name, value), told(name, usual.get(name)))
        for name, value in record.settings.items()
        if name not in OF_THE_MACHINE
    ]
    changed = [row for row in rows if row[1] != row[2]]
    same = [row for row in rows if row[1] == row[2]]
    header = ("setting", "this run", "default")
    body = rows_as_table([header, *changed], header=True)
    rest = rows_as_table([header, *same], header=True)
    body += f"<details><summary>{len(same)} that are the defaults</summary>{rest}</details>"
    return Section("Settings", "Those chosen or made to fit the data.", body)


def _reproduce(record: RunRecord) -> Section:
    """The command that trains the same, and what it was trained with."""
    settings = {name: it for name, it in record.settings.items() if it not in (None, [], ())}
    words = ["distvae train", *unusual_flags(settings)]
    rows = [*record.versions.items(), ("device", record.world.device)]
    rows += [("processes", str(record.world.processes)), ("threads", str(record.world.threads))]
    rows += [(f"digest of {name}", digest) for name, digest in record.data.digests.items()]
    about = "On the same data, versions and kind of machine it ends with the same weights."
    body = preformatted(" \\\n    ".join(words)) + rows_as_table(rows)
    return Section("How to reproduce it", about, body)
