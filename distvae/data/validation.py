"""The validation part: images by which weights are judged while others are trained on.

It is neither trained on nor reported on, so that what is chosen by it can still be measured on the
test split.
"""

import dataclasses
from collections.abc import Callable

from distvae.config import DataConfig
from distvae.data.sources.raw import UNLABELLED, RawData, RawSplit
from distvae.data.sources.splits import hold_out
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError, NoSplitError

AUTO, HELD_OUT = "auto", "held-out"
"""Values of --split-validation that are no names."""
USUAL = ("validation", "valid", "val", "dev", "eval")


def with_validation(
    raw: RawData, config: DataConfig, read: Callable[[DataConfig], RawData]
) -> RawData:
    """The splits with the validation part that is asked for, if one is.

    Args:
        raw: the splits without.
        config: ``split_validation`` says which.
        read: the splits of other settings of the same data.

    Raises:
        DistvaeError: there is no such split, it is one of the others, or none can be held out.
    """
    wanted = config.split_validation
    if wanted is None:
        return raw
    taken = (raw.train.name, raw.test.name)
    names = {AUTO: USUAL, HELD_OUT: ()}.get(wanted, (wanted,))
    for name in names:
        if name in taken and wanted != AUTO:
            raise DistvaeError(
                f"--split-validation {name} is the split that is "
                f"{'trained' if name == taken[0] else 'tested'} on",
                "what is chosen by one split is measured on another",
                "Name another, or take --split-validation held-out.",
            )
        try:
            found = read(dataclasses.replace(config, split_test=name)).test
        except NoSplitError:
            if wanted != AUTO:
                raise _of_validation(name, config) from None
            continue
        if found.name in taken:
            continue
        if wanted == AUTO and raw.train.labels is not None and not _labelled(found):
            bare = f"split {found.name} has no labels, so that weights are not judged by it"
            raw = dataclasses.replace(raw, notes=(*raw.notes, bare))
            break
        return dataclasses.replace(raw, validation=found, validation_origin=found.name)
    if config.streaming:
        raise DistvaeError(
            f"{config.data} has no validation split",
            "--early-stopping and --keep-best judge by one, and with --streaming none can be held "
            "out of what is not kept",
            "Write some of the images as a split named validation, or leave these flags out.",
        )
    train, held = hold_out(raw.train, config.split_seed, Stream.VALIDATION, "a validation split")
    by_label = "" if raw.train.labels is None else "by label, "
    origin = f"held-out tenth of {raw.train.name}, {by_label}seed {config.split_seed}"
    return dataclasses.replace(raw, train=train, validation=held, validation_origin=origin)


def _labelled(split: RawSplit) -> bool:
    return split.labels is not None and bool((split.labels != UNLABELLED).any())


def _of_validation(name: str, config: DataConfig) -> DistvaeError:
    return DistvaeError(
        f"--split-validation {name}: {config.data} has no such split",
        f"expected the name of one, or {AUTO} or {HELD_OUT}",
        "`distvae inspect` tells which there are.",
    )
