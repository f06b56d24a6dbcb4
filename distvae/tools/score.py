"""`distvae score`: how unlike the training data images are.

Legend: N examples.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.data.identity import combined
from distvae.errors import DistvaeError
from distvae.flags import Positional
from distvae.labels import Labels
from distvae.ranges import check_seed
from distvae.terminal import make_console, say, table
from distvae.tools.anomalous import anomalous_labels
from distvae.tools.detection import DETECTED, Detection, detection, percentiles
from distvae.tools.examples import Examples, open_examples
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.parts import Parts
from distvae.tools.reading import BLOCK
from distvae.tools.scoring import PART_ROWS, STRANGE, Asked, Scored, check_background, scored
from distvae.tools.trained import Trained, open_trained, weights_of
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName

FILE = "score.onnx"


@dataclass(frozen=True)
class ScoreConfig:
    """Tell how unlike the training data images are, the strangest first.

    The score is the share of a picture's contrast that the model does not explain: 0 of what it
    knows by heart, about 1 of what it explains no better than a flat picture. The likelihood (elbo)
    is told too, and is no such measure: a model of clothes finds digits likelier than clothes.
    docs/anomaly.md says what each score means. With an ONNX file as RUN no torch is needed.
    """

    EXAMPLES = (
        "distvae score",
        "distvae score runs/photos --data new-photos",
        "distvae score --data mnist --split test --anomaly-label 0-2,4-9",
        "distvae score onnx/score.onnx --data folder",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints or its score.onnx; left out: the newest run."""
    data: DataName | None = None
    """What to score: a folder, file, table, array file, Hub id, bundled set or picture; left out: the test split of the run."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """Of which split; left out: `test` of the run's own data, `all` of other data."""
    label: LabelNames | None = None
    """What a conditional model is given of every example; left out: the labels of the data, and where they are not known the label under which the bound is largest."""
    label_column: Name | None = None
    """Column of the labels, where it is not found."""
    anomaly_label: Name | None = None
    """Labels of the data that are anomalies, such as `0-2,4-9`, for the figures; left out: of a run trained with --only-label all other labels."""
    against: DataName | None = None
    """Usual examples, for the figures: all of --data are then anomalies. `test` is the test split of the run."""
    background: RunName | None = None
    """A run without labels whose bound the bound is compared with (ratio), such as one of many kinds of images; left out: the size of a PNG stands for it."""
    draws: Count | None = None
    """Draws of an importance-weighted log-likelihood; left out: none is computed."""
    count: Count = 50
    """Images on each half of the sheet: the strangest and the most usual."""
    part_rows: Count = PART_ROWS
    """Images after which scores are kept on the way into a folder; a command that was killed goes on after the last ones kept."""
    output: PathName | None = None
    """A folder, or a file that ends in .csv or .png; left out: RUN/score."""
    seed: int = 0
    """Seed of the draws."""


@dataclass(frozen=True, eq=False)
class ScoreResult:
    """Scores of examples, in the order in which they were given."""

    scores: dict[str, NDArray[np.float64]]
    """``[N]`` by name: score, elbo, distortion, rate, and what else was asked for."""
    percentile: NDArray[np.float64] | None
    """Percent of held-out examples with a lower score ``[N]``; None where there are none."""
    rows: NDArray[np.int64]
    """Numbers of the examples ``[N]``; those are missing that could not be read."""
    labels: NDArray[np.int64] | None
    """Among ``label_names`` ``[N]``, -1 where one is not known; None without labels."""
    label_names: tuple[str, ...]

    @property
    def score(self) -> NDArray[np.float64]:
        """The recommended score ``[N]``, the higher the stranger."""
        return self.scores["score"]


