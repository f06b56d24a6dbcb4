"""Crops and flips: pictures whose pixels tell where they lie say what was cut out of them.

Legend: N examples, P pictures, h and w the sides of a crop.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distvae.config import DataConfig, TrainConfig
from distvae.data.ahead import Epochs
from distvae.data.augmented import AugmentedImages, OnDevice
from distvae.data.batches import tensor_of
from distvae.data.hiding import hide_labels
from distvae.data.image_data import ImageData
from distvae.data.loaded import LoadedImages
from distvae.data.pictures import Pictures
from distvae.data.store import open_data
from distvae.data.streamed import StreamedImages
from distvae.data.views import Augmentation
from distvae.draws.philox import Source, Stream
from distvae.errors import DistvaeError

SIDE = 16
TRAIN = [(40, 50), (16, 16), (33, 70), (17, 100)]
TEST = [(32, 48), (50, 20)]
SEED = 5


def telling(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture [H, W, 3] whose pixels say their row, their column and which picture it is."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 100 + number)], -1).astype(np.uint8)


def write(root: Path, sizes: list[tuple[int, int]], first: int = 0, tree: str = "a b") -> None:
    classes = tree.split()
    for number, (height, width) in enumerate(sizes, first):
        folder = root / classes[number % len(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(telling(number, height, width)).save(folder / f"{number:02}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures, each of its own size, in two splits and two classes."""
    write(tmp_path / "photos" / "train", TRAIN)
    write(tmp_path / "photos" / "test", TEST, len(TRAIN))
    return tmp_path / "photos"


def opened(folder: Path, **settings: Any) -> ImageData:
    config = {"augment": ("crop", "flip"), "image_size": SIDE, **settings}
    return open_data(DataConfig(data=str(folder), **config))


def augmented(data: ImageData, crop: bool = True, flip: bool = True) -> AugmentedImages:
    assert data.pictures is not None
    return AugmentedImages(data.pictures, Augmentation(crop, flip), torch.device("cpu"))


def told(views: Any) -> list[tuple[int, int, int, bool]]:
    """Picture, top, left and flip of views [N, 3, h, w], which must be whole parts of pictures."""
    found = []
    for rows, columns, numbers in np.asarray(views).astype(np.int64):
        number, top, left = int(numbers[0, 0]) - 100, int(rows[0, 0]), int(columns.min())
        flipped = bool(columns[0, 0] > columns[0, -1])
        part = telling(number, 300, 300)[top : top + rows.shape[0], left : left + rows.shape[1]]
        part = part[:, ::-1] if flipped else part
        assert np.array_equal(part.transpose(2, 0, 1), [rows, columns, numbers])
        found.append((number, top, left, flipped))
    return found


def seen(images: AugmentedImages, epoch: int, seed: int = SEED) -> list[tuple[int, int, int, bool]]:
    return told(images.gather(torch.from_numpy(images.order(seed, epoch))).stored)


