"""Data that a model was not trained on, found and read as a model takes it.

Legend: N examples.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute, label_attribute
from distvae.config import DataConfig
from distvae.data.encoded import pictures
from distvae.data.image_data import ImageData
from distvae.data.sources import RawData, RawSplit, load_source
from distvae.data.sources.raw import domains_of_numbers
from distvae.data.sources.refused import ending
from distvae.data.validation import with_validation
from distvae.domains import Domain, Images, images_of
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError, UndividedError
from distvae.terminal import progress_bar
from distvae.text import some
from distvae.tools.memory import given_data, pictures_of
from distvae.tools.pieces import Piece, look, number_piece, picture_piece
from distvae.tools.trained import Trained

SPLIT_SETTINGS = ("split_train", "split_test", "split_validation")


@dataclass(frozen=True, eq=False)
class Asked:
    """Data as they were asked for."""

    data: Any
    label_column: str | None = None
    image_column: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return str(self.data) if isinstance(self.data, str | Path) else "what was given"


class Found(NamedTuple):
    """Data that fit a model."""

    pieces: list[Piece]
    data: tuple[Attribute, ...]
    """What they say of each example."""
    notes: list[str]
    identity: str
    """The same for the same examples; empty of what Python gave."""


def raw_pieces(trained: Trained, asked: Asked) -> Found:
    """The splits of some data as a model takes them, in the order of the source.

    Raises:
        DistvaeError: there are no such data, or they do not fit the model.
    """
    if isinstance(trained.domain, Volumes):
        raise DistvaeError(
            f"{asked.name} is other data than that of {trained.name}, a model of volumes",
            "only distvae reconstruct takes other volumes",
            "Leave --data out: the run's own patches.",
        )
    config = config_of(trained, asked)
    raw, config, identity = _read(trained, asked, config)
    splits = _in_order(raw)
    data = raw.attributes or label_attribute(raw.label_names)
    numbers = trained.domain.part.name in domains_of_numbers()
    if numbers != (raw.domain in domains_of_numbers()):
        raise DistvaeError(
            f"{asked.name} holds {raw.domain}", f"{trained.name} takes {trained.domain.told}"
        )
    notes = [note for note in raw.notes if "held out" not in note]
    if numbers:
        order, said = _columns(raw, trained.domain, asked.name)
        pieces = [number_piece(name, split, order) for name, split in splits.items()]
        return Found(pieces, data, [*notes, *said], identity)
    pieces = []
    domain = images_of(trained.domain)
    shape = domain.shape
    for name, split in splits.items():
        looked = look(split, domain, config)
        notes += [note for note in looked.notes if note not in notes]
        pieces.append(picture_piece(name, split, shape, looked.reading))
    return Found(pieces, data, notes, identity)


def config_of(trained: Trained, asked: Asked) -> DataConfig:
    """How the data are read: as those of the run, but for what was asked for here."""
    own = trained.run.settings().data if trained.run else DataConfig()
    settings: dict[str, Any] = {
        "data": asked.name,
        "domain": trained.domain.part.name,
        "streaming": False,
        "augment": (),
        "shorter_side": None,
        "binarize": None,
        "label_column": asked.label_column or own.label_column,
        "image_column": asked.image_column or own.image_column,
        "image_size": None,
        "channels": None,
    }
    if isinstance(trained.domain, Images):
        channels, height, width = trained.domain.shape
        if channels not in (1, 3):
            raise DistvaeError(
                f"{trained.name} is of images of {channels} channels", "expected 1 or 3 for --data"
            )
        settings |= {"channels": channels, "image_size": height if height == width else None}
    return dataclasses.replace(own, **settings)


def _read(trained: Trained, asked: Asked, config: DataConfig) -> tuple[RawData, DataConfig, str]:
    """The data; what the run says of columns and splits is dropped where that is not there."""
    usual = dataclasses.replace(
        config,
        label_column=asked.label_column,
        image_column=asked.image_column,
        **{name: getattr(DataConfig(), name) for name in SPLIT_SETTINGS},
    )
    try:
        return _load(trained, asked, config)
    except DistvaeError as error:
        if usual == config:
            raise
        try:
            return _load(trained, asked, usual)
        except DistvaeError:
            raise error from None


def _load(trained: Trained, asked: Asked, config: DataConfig) -> tuple[RawData, DataConfig, str]:
    if not isinstance(asked.data, str | Path):
        return given_data(asked.data, trained.domain, config), config, ""
    path = Path(config.data).expanduser()
    if path.is_file() and ending(path.name) in pictures():
        return pictures_of([path]), config, str(path.resolve())
    source = load_source(config, progress_bar)
    try:
        raw = source.read()
    except UndividedError as error:
        raw = error.whole
    return raw, config, source.identity


def _in_order(raw: RawData) -> dict[str, RawSplit]:
    """The splits; one of which a part was held out is put together again, as the source has it."""
    splits = {name: split for name, split in raw.splits.items() if len(split.rows)}
    if raw.test.name != raw.train.name:
        return {name: _sorted([split]) for name, split in splits.items()}
    whole = _sorted([split for split in splits.values() if split.name == raw.train.name])
    return {"all": whole}


def _sorted(splits: Sequence[RawSplit]) -> RawSplit:
    """Parts of a split as one, in the order of their rows."""
    rows = np.concatenate([split.rows for split in splits])
    order = np.argsort(rows, kind="stable")

    def whole(parts: Sequence[Any]) -> Any:
        return None if parts[0] is None else np.concatenate(parts)[order]

    return dataclasses.replace(
        splits[0],
        rows=rows[order],
        labels=whole([split.labels for split in splits]),
        attributes=whole([split.attributes for split in splits]),
    )


def _columns(raw: RawData, domain: Domain, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Where the columns of a model stand among those of some data.

    Raises:
        DistvaeError: one of them is not there.
    """
    wanted, there = domain.names, {column: place for place, column in enumerate(raw.columns)}
    missing = [column for column in wanted if column not in there]
    if missing:
        raise DistvaeError(
            f"{name} lacks the column{'s' if len(missing) > 1 else ''} {some(missing)}",
            f"the model takes {some(wanted, 20)}",
            f"It has {some(raw.columns, 20)}.",
        )
    extra = [column for column in raw.columns if column not in wanted]
    notes = [f"left out: columns {some(extra)}, which the model does not take"] if extra else []
    return np.array([there[column] for column in wanted], np.int64), notes


def raw_of(trained: Trained, data: ImageData) -> dict[str, RawSplit]:
    """The splits of a run's own data before decoding, which know files and other columns.

    Empty where the examples have no names but their numbers.
    """
    run = trained.run
    assert run is not None
    if not Path(data.source).is_absolute() or data.stream is not None:
        return {}
    config = dataclasses.replace(run.settings().data, data=data.source)
    raw = load_source(config, progress_bar).read()
    raw = with_validation(raw, config, lambda other: load_source(other, progress_bar).read())
    return raw.splits
