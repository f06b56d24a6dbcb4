"""What Python gives a tool: arrays, tensors, pictures, tables, alone or with their labels.

Legend: N examples, S the axes of an example, F columns.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.deep import as_picture
from distvae.data.encoded import decode_image
from distvae.data.sources.array_labels import ArraySplit, given_of, labels_of_arrays
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.attributes import finished
from distvae.data.sources.given_values import Pictures, images_of, is_array, numbers_of
from distvae.data.sources.handed_over import is_frame, is_pair, recognized
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.domains import Domain, Images
from distvae.domains.levelled import ROUNDING
from distvae.errors import DistvaeError, UndividedError
from distvae.labels import Labels, is_one
from distvae.terminal import progress_bar

WHOLE = "all"
"""What the one split is called."""


def given_data(data: Any, domain: Domain, config: DataConfig) -> RawData:
    """Examples that a caller holds.

    Args:
        data: what :func:`distvae.train` takes; also one example ``[*S]`` or one picture, a list of
            paths, and images with one label for all.
        domain: of the model.
        config: how pictures are read.

    Raises:
        DistvaeError: it is none of these, or does not fit the model.
    """
    notes: Notes = []
    images, labels = divided(data)
    if isinstance(images, list | tuple) and images and isinstance(images[0], str | Path):
        raw = pictures_of([Path(one).expanduser() for one in images])
        return _labelled(raw.train, labels, config, notes)
    if hasattr(images, "getexif"):
        images = [images]
    if is_array(images) or (is_frame(images) and labels is not None):
        values = images if is_frame(images) else images_of(images)
        if not isinstance(values, Pictures):
            return _of_array(values, labels, domain, config, notes)
        count = values.shape[0]
        data = images if labels is None else (images, _for_each(labels, count))
    return _whole(recognized(data, progress_bar).read, config)


def divided(data: Any) -> tuple[Any, Labels | None]:
    """Examples and the labels that are given beside them, if any."""
    pair = isinstance(data, tuple) and len(data) == 2 and not all(map(is_pair, data))
    return data if pair else (data, None)


def _for_each(labels: Labels, count: int) -> Any:
    """Labels ``[N]``, or columns of several attributes by name."""
    if isinstance(labels, Mapping):
        return {name: _column(values, count) for name, values in labels.items()}
    return _column(labels, count)


def pictures_of(paths: Sequence[Path]) -> RawData:
    """Pictures in files, without labels.

    Raises:
        DistvaeError: one of them is not there.
    """
    for path in paths:
        if not path.is_file():
            raise DistvaeError(f"there is no picture {path}", "expected a file")

    def fetch(rows: NDArray[np.int64]) -> list[Any]:
        return [{"bytes": None, "path": str(paths[row])} for row in rows.tolist()]

    def names(rows: NDArray[np.int64]) -> list[str]:
        return [str(paths[row]) for row in rows.tolist()]

    split = RawSplit(WHOLE, np.arange(len(paths)), None, fetch, decode_image, names=names)
    return RawData(split, _none_of(split), "", ())


def _of_array(
    data: Any, labels: Labels | None, domain: Domain, config: DataConfig, notes: Notes
) -> RawData:
    columns = tuple(map(str, getattr(data, "columns", ())))
    if columns and domain.names:
        data = data[[*domain.names]] if {*domain.names} <= {*columns} else data
        columns = tuple(map(str, data.columns))
    values = _numbers(data)
    values = values[None] if values.shape == domain.shape else values
    if not values.ndim or not len(values):
        raise DistvaeError("what was given is empty", "expected at least one example")
    if isinstance(domain, Images):
        if values.shape[1:] != domain.shape or not _is_plain(values, domain):
            array = ArraySplit(values, *_columns_of(labels, len(values)))
            return _whole(read_arrays, config, {WHOLE: array}, (), notes)
        levels = values
        if values.dtype != domain.dtype:
            levels = np.rint(values.clip(0.0, 1.0) * float(domain.white)).astype(domain.dtype)
        pixels = levels[:, 0] if domain.shape[0] == 1 else levels.transpose(0, 2, 3, 1)
        fetch = lambda rows: list(pixels[rows])  # noqa: E731
        split = RawSplit(
            WHOLE, np.arange(len(values)), None, fetch, as_picture, levels=domain.levels
        )
        return _labelled(split, labels, config, notes)
    if values.shape[1:] != domain.shape:
        raise DistvaeError(
            f"what was given has the shape {list(values.shape)}",
            f"expected [N, {', '.join(map(str, domain.shape))}], {domain.told}",
        )
    stored = domain.read(values, domain.names, "what was given")
    rows = RawSplit(WHOLE, np.arange(len(stored)), None, stored.__getitem__, lambda row, _: row)
    raw = _labelled(rows, labels, config, notes)
    return dataclasses.replace(raw, domain=domain.part.name, columns=columns or domain.names)


def _labelled(split: RawSplit, labels: Labels | None, config: DataConfig, notes: Notes) -> RawData:
    """A split whose labels are given beside it."""
    count = len(split.rows)
    arrays = {WHOLE: ArraySplit(np.empty((count, 0)), *_columns_of(labels, count))}
    given = given_of(config, arrays, notes)
    found, names = ({}, ()) if given else labels_of_arrays(config, arrays, (), notes)
    split = dataclasses.replace(split, labels=found.get(WHOLE))
    return _whole(finished, config, {WHOLE: split}, (WHOLE, None), given, names, notes)


def _whole(read: Any, *arguments: Any) -> RawData:
    """What is read, of which nothing need be held out."""
    try:
        result: RawData = read(*arguments)
    except UndividedError as error:
        result = error.whole
    return result


def _columns_of(
    labels: Labels | None, count: int
) -> tuple[NDArray[Any] | None, Mapping[str, NDArray[Any]] | None]:
    """Labels as an array ``[N]``, or columns of several attributes by name."""
    if labels is None:
        return None, None
    found = _for_each(labels, count)
    return (None, found) if isinstance(found, Mapping) else (found, None)


def _column(values: Any, count: int) -> NDArray[Any]:
    if is_one(values) or values is None:
        return np.array([values] * count)
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if len(listed) != count:
        raise DistvaeError(f"there are {len(listed)} labels", f"expected {count}, one an example")
    result = np.empty(count, object)
    result[:] = listed
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in listed)
    return result.astype(np.int64) if whole else result


def _numbers(data: Any) -> NDArray[Any]:
    """Numbers of any kind of array.

    Raises:
        DistvaeError: they are none.
    """
    values = numbers_of(data)
    if values.dtype.kind not in "biuf":
        raise DistvaeError(
            f"what was given is {type(data).__module__}.{type(data).__qualname__}",
            "expected an array or tensor of numbers, pictures, paths, or the name of data",
        )
    return values


def _is_plain(values: NDArray[Any], domain: Images) -> bool:
    """Whether these are levels as the domain stores them, or numbers from 0 to 1."""
    if values.dtype == domain.dtype:
        return int(values.max()) < domain.levels
    if values.dtype.kind != "f":
        return False
    low, high = float(values.min()), float(values.max())
    return low >= -ROUNDING and high <= 1.0 + ROUNDING


def _none_of(split: RawSplit) -> RawSplit:
    return dataclasses.replace(split, rows=split.rows[:0])
