"""Patches of volumes, drawn anew in every epoch; voxels tell where and of what they are."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distvae.config import DataConfig, TrainConfig
from distvae.data.augmented import AugmentedImages, OnDevice
from distvae.data.batches import tensor_of
from distvae.data.image_data import ImageData
from distvae.data.store import open_data
from distvae.data.views import Augmentation
from distvae.draws.philox import Source, Stream
from distvae.errors import DistvaeError
from distvae.training.run import run_training
from tests.training.conftest import Settings, settings, trained

__all__ = ["settings"]

SHAPE, PATCH, SEED = (6, 7, 9), 3, 5


def telling(number: int) -> NDArray[np.int16]:
    """Voxels of which the digits are volume, slice, row and column."""
    z, y, x = np.indices(SHAPE)
    found: NDArray[np.int16] = (1000 * number + 100 * z + 10 * y + x).astype(np.int16)
    return found


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for number in range(6):
        folder = tmp_path / "scans" / ("train" if number < 4 else "test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number}.npy", telling(number))
    return tmp_path / "scans"


def opened(folder: Path, **settings: Any) -> ImageData:
    config: dict[str, Any] = {"domain": "volumes", "patch": 4, "augment": ("crop", "flip")}
    return open_data(DataConfig(data=str(folder), **{**config, **settings}))


def told(views: Any) -> list[tuple[int, tuple[int, ...], bool]]:
    """Volume, corner and flip of patches, which must be whole parts of volumes."""
    found = []
    for (patch,) in np.asarray(views).astype(np.int64):
        flipped = bool(patch[0, 0, 0] > patch[0, 0, -1])
        number, *corner = (int(digit) for digit in f"{patch.min():04}")
        part = telling(number)[tuple(slice(at, at + len(patch)) for at in corner)]
        assert np.array_equal(part[:, :, ::-1] if flipped else part, patch)
        found.append((number, tuple(corner), flipped))
    return found


def test_patches_are_a_function_of_seed_epoch_and_example(scans: Path) -> None:
    data = opened(scans)
    assert data.pictures is not None
    images = AugmentedImages(data.pictures, Augmentation(True, True), torch.device("cpu"))
    codes = torch.from_numpy(images.order(SEED, 3))
    views = images.gather(codes)
    found = told(views.stored)
    assert data.train_images == len(found) == 4 * 1 * 1 * 2
    assert Counter(number for number, *_ in found) == dict.fromkeys(range(4), 2)
    source = Source(SEED, Stream.VIEWS)
    words = [[int(word) for word in source.words(8, 3, part)] for part in range(4)]
    rooms = [side - 4 + 1 for side in SHAPE]
    owners = np.repeat([0, 2, 1, 3], 2)  # label by label
    expected = [
        (
            int(owner),
            tuple(((words[side][n] >> 32) * rooms[side]) >> 32 for side in range(3)),
            bool(words[3][n] >> 63),
        )
        for n, owner in enumerate(owners)
    ]
    assert sorted(found) == sorted(expected)
    assert data.label_names == ("a", "b")
    assert views.labels is not None
    assert views.labels.tolist() == [number % 2 for number, *_ in found]
    pictures = data.pictures
    assert pictures.labels is not None
    pixels, starts, sizes = map(tensor_of, (pictures.pixels, pictures.starts, pictures.sizes))
    labels = torch.from_numpy(pictures.labels)
    there = OnDevice(pixels, starts, sizes, labels, None)
    assert torch.equal(there.gather(codes, pictures.view).stored, views.stored)


def test_splits_labels_and_the_grid_of_volumes(scans: Path) -> None:
    data = opened(scans)
    assert {number for number, *_ in told(data.test.stored)} == {4, 5}
    assert [corner for _, corner, _ in told(data.test.stored)] == 2 * [(1, 1, 0), (1, 1, 4)]
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert any("random patches of 4 x 4 x 4 of 4 volumes" in note for note in data.notes)
    without = opened(scans, augment=())
    assert without.train.labels is not None
    assert [
        number % 2 for number, *_ in told(without.train.stored)
    ] == without.train.labels.tolist()


def test_the_only_volume_is_parted_along_its_longest_side(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", telling(1))
    for augment in ((), ("crop",)):
        data = opened(tmp_path / "one.npy", augment=augment)
        assert {corner[2] for _, corner, _ in told(data.test.stored)} == {5}
        assert max(corner[2] for _, corner, _ in told(data.train.stored)) <= 1
        assert any("the last 4 of 9 columns" in note for note in data.notes)
    with pytest.raises(DistvaeError, match=r"only volume.*--patch 4 or less"):
        opened(tmp_path / "one.npy", patch=6)


def test_volumes_too_long_for_views_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        np.save(
            tmp_path / f"{number}.npy", np.arange(5000 * 16, dtype=np.int32).reshape(5000, 4, 4)
        )
    with pytest.raises(DistvaeError, match=r"5,000 voxels on a side.*at most 4,095"):
        opened(tmp_path)


def test_crops_of_images_need_their_side_said(tmp_path: Path) -> None:
    with pytest.raises(DistvaeError, match=r"--augment crop.*--image-size"):
        TrainConfig().updated({"augment": ("crop",)}, "the test")
    config = TrainConfig().updated({"augment": ("crop",), "patch": 4}, "the test")
    with pytest.raises(DistvaeError, match=r"--augment crop.*--image-size"):
        open_data(config.data)


@pytest.mark.slow
def test_a_run_on_random_patches_goes_on_byte_for_byte(
    settings: Settings, scans: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "data": str(scans), "domain": "volumes", "patch": 4, "augment": ("crop", "flip"),
        "network": "fcn", "latent_space": "spatial", "downscale": 2, "width": 0.1, "hidden": None,
        "likelihood": "laplace", "batch_size": 4, "prior": None, "schedule": "constant",
    }  # fmt: skip
    run = trained(settings(**changes, max_steps=3), tmp_path / "run")
    longer = settings(**changes, max_steps=5)
    assert run_training(longer, run, resume=True).finished
    whole = trained(longer, tmp_path / "whole")
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_table_beside_says_what_volumes_are(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(6):
        np.save(folder / f"{number}.npy", telling(number))
    rows = [f"{number}.npy,{'ab'[number % 2]},{20.5 + number}" for number in range(5)]
    (folder / "table.csv").write_text("\n".join(["scan,diagnosis,age", *rows]))
    data = opened(folder, label_column="diagnosis")
    assert data.label_names == ("a", "b")
    for split in (data.train, data.test):
        assert split.labels is not None
        numbers = np.array([number for number, *_ in told(split.stored)])
        assert split.labels.tolist() == np.where(numbers < 5, numbers % 2, -1).tolist()
    assert "column scan of table.csv names volumes" in data.notes
    both = opened(folder, label_column="diagnosis,age")
    assert [each.name for each in both.attributes] == ["diagnosis", "age"]
    assert both.train.attributes is not None
    (folder / "table.csv").write_text("name,diagnosis\nx,a\ny,b")
    assert any("no column of table.csv names volumes" in note for note in opened(folder).notes)
