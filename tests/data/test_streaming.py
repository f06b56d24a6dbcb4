"""A streamed split: who sees which image when, and going on in the middle."""

import json
from collections.abc import Iterator
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from distvae.config import DataConfig, TrainConfig
from distvae.data.shards import State, StreamOrder
from distvae.data.store import ImageData, open_data
from distvae.data.streamed import StreamedImages
from distvae.errors import DistvaeError
from tests.data.conftest import CLASSES, streamed, write_folder

SIDE = 4
LABELS = datasets.ClassLabel(names=list(CLASSES))


def numbered(number: int, side: int = SIDE) -> bytes:
    """A grey picture whose first two pixels say which it is."""
    pixels = np.zeros((side, side), np.uint8)
    pixels[0, :2] = divmod(number, 256)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def numbers(images: Any) -> list[int]:
    """Which pictures these are, [B, 1, H, W]."""
    return [int(first) * 256 + int(second) for first, second in images[:, 0, 0, :2]]


def write_shards(
    root: Path, sizes: list[int], test: int = 5, label: Any = LABELS, kind: str = "parquet"
) -> Path:
    """Parquet files of so many numbered pictures, labelled by the shard they are in."""
    root.mkdir()
    start = 0
    for shard, size in enumerate([*sizes, test]):
        name = f"train-{shard}" if shard < len(sizes) else "test"
        cells = [{"bytes": numbered(start + row), "path": None} for row in range(size)]
        columns = {"image": cells, "label": [shard % len(CLASSES)] * size}
        features = datasets.Features({"image": datasets.Image(), "label": LABELS})
        table = datasets.Dataset.from_dict(columns, features=features)
        if label is not LABELS:
            table = table.cast_column("label", label) if label else table.remove_columns("label")
        if kind == "parquet":
            table.to_parquet(root / f"{name}.parquet", batch_size=5)
        else:
            table.save_to_disk(root / "saved" / name)
            (arrow,) = (root / "saved" / name).glob("*.arrow")
            arrow.rename(root / f"{name}.arrow")
        start += size
    return root


def opened(root: Path | str, **settings: Any) -> ImageData:
    return open_data(DataConfig(data=str(root), streaming=True, **settings))


def order_of(
    data: ImageData, rank: int = 0, world_size: int = 1, seed: int = 0, **changes: Any
) -> StreamOrder:
    assert data.stream is not None
    return data.stream.order(seed, rank, world_size)


def read(
    order: StreamOrder, epoch: int, count: int, state: State | None = None
) -> list[tuple[int, State]]:
    """Which pictures come next, and the state after each."""
    found: Iterator[Any] = islice(order.examples(epoch, state), count)
    decoded = ((Image.open(BytesIO(row["image"]["bytes"])), after) for row, after in found)
    return [(numbers(np.asarray(image)[None, None])[0], after) for image, after in decoded]


def sequence(order: StreamOrder, epoch: int, count: int) -> list[int]:
    return [number for number, _ in read(order, epoch, count)]


@pytest.mark.parametrize("buffer", [1, 7, 1000])
@pytest.mark.parametrize(("shards", "world_size"), [(1, 1), (4, 2), (5, 2), (7, 3), (3, 3)])
def test_an_epoch_has_every_image_once_on_one_process(
    tmp_path: Path, shards: int, world_size: int, buffer: int
) -> None:
    data = opened(write_shards(tmp_path / "data", [12] * shards), shuffle_buffer=buffer)
    share = 12 * shards // world_size
    orders = [order_of(data, rank, world_size) for rank in range(world_size)]
    epochs = [[sequence(order, epoch, share) for order in orders] for epoch in (0, 1)]
    for parts in epochs:
        assert sorted(chain.from_iterable(parts)) == list(range(12 * shards))
    again = [sequence(order_of(data, rank, world_size), 1, share) for rank in range(world_size)]
    assert again == epochs[1]
    if shards > 1 or buffer > 1:
        assert epochs[0] != epochs[1]
        others = [order_of(data, 0, world_size, seed=seed) for seed in range(1, 6)]
        assert any(sequence(order, 0, share) != epochs[0][0] for order in others)