def score(
    model: Any,
    images: Any = None,
    labels: Labels | None = None,
    *,
    knn: bool = False,
    draws: int | None = None,
    background: Any = None,
    seed: int = 0,
) -> ScoreResult:
    """How unlike the training data every example is.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run, a checkpoint or a score.onnx.
        images: as :func:`distvae.tools.embed.embed` takes them; None is the run's test split.
        labels: of the images, where they are not in the data: one for all or one for each.
        knn: whether the distance to the fifth nearest training example in the latents is told.
        draws: of the importance-weighted log-likelihood; None leaves it out.
        background: a model or run whose bound the bound is compared with.
        seed: of the draws.

    Raises:
        DistvaeError: the images do not fit the model, or cannot be read.
    """
    named = isinstance(model, str | Path)
    trained = open_trained(str(model), FILE, quiet=True) if named else Trained.of(model)
    data = images if labels is None or images is None else (images, labels)
    other = None if background is None else Trained.of(background)
    asked = Asked(knn, draws, other, seed)
    examples = open_examples(trained, data, tell=False)
    found = scored(trained, examples, asked)
    usual = found if images is None else _held_out(trained, asked)
    return _result(found, usual)


def write_scores(config: ScoreConfig) -> None:
    """Score and write what ``distvae score`` was asked for.

    Raises:
        DistvaeError: no such run or data, an output that cannot be written, or, once all else is
            done, images that could not be read.
    """
    from distvae.tools.score_pictures import write_histogram, write_sheet

    check_seed(config.seed)
    trained = open_trained(config.run, FILE)
    outputs = Outputs(trained, "score", config.output, (".csv", ".png"))
    examples = open_examples(
        trained, config.data, config.split, config.label, label_column=config.label_column
    )
    anomalous = anomalous_labels(config, trained, examples)
    background = None if config.background is None else open_trained(config.background)
    asked = Asked(trained.onnx is None, config.draws, background, config.seed)
    if trained.onnx is not None and (config.draws or config.background):
        raise DistvaeError(
            f"{trained.onnx} gives distortion, rate and score alone",
            "--draws and --background need the weights",
            "Name the run folder, or leave them out.",
        )
    check_background(background, examples)
    parts = _kept_on_the_way(trained, examples, asked, outputs, config.part_rows)
    found = scored(trained, examples, asked, parts=parts, part_rows=config.part_rows)
    own = config.data is None and config.split in (None, "test")
    held_out = found if own else _held_out(trained, asked)
    result = _result(found, held_out)
    groups, figures = _told_apart(config, trained, asked, found, anomalous, held_out)
    if outputs.wants(".csv"):
        write_csv(outputs.path("scores.csv"), *_table(result, examples))
    if outputs.wants(".png") and "pictures" in trained.domain.part.traits:
        write_sheet(outputs.path("strangest.png"), result, examples, config.count)
    if outputs.only is None:
        write_histogram(outputs.path("histogram.png"), groups)
    if parts is not None:
        parts.remove()
    outputs.tell(_line(result, held_out, trained.domain.examples), *figures)
    examples.refuse_lost()


def _kept_on_the_way(
    trained: Trained, examples: Examples, asked: Asked, outputs: Outputs, part_rows: int
) -> Parts | None:
    """Where scores are kept for a command that goes on; None where one file was asked for."""
    if outputs.only is not None:
        return None
    other = None if asked.background is None else weights_of(asked.background)
    what = [len(examples), asked.knn, asked.draws, other, asked.seed, part_rows]
    key = combined([weights_of(trained), examples.identity, *what])
    return Parts(outputs.working(".scores"), ".npz", key)


def _held_out(trained: Trained, asked: Asked) -> Scored | None:
    """The score of the run's test split; None where its data are not at hand."""
    if trained.run is None or trained.run.bare:
        return None
    try:
        examples = open_examples(trained, None, "test", tell=False)
    except DistvaeError as error:
        say(f"no percentiles: {error.thing}", stderr=True)
        return None
    return scored(trained, examples, dataclasses.replace(asked, draws=None), "held-out examples")


