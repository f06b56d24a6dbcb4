"""Where the examples of a tool come from, split by split, and how some of them are read.

Legend: B examples read together, N examples, S the axes of an example, D attributes of the data.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.config import DataConfig
from distvae.data.deep import scaled
from distvae.data.image_data import Split
from distvae.data.pixels import Reading, read_picture
from distvae.data.seen import NOTHING, Seen, count_channels
from distvae.data.sources.raw import RawSplit
from distvae.domains import Images
from distvae.domains.levels import kind_of_levels
from distvae.errors import DistvaeError
from distvae.places import evenly
from distvae.terminal import warn

LOOKED_AT = 64
"""Pictures that say how all are read."""
SHOWN = 20
"""Unreadable pictures that are named."""


class Read(NamedTuple):
    """Some examples of a piece."""

    stored: NDArray[Any]
    """``[B, *S]``."""
    rows: NDArray[np.int64]
    """Their numbers ``[B]``: those that were asked for, but for what cannot be read."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The examples of one split."""

    split: str
    count: int
    labels: NDArray[np.int64] | None
    values: Values | None
    """Of the data's attributes ``[N, D]``."""
    read: Callable[[NDArray[np.int64]], Read]
    names: Callable[[NDArray[np.int64]], Sequence[str]] | None = None
    """Files by number; None where examples have none."""
    beside: Callable[[NDArray[np.int64]], Mapping[str, Sequence[Any]]] | None = None
    """Other columns of the source."""
    lost: list[str] = field(default_factory=list)
    """What could not be read so far, each with its reason."""

    def only(self, chosen: NDArray[np.int64]) -> "Piece":
        """Those with some numbers."""

        def read(rows: NDArray[np.int64]) -> Read:
            found = self.read(chosen[rows])
            return Read(found.stored, np.searchsorted(chosen, found.rows))

        return dataclasses.replace(
            self,
            count=len(chosen),
            labels=None if self.labels is None else self.labels[chosen],
            values=None if self.values is None else self.values[chosen],
            read=read,
            names=lambda rows: self.name_of(chosen[rows]),
            beside=None,
        )

    def name_of(self, rows: NDArray[np.int64]) -> list[str]:
        """What the examples are called: their files, else their numbers."""
        return list(map(str, rows.tolist() if self.names is None else self.names(rows)))


def stored_piece(name: str, split: Split, raw: RawSplit | None = None) -> Piece:
    """Examples that lie in memory maps.

    ``raw`` names them where it is known; crops, of which there are several of a picture, are called
    by their numbers.
    """
    if raw is not None and len(raw.rows) != len(split):
        raw = None

    def read(rows: NDArray[np.int64]) -> Read:
        return Read(split.stored[rows], rows)

    return Piece(
        name,
        len(split),
        split.labels,
        split.attributes,
        read,
        _picked(raw, raw.names) if raw else None,
        _picked(raw, raw.beside) if raw else None,
    )


def _picked(raw: RawSplit, known: Callable[[NDArray[np.int64]], Any] | None) -> Any:
    """What is known of rows of a source, by the places of the split that has them."""
    return None if known is None else lambda rows: known(raw.rows[rows])


def number_piece(name: str, split: RawSplit, order: NDArray[np.int64]) -> Piece:
    """Rows of numbers, of which those columns are taken that a model has, in its order."""

    def read(rows: NDArray[np.int64]) -> Read:
        return Read(np.asarray(split.fetch(split.rows[rows]))[:, order], rows)

    return _piece(name, split, read)


def whole_piece(name: str, split: RawSplit) -> Piece:
    """Whole volumes, as many of one shape as are read together."""

    def read(rows: NDArray[np.int64]) -> Read:
        return Read(np.stack([each[:] for each in split.fetch(split.rows[rows])]), rows)

    return _piece(name, split, read)


def picture_piece(name: str, split: RawSplit, shape: tuple[int, ...], reading: Reading) -> Piece:
    """Pictures that are decoded when they are asked for; one that cannot be is told and left."""
    lost, told = list[str](), set[str]()

    def decoded(row: int, encoded: Any) -> NDArray[Any] | None:
        where = split.where(row, encoded)
        try:
            pixels = read_picture(split.decode, encoded, where, reading, settled=True).pixels
        except DistvaeError as error:
            lose(error)
            return None
        return fitted(pixels, shape)

    def lose(error: DistvaeError) -> None:
        if error.thing in told:
            return  # it was asked for twice
        told.add(error.thing)
        lost.append(error.thing)
        if len(lost) <= SHOWN:
            warn(f"left out: {error.thing}: {error.expected}")

    def read(rows: NDArray[np.int64]) -> Read:
        pictures, kept = [], []
        for row, encoded in _fetched(split, rows, lose):
            pixels = decoded(int(split.rows[row]), encoded)
            if pixels is not None:
                pictures.append(pixels)
                kept.append(row)
        stored = (
            np.stack(pictures)
            if pictures
            else np.empty((0, *shape), kind_of_levels(reading.levels))
        )
        return Read(stored, np.array(kept, np.int64))

    return dataclasses.replace(_piece(name, split, read), lost=lost)


