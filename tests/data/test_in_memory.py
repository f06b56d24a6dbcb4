"""Data that is handed over in Python becomes the same store as data in files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from distvae.config import DataConfig
from distvae.data.sources.in_memory import hold, is_in_memory
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from distvae.terminal import progress_bar

NAMES = ["ant", "bee", "cat"]
RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (40, 8, 6, 3), dtype=np.uint8)
LABELS = RANDOM.integers(0, 3, 40)
REAL = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255


class Items(torch.utils.data.Dataset[Any]):
    """As torchvision has them: an image and its label, and the names of the labels."""

    classes = NAMES

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return REAL[index], int(LABELS[index])


class Records(Items):
    def __getitem__(self, index: int) -> Any:
        return {"image": Image.fromarray(IMAGES[index]), "label": LABELS[index]}


def table(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> datasets.Dataset:
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list(NAMES))
    )
    cells = {"image": [Image.fromarray(image) for image in images], "label": labels.tolist()}
    return datasets.Dataset.from_dict(cells, features=features)


PILLOW = [Image.fromarray(image) for image in IMAGES]
WORDS = [NAMES[label] for label in LABELS]
SAME: dict[str, Any] = {
    "arrays": (IMAGES, LABELS),
    "channels first, real": (REAL.numpy(), LABELS),
    "tensors": (REAL, torch.from_numpy(LABELS)),
    "half precision": (torch.from_numpy(IMAGES).bfloat16(), LABELS),
    "a list of arrays": (list(IMAGES), LABELS.tolist()),
    "pictures": (PILLOW, WORDS),
    "one-hot": (IMAGES, np.eye(3)[LABELS]),
    "a series": (IMAGES, pd.Series(WORDS, dtype="category")),
    "a dataset": Items(),
    "a dataset of records": Records(),
    "a part of a dataset": torch.utils.data.Subset(Items(), range(40)),
    "tensors as a dataset": torch.utils.data.TensorDataset(REAL, torch.from_numpy(LABELS)),
    "a table": table(IMAGES, LABELS),
    "a table by split": datasets.DatasetDict(train=table(IMAGES, LABELS)),
    "by split": {"train": (IMAGES, LABELS)},
    "named arrays": {"x_train": IMAGES, "y_train": LABELS},
}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., ImageData]:
    """Opens data in memory, in a cache of its own."""
    kept = []

    def open_it(data: Any, **settings: Any) -> ImageData:
        kept.append(hold(data, progress_bar))
        cache = str(tmp_path / "cache")
        return open_data(DataConfig(data=kept[-1].name, cache_dir=cache, **settings))

    return open_it


@pytest.mark.parametrize("kind", SAME)
def test_every_kind_is_the_same_data_as_a_file(
    opened: Callable[..., ImageData], tmp_path: Path, kind: str
) -> None:
    assert is_in_memory(SAME[kind])
    np.savez(tmp_path / "file.npz", x_train=IMAGES, y_train=LABELS)
    named = DataConfig(data=str(tmp_path / "file.npz"), cache_dir=str(tmp_path / "cache"))
    file = open_data(named)
    found = opened(SAME[kind])
    assert {name: digest for name, digest in found.digests.items() if name != "label names"} == {
        name: digest for name, digest in file.digests.items() if name != "label names"
    }
    assert set(found.label_names) in ({"0", "1", "2"}, set(NAMES))
    assert (found.name, found.source) == ("arrays", "arrays")


def test_splits_gaps_columns_and_sizes(opened: Callable[..., ImageData]) -> None:
    pair = opened(((IMAGES, LABELS), (IMAGES[:7], LABELS[:7])))  # as Keras gives them
    assert (len(pair.train), len(pair.test), pair.test_origin) == (40, 7, "test")
    gaps = opened((IMAGES, [None, *WORDS[1:]]))
    assert gaps.train.labelled + gaps.test.labelled == 39
    several = opened((IMAGES, {"kind": WORDS, "angle": LABELS / 7}))
    assert [(each.name, each.labels) for each in several.attributes][1] == ("angle", ())
    sizes = [IMAGES[0], IMAGES[1][:3], *IMAGES[2:, ..., 0]]
    assert opened((sizes, LABELS), image_size=4).shape == (3, 4, 4)
    rows = opened((RANDOM.normal(size=(40, 5)), LABELS))
    assert (rows.domain, rows.shape) == ("vectors", (5,))
    frame = pd.DataFrame({"a": RANDOM.normal(size=40), "b": LABELS / 3, "species": WORDS})
    numbers = opened(frame)
    assert (numbers.columns, numbers.label_names) == (("a", "b"), tuple(numbers.label_names))
    assert set(numbers.label_names) == set(NAMES)


def test_another_content_is_another_name() -> None:
    names = [hold(data, progress_bar).name for data in SAME.values()]
    other = IMAGES.copy()
    other[3, 2, 1, 0] ^= 1
    changed = hold((other, LABELS), progress_bar).name
    assert changed not in names
    assert hold((IMAGES.copy(), LABELS.copy()), progress_bar).name == names[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "data is a builtins.int: expected images"),
        ({}, "data holds nothing"),
        ([], "data holds no images"),
        ((IMAGES, LABELS, LABELS), "data is a tuple of 3"),
        ((IMAGES, LABELS[:3]), "40 images and 3 labels"),
        ((IMAGES, len), "labels are <built-in function len>"),
        (iter([1]), "data is a builtins.list_iterator"),
        (table(IMAGES, LABELS).to_iterable_dataset(), "streaming=True"),
        ([IMAGES[0] / 255, IMAGES[1][:2] / 255], "images have several sizes"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises(DistvaeError) as caught:
        hold(data, progress_bar)
    assert message in str(caught.value)


def test_what_is_gone_is_asked_for(tmp_path: Path) -> None:
    name = hold((IMAGES, LABELS), progress_bar).name  # and let go
    with pytest.raises(DistvaeError, match="Give the same data again"):
        open_data(DataConfig(data=name, cache_dir=str(tmp_path)))
    held = hold((IMAGES, LABELS), progress_bar)
    first = open_data(DataConfig(data=name, cache_dir=str(tmp_path)))
    del held
    assert open_data(DataConfig(data=name, cache_dir=str(tmp_path))).digests == first.digests
