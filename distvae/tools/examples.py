"""What `--data` means for a trained model: examples of any source, as that model takes them.

Pictures are scaled and converted as those of the run were; what is done so is told in a line each.

Legend: N examples, S the axes of an example, A attributes of the model.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from distvae.asking import example_flag
from distvae.attribute_values import Values, asked_values
from distvae.attributes import is_label, main_label
from distvae.errors import DistvaeError, nearest
from distvae.labels import label_flag, label_indices
from distvae.terminal import progress_bar, say
from distvae.text import counted
from distvae.tools.given import rows_of_text
from distvae.tools.memory import divided
from distvae.tools.pieces import stored_piece
from distvae.tools.reading import Examples, Part
from distvae.tools.sources import Asked, raw_of, raw_pieces
from distvae.tools.trained import Trained

__all__ = ["Examples", "Part", "open_examples"]

SPLITS = ("train", "validation", "test")
ALL = "all"
LARGEST = "the one under which the bound is largest is given"


def open_examples(
    trained: Trained,
    data: Any = None,
    split: str | None = None,
    label: str | None = None,
    *,
    fixed: Values | None = None,
    label_column: str | None = None,
    image_column: str | None = None,
    unknown: str = LARGEST,
    summed: bool = False,
    tell: bool = True,
) -> Examples:
    """The examples that a tool was asked to look at.

    Args:
        trained: the model that takes them.
        data: a folder, a file, a table, an array file, a Hub id, a bundled set or one picture; a
            list of pictures; in Python also what :func:`distvae.train` takes. None is the data of
            the run.
        split: ``train``, ``validation``, ``test``, or ``all``; left out, of the run's own data
            ``test``, of other data ``all``.
        label: what examples are given, as a command line writes it, one for all or one for each;
            None takes what the data say.
        fixed: the same in numbers ``[1, A]``.
        label_column: that of the data, where it is not found.
        image_column: the same.
        unknown: what is done about a label that is not known, in words.
        summed: whether that is done about the labels of every attribute, not the first alone.
        tell: whether notes are said.

    Raises:
        DistvaeError: there is no such data, or it does not fit the model.
    """
    if split not in (None, ALL, *SPLITS):
        known = (*SPLITS, ALL)
        raise DistvaeError(
            f"--split {split} is not known", f"expected {', '.join(known)}", nearest(split, known)
        )
    if data is None:
        opened = _own(trained, split or "test")
    else:
        _check_labels(trained, data, summed)
        asked = Asked(data, label_column, image_column)
        opened = _other(trained, asked, split or ALL)
    examples = opened if label is None else labelled(opened, label)
    examples = examples if fixed is None else examples.given_all(fixed)
    notes = [
        *opened.notes,
        *told_of_labels(examples, trained, label, unknown, summed, trained.domain.examples),
    ]
    for note in notes if tell else ():
        say(note)
    return dataclasses.replace(examples, notes=tuple(notes))


def _check_labels(trained: Trained, data: Any, summed: bool) -> None:
    """Refuse labels that Python gives and the model does not know; those of files may be others.

    Those that are summed over may be missing.
    """
    labels = divided(data)[1]
    if not trained.conditional or labels is None:
        return
    if isinstance(labels, Mapping):
        attributes = [
            dataclasses.replace(each, missing=each.missing or (summed and bool(each.labels)))
            for each in trained.attributes
        ]
        asked_values(labels, attributes)
    elif is_label(trained.attributes):
        label_indices(labels, trained.attributes[0].labels)


def _own(trained: Trained, split: str) -> Examples:
    """Of the data that the run was trained on."""
    from distvae.data.provenance import open_recorded

    run = trained.run_with_data("examples")
    data = open_recorded(run, None, progress_bar)
    there = {"train": data.train, "validation": data.validation, "test": data.test}
    chosen = [name for name in SPLITS if there[name] is not None and split in (name, ALL)]
    if not chosen:
        raise DistvaeError(f"--split {split}: the data of {run.folder} have none", "expected test")
    raw = raw_of(trained, data)
    pieces = []
    for name in chosen:
        found = there[name]
        assert found is not None
        pieces.append(stored_piece(name, found, raw.get(name)))
    what = f"the {split} split of {data.source}" if split != ALL else data.source
    identity = f"{data.fingerprint} {' '.join(chosen)}"
    return Examples(
        *(what, trained.domain, trained.attributes, data.given, tuple(pieces)), identity=identity
    )


def _other(trained: Trained, asked: Asked, split: str) -> Examples:
    """Of other data."""
    found = raw_pieces(trained, asked)
    pieces = [piece for piece in found.pieces if split in (piece.split, ALL)]
    if not pieces:
        known = ", ".join(piece.split for piece in found.pieces)
        raise DistvaeError(f"--split {split}: {asked.name} has none", f"it has {known}")
    if not sum(piece.count for piece in pieces):
        raise DistvaeError(f"{asked.name} is empty", "expected at least one example")
    return Examples(
        *(asked.name, trained.domain, trained.attributes, found.data, tuple(pieces)),
        notes=tuple(found.notes),
        identity=found.identity and f"{found.identity} {split}",
    )


def labelled(examples: Examples, label: str) -> Examples:
    """Examples with what --label gives them."""
    rows = rows_of_text(label, examples.attributes)
    if len(rows) not in (1, len(examples)):
        raise DistvaeError(
            f"--label {label} names {len(rows)} labels",
            f"expected one for all, or one for each of {len(examples):,} {examples.domain.examples}",
            "Leave it out where the data have labels.",
        )
    return dataclasses.replace(
        examples, fixed=rows, identity=examples.identity and f"{examples.identity} {rows.tolist()}"
    )


def told_of_labels(
    examples: Examples,
    trained: Trained,
    label: str | None,
    words: str | None,
    summed: bool,
    what: str,
) -> Iterator[str]:
    """What the model is given of examples, where that is not as plain as a label of each.

    Args:
        examples: what a tool looks at.
        trained: the model.
        label: that was asked for.
        words: what is done about a label that is not known; None: such an example is refused.
        summed: whether that is done about the labels of every attribute.
        what: the examples are called.

    Raises:
        DistvaeError: something is not known of them that the model needs.
    """
    given = examples.given()
    if given is None:
        return
    if label is not None:
        yield f"the {what} are given --label {label}"
        return
    main = main_label(examples.attributes)
    for place, each in enumerate(examples.attributes):
        unknown = int(np.isnan(given[:, place]).sum())
        if not unknown:
            continue
        some = f"{unknown:,} of {counted(len(given), what)} {'has' if unknown == 1 else 'have'}"
        lack = f"{some} no {each.name} that the model knows"
        if each.missing:
            yield f"{lack}: it is taken as not known"
        elif words and (place == main or (summed and each.labels)) and trained.onnx is None:
            yield f"{lack}: {words}"
        else:
            plain = is_label(examples.attributes)
            flag = label_flag(each.labels[0]) if plain else example_flag(examples.attributes)
            raise DistvaeError(lack, "the model is given it of every example", f"Name it: {flag}")
