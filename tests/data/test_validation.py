"""The validation part: which images it has, and that all else stays as it was without it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distvae.config import DataConfig
from distvae.data.sources.raw import RawSplit
from distvae.data.sources.splits import hold_out
from distvae.data.store import open_data
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError
from tests.conftest import write_shapes


def split(labels: list[int] | None, size: int) -> RawSplit:
    told = None if labels is None else np.array(labels)
    return RawSplit("train", 1000 + np.arange(size), told, list, lambda pixels, _: pixels)


def held(labels: list[int] | None, size: int, seed: int = 0) -> tuple[RawSplit, RawSplit]:
    train, part = hold_out(split(labels, size), seed, Stream.VALIDATION, "a validation split")
    assert sorted([*train.rows, *part.rows]) == [*range(1000, 1000 + size)]
    assert all(np.all(np.diff(one.rows) > 0) for one in (train, part))
    return train, part


def test_a_tenth_of_each_label_is_held_out() -> None:
    labels = [0] * 100 + [1] * 40 + [2] * 9 + [3] * 2 + [4]
    train, part = held(labels, len(labels))
    assert part.labels is not None
    assert train.labels is not None
    assert np.bincount(part.labels, minlength=5).tolist() == [10, 4, 1, 1, 0]
    assert np.bincount(train.labels).tolist() == [90, 36, 8, 1, 1]
    for one in (train, part):
        assert one.labels is not None
        assert one.labels.tolist() == [labels[row - 1000] for row in one.rows]


def test_it_is_a_function_of_the_seed() -> None:
    first, again, other = (held(None, 50, seed)[1].rows.tolist() for seed in (3, 3, 4))
    assert first == again != other
    assert len(first) == 5


@pytest.mark.parametrize("labels", [[0], None])
def test_one_image_is_refused(labels: list[int] | None) -> None:
    with pytest.raises(DistvaeError, match=r"at least 2 are needed .*--split-validation"):
        hold_out(split(labels, 1), 0, Stream.VALIDATION, "a validation split")


def test_of_labels_with_one_image_each_one_is_held_out() -> None:
    assert len(held([0, 1, 2], 3)[1].rows) == 1


def test_the_other_splits_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of data without any split, test is what it was, and validation is part of what was train."""
    monkeypatch.setenv("DISTVAE_CACHE", str(tmp_path / "cache"))
    config = DataConfig(str(write_shapes(tmp_path / "flat", 20, 0)))
    plain = open_data(config)
    found = open_data(dataclasses.replace(config, split_validation="held-out"))
    assert plain.validation is None
    assert found.validation is not None
    assert np.array_equal(found.test.images, plain.test.images)
    assert len(found.train) + len(found.validation) == len(plain.train)
    assert "by label, seed 0" in found.validation_origin
    assert found.fingerprint != plain.fingerprint
    again = open_data(dataclasses.replace(config, split_validation="auto"))
    assert again.fingerprint == found.fingerprint
    assert open_data(config).fingerprint == plain.fingerprint


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_split_of_the_data_is_found_and_known_by_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DISTVAE_CACHE", str(tmp_path / "cache"))
    for part, count, seed in (("train", 20, 0), ("test", 3, 1), (name, 4, 2)):
        write_shapes(tmp_path / "own" / part, count, seed)
    config = DataConfig(str(tmp_path / "own"), split_validation="auto")
    found = open_data(config)
    assert found.validation is not None
    assert (len(found.train), len(found.test)) == (60, 9)
    assert found.validation_origin == name
    assert found.validation.labels is not None
    assert found.validation.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    by_name = open_data(dataclasses.replace(config, split_validation=name))
    assert np.array_equal(by_name.validation.images, found.validation.images)  # type: ignore[union-attr]
    with pytest.raises(DistvaeError, match="--split-validation nosuch"):
        open_data(dataclasses.replace(config, split_validation="nosuch"))


def test_where_validation_is_what_is_tested_on_another_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTVAE_CACHE", str(tmp_path / "cache"))
    for part, count, seed in (("train", 20, 0), ("validation", 4, 2)):
        write_shapes(tmp_path / "own" / part, count, seed)
    found = open_data(DataConfig(str(tmp_path / "own"), split_validation="auto"))
    assert (found.test_origin, len(found.test)) == ("validation", 12)
    assert found.validation_origin.startswith("held-out tenth of train")
    assert (len(found.train), len(found.validation or ())) == (54, 6)


def test_labels_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation split without any is passed over; of one with some, those are used."""
    monkeypatch.setenv("DISTVAE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name, size in (("train", 40), ("test", 8), ("val", 8)):
        arrays[f"{name}_images"] = rng.integers(0, 256, (size, 8, 8), dtype=np.uint8)
        arrays[f"{name}_labels"] = np.arange(size) % 2
    np.savez(tmp_path / "whole.npz", **arrays)
    found = open_data(DataConfig(str(tmp_path / "whole.npz"), split_validation="auto"))
    assert found.validation is not None
    assert np.array_equal(found.validation.images[:, 0], arrays["val_images"])
    labels = np.where(np.arange(8) < 6, arrays["val_labels"], -1)  # as they lie in a store
    some = dataclasses.replace(found.validation, labels=labels)
    used = dataclasses.replace(found, validation=some).labelled()
    assert len(used.validation or ()) == 6
    assert len(used.train) == 40
    bare = {name: array for name, array in arrays.items() if name != "val_labels"}
    np.savez(tmp_path / "bare.npz", **bare)
    found = open_data(DataConfig(str(tmp_path / "bare.npz"), split_validation="auto"))
    assert found.validation_origin.startswith("held-out tenth of train")
    assert found.labelled() is found
    assert any("has no labels" in note for note in found.notes)