def test_an_epoch_has_as_many_crops_of_each_picture_as_fit_beside_each_other(photos: Path) -> None:
    data = opened(photos)
    images = augmented(data)
    fitting = {number: (h // SIDE) * (w // SIDE) for number, (h, w) in enumerate(TRAIN)}
    assert data.train_images == len(images) == sum(fitting.values())
    for epoch in (0, 1):
        views = seen(images, epoch)
        assert Counter(number for number, *_ in views) == fitting
        for number, top, left, _ in views:
            height, width = TRAIN[number]
            assert 0 <= top <= height - SIDE
            assert 0 <= left <= width - SIDE


def test_a_view_is_a_function_of_seed_epoch_and_example(photos: Path) -> None:
    images = augmented(opened(photos))
    first = seen(images, 3)
    assert first == seen(images, 3)
    assert first != seen(images, 4)
    assert first != seen(images, 3, SEED + 1)
    # anew, from the words alone and in whole numbers of Python
    assert images.pictures is not None
    source = Source(SEED, Stream.VIEWS)
    count = len(images)
    words = [[int(word) for word in source.words(count, 3, part)] for part in range(3)]
    by_label = [(number, *TRAIN[number]) for number in (0, 2, 1, 3)]
    owners = [number for number, h, w in by_label for _ in range(h // SIDE * (w // SIDE))]
    expected = [
        (
            owner,
            ((words[0][example] >> 32) * (TRAIN[owner][0] - SIDE + 1)) >> 32,
            ((words[1][example] >> 32) * (TRAIN[owner][1] - SIDE + 1)) >> 32,
            bool(words[2][example] >> 63),
        )
        for example, owner in enumerate(owners)
    ]
    assert sorted(first) == sorted(expected)
    ranks = np.argsort(Source(SEED, Stream.ORDER).words(count, 3), kind="stable")
    assert first == [expected[example] for example in ranks]


def test_crops_lie_anywhere_alike_and_half_are_flipped(photos: Path) -> None:
    images = augmented(opened(photos))
    views = [view for epoch in range(60) for view in seen(images, epoch)]
    lefts = np.array([left for number, _, left, _ in views if number == 3])
    room = TRAIN[3][1] - SIDE
    counts = np.bincount(lefts, minlength=room + 1)
    assert len(counts) == room + 1
    expected = len(lefts) / (room + 1)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < room + 5 * np.sqrt(2 * room)  # five standard deviations
    share = np.mean([flipped for *_, flipped in views])
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(len(views))


@pytest.mark.parametrize(("crop", "flip"), [(True, False), (False, True)])
def test_one_without_the_other(photos: Path, crop: bool, flip: bool) -> None:
    stored = np.stack([telling(number, 9, 12).transpose(2, 0, 1) for number in range(20)])
    pictures = Pictures.alike(stored, np.arange(20), None)
    if crop:
        found = opened(photos).pictures
        assert found is not None
        pictures = found
    images = AugmentedImages(pictures, Augmentation(crop, flip), torch.device("cpu"))
    views = seen(images, 0)
    assert any(view[1:3] != (0, 0) for view in views) == crop
    assert any(flipped for *_, flipped in views) == flip
    if not crop:
        assert sorted(number for number, *_ in views) == list(range(20))
        labels = images.gather(torch.from_numpy(images.order(SEED, 0))).labels
        assert labels is not None
        assert labels.tolist() == [number for number, *_ in views]


def test_a_device_cuts_the_same_views_as_the_host(photos: Path) -> None:
    images = augmented(opened(photos))
    pictures = images.pictures
    there = OnDevice(
        tensor_of(pictures.pixels),
        torch.from_numpy(pictures.starts),
        torch.from_numpy(pictures.sizes),
        tensor_of(pictures.labels) if pictures.labels is not None else None,
        None,
    )
    codes = torch.from_numpy(images.order(SEED, 1))
    one, other = images.gather(codes), there.gather(codes, pictures.view)
    assert torch.equal(one.stored, other.stored)
    assert one.labels is not None
    assert other.labels is not None
    assert torch.equal(one.labels, other.labels)
    assert one.labels.tolist() == [number % 2 for number, *_ in told(one.stored)]


@pytest.mark.parametrize("world_size", [1, 2])
def test_processes_see_their_parts_of_one_order(photos: Path, world_size: int) -> None:
    images, batch = augmented(opened(photos)), 4
    order = torch.from_numpy(images.order(SEED, 1))
    whole = told(images.gather(order).stored)
    for rank in range(world_size):
        loaded = LoadedImages(images, Epochs(len(images), batch, rank, world_size), SEED)
        for step in range(len(images) // batch):
            size = batch // world_size
            start = step * batch + rank * size
            rows = range(len(images) + start, len(images) + start + size)
            assert told(loaded.gather(rows).stored) == whole[start : start + size]
        loaded.close()


def test_held_out_pictures_are_cut_into_a_fixed_grid(photos: Path) -> None:
    data = opened(photos)
    views = told(data.test.images)
    assert views == [
        *((4, top, left, False) for top in (0, 16) for left in (0, 16, 32)),
        *((5, top, 2, False) for top in (1, 17, 33)),
    ]
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [number % 2 for number, *_ in views]
    notes = "\n".join(data.notes)
    assert "training sees random crops of 16 x 16 of 4 images of 16 x 16 to 70 x 33 pixels" in notes
    assert "the test split is 9 crops of a fixed grid of 2 images of 20 x 50 to 48 x 32" in notes
    assert len(data.train) == data.train_images  # the sample is the whole grid
    again = opened(photos)
    assert again.fingerprint == data.fingerprint
    assert again.pictures is not None
    assert isinstance(again.pictures.pixels.base, np.memmap)


def test_a_large_grid_is_taken_evenly(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distvae.data.crops.MOST_CROPS", 5)
    data = opened(photos)
    assert len(data.train) == len(data.test) == 5
    assert data.train_images == 21  # of which the whole pictures have all
    assert [number for number, *_ in told(data.test.images)] == [4, 4, 4, 5, 5]
    assert "5 crops of a fixed grid of 2 images of 20 x 50 to 48 x 32 pixels, evenly of 9" in (
        "\n".join(data.notes)
    )


def test_pictures_turned_by_their_camera_are_turned_before_they_are_cut(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held sideways
    for split in ("train", "test"):
        (tmp_path / "photos" / split / "a").mkdir(parents=True)
        for number in range(2):
            image = Image.fromarray(telling(number, 20, 40))
            image.save(tmp_path / "photos" / split / "a" / f"{number}.png", exif=exif)
    data = opened(tmp_path / "photos", augment=("crop",))
    assert data.pictures is not None
    assert data.pictures.sizes.tolist() == [[40, 20]] * 2
    rows, columns, _ = data.test.images[0].astype(int)
    assert (np.diff(rows, axis=1) == -1).all()  # what was down is now left
    assert (np.diff(columns, axis=0) == 1).all()


def test_sizes_are_brought_to_what_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "photos" / "train", [(8, 12), (64, 80), (30, 20)])
    write(tmp_path / "photos" / "test", [(40, 41)], 3)
    data = opened(tmp_path / "photos", shorter_side=32)
    assert data.pictures is not None
    assert data.pictures.sizes.tolist() == [[16, 24], [30, 20], [32, 40]]  # label by label
    notes = "\n".join(data.notes)
    assert "1 image smaller than a crop of 16 pixels a side: enlarged" in notes
    assert "4 crops of a fixed grid of 1 image of 33 x 32 pixels" in notes


def test_as_many_crops_an_epoch_as_are_asked_for(photos: Path) -> None:
    for count in (6, 40):
        images = augmented(opened(photos, epoch_images=count))
        assert len(images) == count
        counts = Counter(number for number, *_ in seen(images, 0))
        assert sum(counts.values()) == count
    few = augmented(opened(photos, epoch_images=2))
    pictures = {number for epoch in range(60) for number, *_ in seen(few, epoch)}
    assert pictures == {0, 1, 2, 3}  # in time each is seen


def test_crops_of_pictures_without_a_label_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for split in ("train", "test"):
        write(folder / split, TRAIN)
        names = sorted((folder / split).rglob("*.png"))
        cells = [
            f"{path.name},{'' if path.name == '00.png' else path.parent.name}" for path in names
        ]
        for path in names:
            path.rename(folder / split / path.name)
        (folder / split / "metadata.csv").write_text("\n".join(["file_name,label", *cells]))
    data = opened(folder).labelled()
    assert data.train_images == sum(h // SIDE * (w // SIDE) for h, w in TRAIN[1:])
    assert {number for number, *_ in seen(augmented(data), 0)} == {1, 2, 3}


def test_a_stream_is_cut_by_the_place_of_each_picture_in_the_epoch(photos: Path) -> None:
    data = opened(photos, streaming=True)
    assert data.stream is not None
    assert data.pictures is None
    assert data.train_images == len(TRAIN)

    def stream(seed: int = SEED) -> StreamedImages:
        assert data.stream is not None
        epochs = Epochs(len(TRAIN), 2, 0, 1)
        return StreamedImages(data.stream, data.image_shape, seed, epochs, torch.device("cpu"))

    images = stream()
    blocks = [told(images.gather(range(start, start + 2)).stored) for start in range(0, 12, 2)]
    state = images.state
    following = told(images.gather(range(12, 14)).stored)
    views = [view for block in blocks for view in block]
    for epoch in range(3):
        found = views[4 * epoch : 4 * epoch + 4]
        assert sorted(number for number, *_ in found) == [0, 1, 2, 3]
        rooms = np.array([TRAIN[number] for number, *_ in found]) - SIDE
        (tops, lefts), flips = Augmentation(True, True).places(rooms, SEED, epoch)
        assert [view[1:] for view in found] == list(
            zip(tops.tolist(), lefts.tolist(), map(bool, flips), strict=True)
        )
    images.close()
    resumed, other = stream(), stream(SEED + 1)
    resumed.go_on_from(state)
    assert told(resumed.gather(range(12, 14)).stored) == following
    assert told(other.gather(range(2)).stored) != blocks[0]
    resumed.close()
    other.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": ["crop"]}, "leaving --image-size out: it is the side of a crop"),
        ({"shorter_side": 9}, "Either take --augment crop or crop,flip or leave --shorter-side"),
        (
            {"augment": ["crop"], "image_size": 32, "shorter_side": 16},
            "--shorter-side 16 is less than --image-size 32",
        ),
        (
            {"augment": ["flip"], "domain": "vectors"},
            "--augment flip does not fit --domain vectors",
        ),
        ({"augment": ["turn"]}, "augment"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        TrainConfig().updated(changes, "the test")


def test_a_picture_longer_than_any_place_can_say(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "photos" / split).mkdir(parents=True)
        Image.new("L", (70_000, 16)).save(tmp_path / "photos" / split / "long.png")
    with pytest.raises(DistvaeError, match=r"70,000 pixels on a side.*--shorter-side"):
        opened(tmp_path / "photos")


def test_labels_cannot_be_hidden_from_crops(photos: Path) -> None:
    data = opened(photos)
    with pytest.raises(DistvaeError, match="--keep-labels does not fit --augment crop"):
        hide_labels(data, 2, 0)
