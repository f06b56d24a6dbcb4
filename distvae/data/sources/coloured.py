"""MNIST in colours, drawn from the bundled one: each image is given its digit and its colour.

Legend: N images, H height, W width.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute
from distvae.config import DataConfig
from distvae.data.deep import as_picture
from distvae.data.sources.attributes import Given, asked_columns, finished
from distvae.data.sources.columns import check_known
from distvae.data.sources.mnist import DIGITS, read_arrays_of
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.splits import choose_splits
from distvae.draws.order import permutation
from distvae.draws.philox import Stream

NAME = "mnist:coloured"
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (255, 32, 32),
    "orange": (255, 144, 0),
    "yellow": (255, 240, 0),
    "green": (0, 208, 32),
    "cyan": (0, 224, 255),
    "blue": (48, 64, 255),
    "pink": (255, 64, 208),
    "white": (255, 255, 255),
}
"""What a white pixel becomes, red, green and blue."""
GAPS = 10
"""One in so many training images lacks its digit, and another one its colour."""
_SEED = 20_211
_FIRST = {"train": 0, "test": 8}
"""Steps of random numbers: the first of each split gives colours, the next ones gaps."""


def read_coloured(config: DataConfig) -> RawData:
    """The bundled MNIST, each digit in one colour of all that is drawn once and for all.

    There are as many images of each colour, whatever their digit. Of the training split a tenth
    lacks its digit, and a tenth its colour, drawn apart; the test split is whole.
    """
    notes: Notes = []
    train, test = choose_splits(config, ("train", "test"), notes)
    columns = {"digit": DIGITS, "colour": tuple(COLOURS)}
    for column in asked_columns(config.label_column, columns):
        check_known(columns, column, "--label-column", config.data)
    asked = asked_columns(config.label_column, columns) or tuple(columns)
    splits, values = {}, {}
    for name in dict.fromkeys((train, test)):
        if name is not None:
            splits[name], whole = _split(name)
            values[name] = whole[:, [list(columns).index(each) for each in asked]]
    attributes = tuple(Attribute(name, columns[name]) for name in asked)
    return finished(config, splits, (train, test), Given(attributes, values), (), notes)


def _split(name: str) -> tuple[RawSplit, NDArray[np.float32]]:
    """A split without labels, and digit and colour of each image ``[N, 2]``, NaN for gaps."""
    pixels, digits = read_arrays_of(name)
    count, step = len(digits), _FIRST[name]
    colours = permutation(count, _SEED, Stream.GIVEN, step) % len(COLOURS)
    values = np.stack([digits, colours], axis=1).astype(np.float32)
    if name == "train":
        for place in range(values.shape[1]):
            lacking = permutation(count, _SEED, Stream.GIVEN, step + 1 + place)[: count // GAPS]
            values[lacking, place] = np.nan
    table = np.array(list(COLOURS.values()), np.float32) / 255

    def fetch(rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        grey = pixels[rows].astype(np.float32)
        return list(np.rint(grey[..., None] * table[colours[rows], None, None]).astype(np.uint8))

    return RawSplit(name, np.arange(count), None, fetch, as_picture), values
