"""What a run says of its data, where that lies now, and whether it is still the same.

A run is gone on with, measured and fitted on the data that it was trained on, or not at all. Same
is what holds the same: the record has a digest of each part of the data, and no path or time
counts.
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from distvae.attributes import Attribute, labels_counted
from distvae.config import DataConfig
from distvae.data.identity import Progress
from distvae.data.store import CONTENT_SETTINGS, ImageData, open_data
from distvae.domains import read_domain
from distvae.errors import DistvaeError
from distvae.records import DataRecord, RunRecord
from distvae.runs import CONFIG, Run, domain_recorded, read_model_record
from distvae.terminal import make_console

SHOWN = 8
"""Label names in a message."""
HELD_OUT = "held-out"
"""How the origin of a test split begins that was not in the data."""


def data_record(data: ImageData, folder: Path, before: DataRecord | None = None) -> DataRecord:
    """What config.json says of a run's data.

    ``source`` is an absolute path, or the name of data that is no path; ``from_run`` leads from the
    run folder to it.

    Args:
        data: as it was opened.
        folder: of the run.
        before: what it said already, of a run that is gone on with: the digests stay those of the
            data that the run began with.
    """
    return DataRecord(
        source=data.source,
        from_run=_from_run(data.source, folder),
        fingerprint=before.fingerprint if before else data.fingerprint,
        digests=before.digests if before else dict(data.digests),
        train_images=data.train_images,
        test_images=len(data.test),
        test_split=data.test_origin,
        validation_images=0 if data.validation is None else len(data.validation),
        validation_split=data.validation_origin,
    )


def _from_run(source: str, folder: Path) -> str | None:
    with contextlib.suppress(ValueError):  # another drive of Windows
        if Path(source).is_absolute():
            return os.path.relpath(source, folder.resolve())
    return None


def open_recorded(
    run: Run, place: str | None, progress: Progress | None = None, quiet: bool = False
) -> ImageData:
    """The data that a run was trained on.

    Args:
        run: whose data.
        place: where it lies now; None looks where the run says.
        progress: as ``open_data`` takes it.
        quiet: say nothing, as another process does.

    Raises:
        DistvaeError: it is not there, or is not what the run was trained on.
    """
    if run.bare:
        return _open_for_model(run, place, progress)
    record, config = run.record(), run.config()
    settings = config.data
    settings = settings if place is None else dataclasses.replace(settings, data=place)
    data = open_data(located(settings, record, run.folder), progress)
    data = data.labelled() if config.model.model == "cvae" and not data.attributes else data
    for note in check_same(data, settings, record, run.folder):
        make_console(stderr=True, quiet=quiet).print(note)
    return data


def _open_for_model(run: Run, place: str | None, progress: Progress | None) -> ImageData:
    """The data that a bare model is to be measured on, as it takes it."""
    model = read_model_record(run.folder)
    if place is None:
        raise DistvaeError(
            f"{run.folder} is a model and not a run",
            "it does not say what data it was trained on",
            "Name data by --data.",
        )
    data = open_data(dataclasses.replace(run.settings().data, data=place), progress)
    wrong = []
    then = domain_recorded(run.folder, model)
    if (then.part.name, then.shape) != (data.domain, data.shape):
        wrong.append(f"{data.examples} are {_shape(data.shape)}, not {_shape(then.shape)}")
    if model.label_names and model.label_names != data.label_names:
        found, expected = data.label_names, model.label_names
        wrong.append(f"labels are {_counted(found)}, not {_counted(expected)}")
    if model.attributes and _described(model.attributes) != _described(data.attributes):
        pair = f"{labels_counted(data.given)}, not {labels_counted(model.attributes)}"
        wrong.append(f"examples are given {pair}, or other labels of these")
    if wrong:
        raise DistvaeError(
            f"{data.source} does not fit the model {run.folder}",
            "; ".join(wrong),
            "Name data of the same images and labels.",
        )
    return data


def _described(attributes: Sequence[Attribute]) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.name, each.labels) for each in attributes]


def located(settings: DataConfig, record: RunRecord, folder: Path) -> DataConfig:
    """The settings with a path to the data of a run that exists.

    A path other than the recorded one is taken as it is; the recorded one is tried as it lies from
    the run folder, then where it was, then as it was given: other files of that name may lie in
    this working directory, and a run that was moved may lie in the place of its data.

    Raises:
        DistvaeError: it is in none of these places.
    """
    recorded, given = record.data, settings.data
    if not Path(recorded.source).is_absolute() or given != record.settings.get("data"):
        return settings
    places = [Path(recorded.source), Path(given).expanduser()]
    if recorded.from_run is not None:
        places.insert(0, Path(os.path.normpath(folder.resolve() / recorded.from_run)))
    for place in places:
        if place.exists() and place.resolve() != folder.resolve():
            return dataclasses.replace(settings, data=str(place))
    raise DistvaeError(
        f"there is no data of {folder} any more",
        f"it is not at {' nor at '.join(dict.fromkeys(map(str, places)))}",
        "Name where it lies now by --data.",
    )


def check_same(data: ImageData, settings: DataConfig, record: RunRecord, folder: Path) -> list[str]:
    """That data is what a run was trained on.

    Args:
        data: as it was opened.
        settings: those of the run, or with ``--data`` as it was given.
        record: config.json of the run.
        folder: of the run.

    Returns:
        What to say: that it was found elsewhere than where it was looked for first, or that the
        record of an earlier version cannot be compared; or nothing.

    Raises:
        DistvaeError: it is not; the message names what differs.
    """
    numbers = _changed_numbers(data, record)
    parts = _changed_parts(data, record)
    if parts or (numbers and not record.data.digests):
        moved = record.data.source != data.source
        raise DistvaeError(
            f"{data.source} is not what the run was trained on, {folder}",
            "; ".join(
                [
                    *([*_changed_settings(settings, record), *numbers] or parts),
                    *([f"the run was trained on {record.data.source}"] if moved else []),
                ]
            ),
            _remedy(data, record),
        )
    notes = []
    if Path(data.source).is_absolute() and data.source != str(_absolute(settings.data)):
        notes.append(f"note: the data of {folder} was found in {data.source}")
    if not record.data.digests:
        notes.append(
            f"note: {folder} is of an earlier version, which recorded no digests of its data: as "
            "many images of the same shape and labels are there, more could not be compared"
        )
    return notes


def _changed_parts(data: ImageData, record: RunRecord) -> list[str]:
    """The parts of the data that are others by their digests; none of a run that has none."""
    then = record.data.digests
    names = dict.fromkeys([*then, *data.digests] if then else [])
    return [f"it has other {name}" for name in names if then.get(name) != data.digests.get(name)]


def _remedy(data: ImageData, record: RunRecord) -> str:
    """What to do about data that is not that of the run."""
    if _held_out_otherwise(data, record):
        cause = "held out a tenth at random, and this one takes a tenth of every label"
    elif not record.data.digests and _in_other_order(data, record):
        cause = "sorted label names by letters, and this one sorts numbers by value"
    else:
        return "Put the data back as it was, name where it lies now by --data, or train a new run."
    return (
        f"The data may be the same: the earlier version of the run {cause}. Measure or resume it "
        "with that version; sample, export and distvae train --init-from take its weights."
    )


def _held_out_otherwise(data: ImageData, record: RunRecord) -> bool:
    """Whether an earlier version held out other images for the test than this one does."""
    recorded = record.data
    return (
        not recorded.digests
        and recorded.test_split.startswith(HELD_OUT)
        and data.test_origin.startswith(HELD_OUT)
        and recorded.test_split != data.test_origin
    )


def _in_other_order(data: ImageData, record: RunRecord) -> bool:
    names, now = record.label_names, data.label_names
    return names != now and sorted(names) == sorted(now)


def _absolute(path: str) -> Path:
    return Path(path).expanduser().resolve()


def _changed_settings(settings: DataConfig, record: RunRecord) -> list[str]:
    then = {**vars(DataConfig()), **record.settings}
    return [
        f"--{name.replace('_', '-')}: {then[name]} then, {getattr(settings, name)} now"
        for name in (*CONTENT_SETTINGS, "only_label", "streaming", "shorter_side")
        if then[name] != getattr(settings, name)
    ]


def _changed_numbers(data: ImageData, record: RunRecord) -> list[str]:
    """What differs of the numbers of images, their shape and their labels."""
    recorded, then = record.data, read_domain(record.example, CONFIG)
    pairs = [
        ("training images", recorded.train_images, data.train_images),
        ("test images", recorded.test_images, len(data.test)),
        (f"shape of {data.examples}", *map(_shape, (then.shape, data.shape))),
    ]
    if data.sampled:  # an epoch of it is as long as one likes
        del pairs[0]
    if not recorded.digests and recorded.test_split.startswith(HELD_OUT):
        pairs.append(("test split", recorded.test_split, data.test_origin))
    if record.label_names:  # an unconditional model knows none
        pairs.append(("label names", *map(_some, (record.label_names, data.label_names))))
    if record.attributes and _described(record.attributes) != _described(data.attributes):
        pairs.append(("attributes", labels_counted(record.attributes), labels_counted(data.given)))
    return [f"{what}: {before} then, {now} now" for what, before, now in pairs if before != now]


def _shape(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))


def _counted(names: Sequence[str]) -> str:
    """The first few names and how many there are: lists may begin alike."""
    return f"{_some(names)} ({len(names)})"


def _some(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])]) or "none"