def test_a_buffer_mixes_shards(tmp_path: Path) -> None:
    data = opened(write_shards(tmp_path / "data", [40] * 8), shuffle_buffer=80)
    first = sequence(order_of(data), 0, 80)
    assert [first.count(number) for number in first] == [1] * 80
    assert np.bincount([number // 40 for number in first]).tolist() == [10] * 8
    assert first != sorted(first)


def test_a_process_with_fewer_images_begins_its_own_again(tmp_path: Path) -> None:
    data = opened(write_shards(tmp_path / "data", [4, 10]), shuffle_buffer=3)
    short, long = sorted((sequence(order_of(data, rank, 2), 0, 7) for rank in (0, 1)), key=min)
    assert sorted(short[:4]) == [0, 1, 2, 3]
    assert set(short[4:]) < set(short[:4])
    assert len(set(long)) == 7
    assert set(long) <= set(range(4, 14))


@pytest.mark.parametrize(("shards", "world_size"), [(1, 1), (3, 2), (10, 1)])
def test_it_goes_on_from_any_image(tmp_path: Path, shards: int, world_size: int) -> None:
    data = opened(write_shards(tmp_path / "data", [11] * shards), shuffle_buffer=9)
    length = 11 * shards // world_size + 15  # past the end, where it begins again
    whole = read(order_of(data, world_size - 1, world_size), 2, length)
    order = order_of(data, world_size - 1, world_size)
    expected = [number for number, _ in whole]
    for place in range(1, length, shards):
        state = json.loads(json.dumps(whole[place - 1][1]))
        rest = read(order, 2, length - place, state)
        assert [number for number, _ in rest] == expected[place:]
        then = len(rest) // 2
        if then:  # a second interruption, after which datasets words its state otherwise
            again = read(order, 2, len(rest) - then, json.loads(json.dumps(rest[then - 1][1])))
            assert [number for number, _ in again] == expected[place + then :]


def test_sample_and_test_split_are_kept(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "data", [12, 12, 12], test=70)
    data = opened(root, epoch_images=30)
    resident = open_data(DataConfig(data=str(root)))
    assert (data.train_images, len(data.train), len(data.test)) == (30, 30, 70)
    assert data.label_names == CLASSES
    assert data.test_origin == "test"
    np.testing.assert_array_equal(data.test.images, resident.test.images)
    assert data.train.labels is not None
    found = numbers(data.train.images)
    assert len(set(found)) == 30
    assert [number // 12 for number in found] == data.train.labels.tolist()
    assert data.fingerprint != resident.fingerprint
    assert resident.stream is None


def test_a_second_start_decodes_nothing(tmp_path: Path, cache: Path) -> None:
    root = write_shards(tmp_path / "data", [12, 12])
    first = opened(root)
    times = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    assert not [path for path in times if path.suffix == ".arrow"]
    second = opened(root, shuffle_buffer=5)
    assert second.fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == times
    assert second.train_images == 24


@pytest.mark.parametrize("kind", ["save_to_disk", "arrow", "folders", "csv"])
def test_other_kinds_of_data(tmp_path: Path, kind: str) -> None:
    settings: dict[str, Any] = {}
    if kind == "arrow":
        root, settings = write_shards(tmp_path / "data", [9, 9], kind="arrow"), {"epoch_images": 18}
    elif kind == "save_to_disk":
        tables = datasets.load_dataset(
            "parquet",
            data_files={
                name: [str(write_shards(tmp_path / "data", [9, 9]) / f"{name}*.parquet")]
                if name == "train"
                else [str(tmp_path / "data" / f"{name}.parquet")]
                for name in ("train", "test")
            },
            cache_dir=str(tmp_path / "tables"),
        )
        root = tmp_path / "saved"
        tables.save_to_disk(root)
    else:
        root = tmp_path / "trees"
        for name, count in (("train", 6), ("test", 2)):
            write_folder(root / name, count, SIDE, "L")
    if kind == "csv":
        for name in ("train", "test"):
            files = sorted((root / name).rglob("*.png"))
            rows = ["image", *(str(file.relative_to(root)) for file in files)]
            (root / f"{name}.csv").write_text("\n".join(rows))
    data, resident = opened(root, **settings), open_data(DataConfig(data=str(root)))
    assert data.train_images == len(resident.train) == 18
    assert data.num_labels == (0 if kind == "csv" else 3)
    images = streamed(data)
    grey, labels, _ = images.gather(range(18))
    read = [(image.tobytes(), label) for image, label in _pairs(grey.numpy(), labels)]
    kept = [(image.tobytes(), label) for image, label in _pairs(*_arrays(resident))]
    assert sorted(read) == sorted(kept)


def _arrays(data: ImageData) -> tuple[Any, Any]:
    return data.train.images, data.train.labels


def _pairs(images: Any, labels: Any) -> Iterator[tuple[Any, int]]:
    return zip(images, [0] * len(images) if labels is None else labels.tolist(), strict=True)


def batches(data: ImageData, rank: int, world_size: int) -> StreamedImages:
    return streamed(data, seed=3, batch=5 * world_size, rank=rank, world_size=world_size)


def test_batches_are_the_order_cut_in_pieces_wherever_they_begin(tmp_path: Path) -> None:
    data = opened(write_shards(tmp_path / "data", [30] * 4), shuffle_buffer=16)
    images, other = batches(data, 1, 2), batches(data, 1, 2)
    size, states, seen = 5, [], []
    for step in range(12):  # of global batches of 10, this process has the second half
        grey, labels, _ = images.gather(range(120 + 10 * step + 5, 120 + 10 * step + 10))
        assert labels is not None
        assert [number // 30 % 3 for number in numbers(grey)] == labels.tolist()
        seen.append(numbers(grey))
        states.append(json.loads(json.dumps(images.state)))
    assert list(chain.from_iterable(seen)) == sequence(order_of(data, 1, 2, seed=3), 1, 60)
    for step in (7, 3, 11):  # a jump
        grey, *_ = other.gather(range(120 + 10 * step + 5, 120 + 10 * step + 5 + size))
        assert numbers(grey) == seen[step]
    resumed = batches(data, 1, 2)
    resumed.go_on_from(states[4])
    for step in range(5, 12):
        grey, *_ = resumed.gather(range(120 + 10 * step + 5, 120 + 10 * step + 10))
        assert numbers(grey) == seen[step]


def test_the_mnist_of_the_package_is_not_streamed() -> None:
    with pytest.raises(DistvaeError, match=r"not go with mnist.*Leave out --streaming"):
        opened("mnist")


def test_epoch_images_without_streaming() -> None:
    with pytest.raises(DistvaeError, match="--epoch-images 5 does not fit leaving --streaming out"):
        TrainConfig().updated({"epoch_images": 5}, "the test")


def test_more_processes_than_shards(tmp_path: Path) -> None:
    data = opened(write_shards(tmp_path / "data", [12, 12]))
    with pytest.raises(DistvaeError, match=r"2 shards in .* for 3 processes.*2 processes or fewer"):
        batches(data, 0, 3)


def test_no_shards(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DistvaeError, match="holds no images"):
        opened(tmp_path / "data")


def test_empty_shards(tmp_path: Path) -> None:
    with pytest.raises(DistvaeError, match=r"split train .* has no images"):
        opened(write_shards(tmp_path / "data", [0, 0]))


def test_no_test_split(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "data", [12, 12])
    (root / "test.parquet").unlink()
    with pytest.raises(
        DistvaeError, match=r"no test split in .*its splits are train.*--split-test"
    ):
        opened(root)


@pytest.mark.parametrize("label", [datasets.Value("int64"), None])
def test_labels_without_names(tmp_path: Path, label: Any) -> None:
    root = write_shards(tmp_path / "data", [12, 12], label=label)
    assert opened(root).num_labels == 0
    refusal = "without names: .*ClassLabel" if label else "no such column"
    with pytest.raises(DistvaeError, match=rf"--label-column label.*{refusal}"):
        opened(root, label_column="label")


def test_an_unknown_length(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "data", [12, 12], kind="arrow")
    with pytest.raises(DistvaeError, match=r"how many images its split train has.*--epoch-images"):
        opened(root)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_test_split_without_the_column_of_labels(tmp_path: Path, streaming: bool) -> None:
    root = write_shards(tmp_path / "data", [12, 12])
    table = datasets.Dataset.from_parquet(str(root / "test.parquet"))
    assert isinstance(table, datasets.Dataset)
    table.remove_columns("label").to_parquet(root / "test.parquet")
    data = open_data(DataConfig(data=str(root), streaming=streaming, split_test="test"))
    assert data.label_names == CLASSES
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [-1] * 5
    assert "without a label: 5 of 5 images of test" in data.notes
    if streaming:
        with pytest.raises(DistvaeError, match=r"no test split.*--split-test"):
            opened(root)
    else:
        held_out = open_data(DataConfig(data=str(root)))
        assert held_out.test_origin.startswith("held-out")


@pytest.mark.parametrize("missing", [None, -1])
def test_rows_without_a_label(tmp_path: Path, missing: int | None) -> None:
    root = write_shards(tmp_path / "data", [12, 12, 12])
    labels = [missing, 1, missing, *[2] * 9]
    cells = {"image": [{"bytes": numbered(100 + row), "path": None} for row in range(12)]}
    features = datasets.Features({"image": datasets.Image(), "label": LABELS})
    table = datasets.Dataset.from_dict({**cells, "label": labels}, features=features)
    table.to_parquet(root / "train-1.parquet", batch_size=5)
    data = opened(root, shuffle_buffer=7)
    assert data.notes == ("without a label: 2 of 36 images of a sample of train",)
    grey, told, _ = batches(data, 0, 1).gather(range(36))
    assert told is not None
    found = dict(zip(numbers(grey), told.tolist(), strict=True))
    assert (found[100], found[101], found[102], found[103]) == (-1, 1, -1, 2)
    assert len(found) == 36

    labelled = data.labelled()
    assert (labelled.train_images, len(labelled.train)) == (34, 34)
    assert "34 of 36 training" in labelled.notes[-1]
    expected = sorted(set(found) - {100, 102})
    whole = read(order_of(labelled), 0, 40)
    assert sorted(number for number, _ in whole[:34]) == expected
    for place in (1, 9, 20, 35):
        rest = read(order_of(labelled), 0, 40 - place, json.loads(json.dumps(whole[place - 1][1])))
        assert [number for number, _ in rest] == [number for number, _ in whole[place:]]
    shares = [sequence(order_of(labelled, rank, 2), 0, 17) for rank in (0, 1)]
    assert not {100, 102} & set(chain.from_iterable(shares))
    assert opened(root, epoch_images=10).labelled().train_images == 10


@pytest.mark.parametrize(
    ("image", "label", "refusal"),
    [
        (b"no picture", 0, "cannot read an image .split train"),
        (numbered(0, SIDE + 1), 0, r"is 5 x 5 pixels: the first, .* is 4 x 4.*--image-size"),
        (numbered(0), -2, r"has the label -2: label knows 0\.\.2"),
        (numbered(0), 3, "has the label 3"),
    ],
)
def test_a_bad_image_in_the_stream(
    tmp_path: Path, image: bytes, label: int | None, refusal: str
) -> None:
    root = write_shards(tmp_path / "data", [6, 6])
    data = opened(root)
    cells = {"image": [{"bytes": image, "path": None}] * 6, "label": [label] * 6}
    kind = datasets.Value("int64") if label else LABELS
    features = datasets.Features({"image": datasets.Image(decode=False), "label": kind})
    bad = datasets.Dataset.from_dict(cells, features=features)
    bad.cast_column("image", datasets.Image()).to_parquet(root / "train-1.parquet")
    images = batches(data, 0, 1)
    with pytest.raises(DistvaeError, match=refusal):
        images.gather(range(12))
