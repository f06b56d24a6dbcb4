"""Which split is trained on and which is tested on, by whatever names people give them."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute
from distvae.config import DataConfig
from distvae.data.factors import Factor
from distvae.data.sources.raw import UNLABELLED, Notes, RawData, RawSplit
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError, NoSplitError, UndividedError, nearest
from distvae.text import counted

_TRAIN, _TEST, _VALIDATION = "train", "test", "validation"
WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), _TRAIN),
    **dict.fromkeys(("test", "testing", "tst", "testset"), _TEST),
    **dict.fromkeys(("validation", "valid", "val", "validate", "valset"), _VALIDATION),
    **dict.fromkeys(("dev", "devel", "development", "devset", "eval", "evaluation"), _VALIDATION),
}
"""Words that say what a split is for."""
SHARE = 10
"""One in so many images of the training split is held out for another."""
FILLERS = frozenset(
    (
        "set",
        "data",
        "dataset",
        "images",
        "image",
        "imgs",
        "img",
        "split",
        "samples",
        "public",
        "private",
    )
)


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: ``trainImages_2`` has train, images and 2."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+|\d+", apart.casefold())


def roles(names: Iterable[str]) -> dict[str, str]:
    """What those of these names are for that say it: ``train``, ``test`` or ``validation``.

    Numbers, words like "images" and words that all names share say nothing, all else is a reason
    not to take a name for that of a split.
    """
    words = {name: words_of(name) for name in names}
    shared = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    ignored = FILLERS | (shared - WORDS.keys())
    listed = {
        name: [word for word in found if word not in ignored and not word.isdigit()]
        for name, found in words.items()
    }
    return {
        name: WORDS[found[0]]
        for name, found in listed.items()
        if len(found) == 1 and found[0] in WORDS
    }


def role_of(name: str) -> str | None:
    """What a name speaks of first: ``train``, ``test`` or ``validation``."""
    return next((WORDS[word] for word in words_of(name) if word in WORDS), None)


def splits_of_files(
    path: Path, files: Sequence[Path], config: DataConfig, notes: Notes
) -> dict[str, list[Path]]:
    """Files by split: the first word in a file's path that is the name of one.

    Files that tell no split are of the training split, unless others say that they are.
    """
    named = {config.split_train, config.split_test}
    splits: dict[str, list[Path]] = {}
    silent: list[Path] = []
    for file in files:
        below = file.relative_to(path)
        words = [below.stem, *re.split(r"[^A-Za-z0-9]", str(below))]
        spoken = [word for word in words if word in named] or [
            word for word in words_of(str(below)) if word in WORDS
        ]
        (splits.setdefault(spoken[0], []) if spoken else silent).append(file)
    if any(name == config.split_train or WORDS.get(name) == _TRAIN for name in splits):
        if silent:
            listed = ", ".join(str(file.relative_to(path)) for file in silent[:8])
            more = f", ... ({len(silent)})" if len(silent) > 8 else ""
            notes.append(f"left out: {listed}{more}, as other files are named after splits")
    elif silent:
        splits = {_TRAIN: silent, **splits}
    return splits


def choose_splits(
    config: DataConfig, names: Collection[str], notes: Notes, unlabelled: Collection[str] = ()
) -> tuple[str, str | None]:
    """The names of the train and of the test split; None where one must be held out.

    Args:
        config: which splits are asked for.
        names: those that are there.
        notes: is told what was recognized and what is left out.
        unlabelled: those that lack the labels which others have; tested on only if asked for.

    Raises:
        DistvaeError: a configured split is not among the names, or no training split is found.
    """
    known = roles(names)
    train = _train_split(config, names, known)
    if config.split_test is not None:
        test: str | None = _named("--split-test", config.split_test, config.data, names)
    else:
        usual = [
            name
            for role in (_TEST, _VALIDATION)
            for name in names
            if known.get(name) == role and name != train
        ]
        test = next((name for name in usual if name not in unlabelled), None)
    chosen = (train, test)
    guessed = {train: config.split_train, test: config.split_test or _TEST}
    if any(name not in (None, wanted) for name, wanted in guessed.items()):
        notes.append(f"split {train} is trained on" + (f" and {test} is tested on" if test else ""))
    judged = config.split_validation
    left = [
        name
        for name in names
        if name not in chosen
        and (judged is None or (name != judged and known.get(name) != _VALIDATION))
    ]
    if left:
        bare = [name for name in left if name in unlabelled]
        reason = f" ({', '.join(bare)} without labels)" if bare else ""
        notes.append(
            f"left out: {'splits' if len(left) > 1 else 'split'} {', '.join(left[:8])}{reason}; "
            f"--split-train and --split-test choose"
        )
    return train, test


def _train_split(config: DataConfig, names: Collection[str], known: Mapping[str, str]) -> str:
    wanted = config.split_train
    fitting = [name for name in names if known.get(name) == _TRAIN]
    if wanted in names or wanted != _TRAIN:
        return _named("--split-train", wanted, config.data, names)
    if len(fitting) > 1:
        raise DistvaeError(
            f"{config.data} has {len(fitting)} splits to train on",
            ", ".join(fitting),
            "Choose one by --split-train.",
        )
    if not fitting and len(names) == 1:
        return next(iter(names))
    return fitting[0] if fitting else _named("--split-train", wanted, config.data, names)


def _named(flag: str, wanted: str, data: str, names: Collection[str]) -> str:
    """The name as it is spelled there, or the one that means the same."""
    known, meant = roles(names), WORDS.get(wanted.casefold())
    same = [name for name in names if name.casefold() == wanted.casefold()]
    same = same or [name for name in names if meant is not None and known.get(name) == meant]
    if wanted in names or len(same) == 1:
        return wanted if wanted in names else same[0]
    raise NoSplitError(
        f"{flag} {wanted}: {data} has no such split",
        f"its splits are {', '.join(names)}",
        nearest(wanted, names),
    )


def hold_out(
    split: RawSplit, seed: int, stream: Stream = Stream.HELD_OUT, why: str = "a test split"
) -> tuple[RawSplit, RawSplit]:
    """The split without a tenth of its rows, and that tenth: a pure function of seed and labels.

    Each label gives a tenth of its images, at least one where it has two.

    Args:
        split: with all rows.
        seed: of the choice.
        stream: of random numbers, another for each purpose.
        why: what is held out, for a message.

    Raises:
        UndividedError: the split is too small to be divided.
    """
    size = len(split.rows)
    order = permutation(size, seed, stream) if size else np.empty(0, np.int64)
    strata = np.zeros(size, np.int64) if split.labels is None else split.labels[order]
    taken = np.zeros(size, np.bool_)
    for label in np.unique(strata):
        places = np.flatnonzero(strata == label)
        if len(places) > 1:
            taken[places[: max(1, len(places) // SHARE)]] = True
    if size > 1 and not taken.any():  # each image has a label of its own
        taken[0] = True
    if not taken.any():
        raise UndividedError(
            f"split {split.name} has {size} image",
            f"at least 2 are needed to hold out {why}",
            f"Name a split for it by --split-{why.split()[1]}, or add images.",
            split,
        )
    return take(split, np.sort(order[~taken])), take(split, np.sort(order[taken]))


def take(split: RawSplit, places: NDArray[np.int64]) -> RawSplit:
    """The split with only the rows at these places."""
    labels = None if split.labels is None else split.labels[places]
    values = None if split.attributes is None else split.attributes[places]
    return dataclasses.replace(split, rows=split.rows[places], labels=labels, attributes=values)


def finish(
    config: DataConfig,
    train: RawSplit,
    test: RawSplit | None,
    label_names: tuple[str, ...],
    notes: Notes,
    factors: tuple[Factor, ...] = (),
    attributes: tuple[Attribute, ...] = (),
) -> RawData:
    """Both splits, of which a test split that is not there is held out of the other.

    Unlabelled images come last in each, so that the labelled ones are a part in one piece.
    """
    origin = test.name if test is not None else ""
    if test is None:
        name, seed = train.name, config.split_seed
        by_label = "" if train.labels is None else "by label, "
        try:
            train, test = hold_out(train, seed)
        except UndividedError as error:
            none = take(train, np.empty(0, np.int64))
            error.whole = RawData(
                train, none, "", label_names, factors, tuple(notes), attributes=attributes
            )
            raise
        origin = f"held-out tenth of {name}, {by_label}seed {seed}"
        notes.append(
            f"no test split: {counted(len(test.rows), 'examples')} of {name} held out for it"
        )
    train, test = map(_labelled_first, (train, test))
    return RawData(train, test, origin, label_names, factors, tuple(notes), attributes=attributes)


def _labelled_first(split: RawSplit) -> RawSplit:
    if split.labels is None or not (missing := split.labels == UNLABELLED).any():
        return split
    return take(split, np.argsort(missing, kind="stable"))