def _fetched(
    split: RawSplit, rows: NDArray[np.int64], lose: Callable[[DistvaeError], None]
) -> Iterator[tuple[int, Any]]:
    """Places and what is encoded there; one by one where all at once cannot be had."""
    try:
        together = split.fetch(split.rows[rows])
    except DistvaeError:
        together = None
    if together is not None:
        yield from zip(rows.tolist(), together, strict=True)
        return
    for row in rows.tolist():
        try:
            (encoded,) = split.fetch(split.rows[row : row + 1])
        except DistvaeError as error:
            lose(error)
        else:
            yield row, encoded


def _piece(name: str, split: RawSplit, read: Callable[[NDArray[np.int64]], Read]) -> Piece:
    return Piece(
        name,
        len(split.rows),
        split.labels,
        split.attributes,
        read,
        _picked(split, split.names),
        _picked(split, split.beside),
    )


def fitted(pixels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Pixels ``[C, H, W]`` scaled to a shape, whose sides need not be equal; the middle is kept."""
    if pixels.shape == shape:
        return pixels
    if pixels.dtype != np.uint8:
        bands = [scaled(band, (shape[2], shape[1])) for band in pixels]
        most = np.iinfo(pixels.dtype).max
        deep: NDArray[Any] = np.rint(np.stack(bands).clip(0, most)).astype(pixels.dtype)
        return deep
    from PIL import Image, ImageOps

    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    fit = np.asarray(ImageOps.fit(picture, (shape[2], shape[1]), Image.Resampling.LANCZOS))
    result: NDArray[np.uint8] = fit[None] if fit.ndim == 2 else fit.transpose(2, 0, 1)
    return result


class Looked(NamedTuple):
    """What some pictures show of all."""

    reading: Reading
    notes: list[str]
    """What happens to them."""


def look(split: RawSplit, domain: Images, config: DataConfig) -> Looked:
    """How pictures become those of a model, by some that lie evenly among them.

    Args:
        split: of pictures.
        domain: the model's.
        config: how they are read.

    Raises:
        DistvaeError: none of them can be read, or it cannot be told what is white.
    """
    places = evenly(len(split.rows), LOOKED_AT)
    sizes, channels, seen, failed = set(), set(), NOTHING, None
    for row, encoded in _fetched(split, places, lambda error: None):
        try:
            image = split.decode(encoded, config.image_size)
        except Exception as error:  # pillow's plugins raise whatever a file leads them to
            failed = DistvaeError(
                f"cannot read {split.where(int(split.rows[row]), encoded)}",
                f"{type(error).__name__}: {error}",
            )
            continue
        sizes.add((image.width, image.height))
        channels.add(count_channels(image))
        seen = seen | Seen.of(image, seen)
    if not sizes:
        raise failed or DistvaeError(f"no image of split {split.name} can be read")
    try:
        reading = Reading.of(seen, config, domain.levels)
    except ValueError as error:
        raise DistvaeError("the images are of no known range", str(error)) from error
    return Looked(reading, [*_changes(sizes, channels, domain.shape), *reading.notes()])


def _changes(sizes: set[tuple[int, int]], channels: set[int], shape: tuple[int, ...]) -> list[str]:
    channels_there, height, width = shape
    others = sorted(sizes - {(width, height)})
    notes = []
    if others:
        first, more = others[0], " and of other sizes" if len(others) > 1 else ""
        bigger = first[0] < width or first[1] < height
        cut = {across * height == down * width for across, down in others} != {True}
        notes.append(
            f"images of {first[0]} x {first[1]} pixels{more} are "
            f"{'enlarged' if bigger else 'shrunk'} to the model's {width} x {height}"
            + (", their middle cut out" if cut else "")
        )
    return [*notes, *colours_told(channels, channels_there)]


def colours_told(channels: set[int], count: int) -> list[str]:
    """What becomes of images of these channels where a model has so many: a line or none."""
    if count == 1 and 3 in channels:
        return ["the model is of grey images: colour ones become grey"]
    if count == 3 and 1 in channels:
        return ["the model is of colour images: grey ones stay grey in all channels"]
    return []
