"""Which labels of the data are anomalies to a model, for figures of detection."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distvae.attributes import main_label
from distvae.errors import DistvaeError
from distvae.labels import parse_labels
from distvae.terminal import warn
from distvae.text import some
from distvae.tools.examples import Examples
from distvae.tools.trained import Trained

if TYPE_CHECKING:
    from distvae.tools.score import ScoreConfig


def anomalous_labels(
    config: "ScoreConfig", trained: Trained, examples: Examples
) -> list[int] | None:
    """Numbers of the labels of the data that are anomalies; None where that is not known.

    Raises:
        DistvaeError: flags do not go together, or a label is unknown.
    """
    names = examples.label_names
    if config.anomaly_label is not None:
        if config.against is not None:
            raise DistvaeError(
                "--anomaly-label does not go with --against",
                "either says which examples are anomalies",
                "Leave one out.",
            )
        if not names:
            raise DistvaeError(
                f"--anomaly-label {config.anomaly_label}: {examples.name} has no labels",
                "expected a label column or one folder per class",
                "Name the column with --label-column, or usual examples with --against.",
            )
        chosen = parse_labels(config.anomaly_label, names)
        _warn_of_trained(trained, [names[label] for label in chosen], config.data is None, names)
        return chosen
    only = _only(trained)
    if only is None or not names or config.against is not None or config.data is None:
        return None
    usual = parse_labels(only, names)
    return [label for label in range(len(names)) if label not in usual]


def _only(trained: Trained) -> str | None:
    """The labels that a run was trained on alone."""
    run = trained.run
    return None if run is None or run.bare else run.settings().data.only_label


def _warn_of_trained(
    trained: Trained, anomalous: Sequence[str], own: bool, names: Sequence[str]
) -> None:
    """Say which anomalies the model was trained on: it cannot find these strange.

    Args:
        trained: the model.
        anomalous: what is called so.
        own: whether the data are those of the run.
        names: labels of the data.
    """
    main, only = main_label(trained.attributes), _only(trained)
    known: Sequence[str] = names if own else ()
    if main is not None:
        known = trained.attributes[main].labels
    if only is not None:
        known = [names[label] for label in parse_labels(only, names)]
    if seen := [name for name in anomalous if name in known]:
        warn(
            f"the model was trained on {some(seen)}: what it knows is not strange to it. "
            "--only-label of distvae train leaves labels out"
        )
