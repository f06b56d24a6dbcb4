"""Images that are numbers already: their layout, their levels, their labels.

Legend: N images, H height, W width, C channels.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.deep import as_picture
from distvae.data.layout import Layout, find_layout
from distvae.data.levels import Levels, real_levels, whole_levels
from distvae.data.sources.array_labels import ArraySplit, Values, given_of, labels_of_arrays
from distvae.data.sources.attributes import finished
from distvae.data.sources.labels import Numbers
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.splits import choose_splits
from distvae.domains.levels import LEVELS, MOST_LEVELS
from distvae.errors import DistvaeError, NotImagesError
from distvae.places import evenly

CHUNK, SAMPLE = 1024, 64
MOST = 2**32
"""No image has more levels."""


RawSplits = Callable[[DataConfig, Mapping[str, Values], Numbers, Notes], dict[str, RawSplit]]
"""Arrays and numbers of labels by split become splits of examples."""


def read_arrays(
    config: DataConfig,
    splits: Mapping[str, ArraySplit],
    names: tuple[str, ...],
    notes: Notes,
    raw_splits: RawSplits | None = None,
) -> RawData:
    """Both splits of arrays.

    Args:
        config: what is asked for.
        splits: by name.
        names: those of labels that are whole numbers, if known.
        notes: is told what was recognized.
        raw_splits: makes examples of arrays; left out, :func:`array_splits`, images.

    Raises:
        DistvaeError: the splits, shapes, values or labels are not those of images.
    """
    bare = {name for name, split in splits.items() if split.labels is None}
    bare = bare if len(bare) < len(splits) else set()
    chosen = [name for name in choose_splits(config, list(splits), notes, bare) if name]
    splits = {name: splits[name] for name in chosen}
    images = {name: split.images for name, split in splits.items()}
    given = given_of(config, splits, notes)
    labels, label_names = (
        labels_of_arrays(config, splits, names, notes) if given is None else ({}, ())
    )
    raw = (raw_splits or array_splits)(config, images, labels, notes)
    pair = (chosen[0], chosen[1] if len(chosen) > 1 else None)
    return finished(config, raw, pair, given, label_names, notes)


def array_splits(
    config: DataConfig, images: Mapping[str, Values], labels: Numbers, notes: Notes
) -> dict[str, RawSplit]:
    """Arrays of images and numbers of labels by split, which all have one layout and one range.

    Raises:
        DistvaeError: they are no images, or of different shapes.
    """
    layout = _layout(config, images, notes)
    levels, kept = _levels(config, images, notes)
    return {
        name: RawSplit(
            name,
            np.arange(values.shape[0]),
            labels.get(name),
            _fetch(values, layout, levels, kept),
            as_picture,
            levels=kept,
        )
        for name, values in images.items()
    }


def _fetch(
    images: Values, layout: Layout, levels: Levels, kept: int
) -> Callable[[NDArray[np.int64]], list[NDArray[Any]]]:
    def fetch(rows: NDArray[np.int64]) -> list[NDArray[Any]]:
        return list(levels.to_levels(layout.arrange(np.asarray(images[rows])), kept))

    return fetch


def _layout(config: DataConfig, images: Mapping[str, Values], notes: Notes) -> Layout:
    """The one layout of all splits."""
    first, values = next(iter(images.items()))
    inner = values.shape[1:]
    for name, other in images.items():
        if not other.shape[0]:
            raise DistvaeError(f"split {name} of {config.data} has no images", "expected some")
        if other.shape[1:] != inner:
            raise DistvaeError(
                f"images of split {name} of {config.data} are {_times(other.shape[1:])}",
                f"those of {first} are {_times(inner)}",
                "Bring all to one size before they are written.",
            )
    sample = values[evenly(values.shape[0], SAMPLE)]
    layout = find_layout(sample)
    if layout is None or 0 in inner:
        raise NotImagesError(
            f"an image of {config.data} is an array of {_times(inner) or 'one value'}",
            "expected height x width, height x width x channels, channels x height x width with 1 "
            "to 4 channels, or one row of a square image",
            "Reshape the arrays before they are written.",
        )
    if len(inner) == 1 or layout.order == "CHW":
        height, width, *channels = layout.arrange(sample).shape[1:]
        sides = f"{height} high, {width} wide" + (f", {channels[0]} channels" if channels else "")
        rows = "; --domain vectors takes them as rows of numbers" if len(inner) == 1 else ""
        notes.append(f"arrays of {_times(inner)} are read as {layout.order}: {sides}{rows}")
    return layout


def _levels(config: DataConfig, images: Mapping[str, Values], notes: Notes) -> tuple[Levels, int]:
    """The levels of the values of all splits, and in how many these are kept."""
    ranges = {name: _range(values) for name, values in images.items()}
    for name, (low, high, _) in ranges.items():
        if images[name].dtype.kind in "biuf" and not (math.isfinite(low) and math.isfinite(high)):
            raise DistvaeError(
                f"images of split {name} of {config.data} have pixels that are missing or infinite",
                "expected a finite number for each",
                "Repair or remove these images.",
            )
    kind = next(iter(images.values())).dtype
    lowest, highest = (
        min(low for low, _, _ in ranges.values()),
        max(high for _, high, _ in ranges.values()),
    )
    whole = all(told for _, _, told in ranges.values())
    try:
        if kind.kind in "iu" and max(-lowest, highest) > MOST:
            raise ValueError(f"whole numbers from {lowest:g} to {highest:g} are no grey levels")
        if config.white is not None:
            levels = Levels(-config.white if lowest < 0 else 0, config.white)
        else:
            levels = _usual_levels(kind, lowest, highest, whole)
            _check_alike(images, ranges)
    except ValueError as error:
        raise NotImagesError(
            f"the images of {config.data} are of no known range",
            str(error),
            "Say which value is white by --white, or rescale them to 0..255 and write them as "
            "uint8.",
        ) from error
    usual = levels.kept(whole)
    kept = {8: LEVELS, 16: usual if usual > LEVELS else MOST_LEVELS}.get(config.bits or 0, usual)
    if levels != (0, 255) or kept != LEVELS:
        told = f"; they are kept in {kept:,} levels" if max(kept, usual) > LEVELS else ""
        notes.append(
            f"{kind} values from {lowest:g} to {highest:g}: {levels.white:g} is white and "
            f"{levels.black:g} black (--white chooses another){told}"
        )
    return levels, kept


def _usual_levels(kind: np.dtype[Any], lowest: float, highest: float, whole: bool) -> Levels:
    if kind.kind in "biu":
        return whole_levels(int(lowest), int(highest))
    if kind.kind == "f":
        return real_levels(lowest, highest, whole)
    raise ValueError(f"they hold {kind}, which are no grey levels")


def _check_alike(
    images: Mapping[str, Values], ranges: Mapping[str, tuple[float, float, bool]]
) -> None:
    """Refuse splits of which one is written in other units, such as 0..1 beside 0..255.

    Raises:
        ValueError: there is one.
    """
    units = {}
    for name, (low, high, whole) in ranges.items():
        if high > low:
            levels = _usual_levels(images[name].dtype, low, high, whole)
            units[name] = (levels.black < 0, levels.white > 1)
    if len(set(units.values())) > 1:
        told = [f"{ranges[name][0]:g} to {ranges[name][1]:g} in {name}" for name in units]
        raise ValueError(f"the splits are of different ranges: {', '.join(told)}")


def _range(images: Values) -> tuple[float, float, bool]:
    """The lowest and the highest value, NaN where one is, and whether all are whole."""
    lowest, highest, whole = math.inf, -math.inf, True
    if images.dtype.kind not in "biuf":
        return lowest, highest, whole
    for start in range(0, images.shape[0], CHUNK):
        values = np.asarray(images[start : start + CHUNK])
        if not values.size:
            continue
        lowest = float(np.minimum(lowest, values.min()))
        highest = float(np.maximum(highest, values.max()))
        whole = whole and (values.dtype.kind != "f" or bool((values == np.rint(values)).all()))
    return lowest, highest, whole


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