def _result(found: Scored, held_out: Scored | None) -> ScoreResult:
    below = None
    if held_out is not None:
        below = percentiles(found.columns["score"], held_out.columns["score"])
    return ScoreResult(found.columns, below, found.rows, found.labels, found.label_names)


def _told_apart(
    config: ScoreConfig,
    trained: Trained,
    asked: Asked,
    found: Scored,
    anomalous: list[int] | None,
    held_out: Scored | None,
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Scores by group, for a picture, and lines of figures where anomalies are known."""
    if config.against is not None:
        usual = held_out if config.against == "test" else None
        if usual is None:
            split = "test" if config.against == "test" else None
            data = None if split else config.against
            usual = scored(trained, open_examples(trained, data, split), asked, "usual examples")
        names = [name for name in found.columns if name in usual.columns]
        pairs = {name: (found.strangeness(name), usual.strangeness(name)) for name in names}
    elif anomalous is not None:
        assert found.labels is not None
        strange = np.isin(found.labels, anomalous)
        turned = {name: found.strangeness(name) for name in found.columns}
        pairs = {name: (values[strange], values[~strange]) for name, values in turned.items()}
    else:
        groups = {"scored": found.columns["score"]}
        if held_out is not None and held_out is not found:
            groups = {"held out": held_out.columns["score"], **groups}
        return groups, []
    figures = {name: detection(*pair) for name, pair in pairs.items()}
    _print(figures, *(len(values) for values in pairs["score"]))
    groups = dict(zip(("anomalies", "usual"), pairs["score"], strict=True))
    best = figures["score"]
    return groups, [
        f"AUROC {best.auroc:.4f} ± {best.error:.4f}, AUPRC {best.auprc:.4f}, false alarms "
        f"{best.false_alarms:.2%} at {DETECTED:.0%} detection, by score"
    ]


def _print(figures: dict[str, Detection], anomalies: int, usual: int) -> None:
    header = ["by", "AUROC", "AUPRC", f"false alarms at {DETECTED:.0%}"]
    rows = [
        [name, f"{one.auroc:.4f} ± {one.error:.4f}", f"{one.auprc:.4f}", f"{one.false_alarms:.2%}"]
        for name, one in figures.items()
    ]
    title = f"{anomalies:,} anomalies told from {usual:,} usual examples"
    make_console().print(table(title, [header, *rows], header=True))


def _table(result: ScoreResult, examples: Examples) -> tuple[list[str], Iterator[list[object]]]:
    """A header, and a row for each example, the strangest first."""
    names = [name for name in STRANGE if name in result.scores]
    order = np.argsort(-result.score, kind="stable")
    parts = (order[start : start + BLOCK] for start in range(0, len(order), BLOCK))
    rows = (row for places in parts for row in _rows(result, examples, names, places))
    return ["id", "label", "score", "percentile", *names[1:]], rows


def _rows(
    result: ScoreResult, examples: Examples, names: Sequence[str], places: NDArray[np.int64]
) -> Iterator[list[object]]:
    """Of the examples at some places."""
    ascending = np.sort(result.rows[places])
    ids = dict(zip(ascending.tolist(), examples.names(ascending), strict=True))
    for place in places.tolist():
        label = -1 if result.labels is None else int(result.labels[place])
        word = result.label_names[label] if label >= 0 else ""
        below = "" if result.percentile is None else f"{result.percentile[place]:.2f}"
        figures = [f"{result.scores[name][place]:.6g}" for name in names]
        yield [ids[int(result.rows[place])], word, figures[0], below, *figures[1:]]


def _line(result: ScoreResult, held_out: Scored | None, what: str) -> str:
    middle = f"{len(result.rows):,} {what}: median score {np.median(result.score):.3g}"
    if result.percentile is None or held_out is None or held_out.columns is result.scores:
        return middle
    above = float((result.percentile > 99.0).mean())
    count = len(held_out.rows)
    return f"{middle}; {above:.1%} lie above 99% of {count:,} held-out {what}"
