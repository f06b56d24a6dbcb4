"""Arrays of images as people have them: npz, npy, IDX, CIFAR, columns of numbers."""

import gzip
import struct
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError


def noise(count: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images that begin with white and black, so that all of the range is used."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    images.reshape(count, -1)[:, :2] = (255, 0)
    return images


def smooth(count: int, side: int = 8) -> NDArray[np.uint8]:
    """Colour images [N, H, W, 3] whose neighbours are alike and whose channels are not."""
    ramp = np.linspace(0, 60, side)[:, None] + np.linspace(0, 60, side)
    images = np.stack([ramp, ramp + 130, 250 - ramp], axis=-1)[None].repeat(count, 0)
    return (images + np.arange(count)[:, None, None, None] % 5).astype(np.uint8)


def opened(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(str(path), **settings))


def assert_holds(
    data: ImageData, train: NDArray[Any], test: NDArray[Any], labels: Any = None
) -> None:
    """That images [N, H, W] or [N, H, W, C] are stored as they are."""
    for split, expected in ((data.train, train), (data.test, test)):
        channels_last = expected.reshape(*expected.shape[:3], -1)
        np.testing.assert_array_equal(split.images.transpose(0, 2, 3, 1), channels_last)
    if labels is not None:
        assert data.train.labels is not None
        assert data.train.labels.tolist() == list(labels)


TRAIN, TEST = noise(12, 6, 5), noise(4, 6, 5, seed=1)
LABELS, TEST_LABELS = np.arange(12) % 3, np.arange(4) % 3
NAMED = {
    "medmnist": ("train_images", "train_labels", "test_images", "test_labels"),
    "keras": ("x_train", "y_train", "x_test", "y_test"),
    "camel": ("trainX", "trainY", "testX", "testY"),
    "together": ("Xtrain", "ytrain", "Xtest", "ytest"),
}


@pytest.mark.parametrize("names", NAMED.values(), ids=NAMED)
def test_arrays_are_known_by_their_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays: tuple[Any, ...] = (TRAIN, LABELS[:, None], TEST, TEST_LABELS)
    more: dict[str, Any] = {"val_images": TEST, "extra": LABELS} if "train_images" in names else {}
    np.savez(tmp_path / "own.npz", **dict(zip(names, arrays, strict=True)), **more)
    data = opened(tmp_path / "own.npz")
    assert_holds(data, TRAIN, TEST, LABELS)
    assert data.label_names == ("0", "1", "2")
    assert any(names[0] in note for note in data.notes)
    assert any("left out: array" in note and "extra" in note for note in data.notes) == bool(more)


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("X", "y"), ("arr_0", "arr_1"), ("pics", "kinds")]
)
def test_arrays_without_splits_are_divided(tmp_path: Path, names: tuple[str, str]) -> None:
    arrays: dict[str, Any] = dict(zip(names, (TRAIN, LABELS), strict=True))
    np.savez(tmp_path / "own.npz", **arrays)
    data = opened(tmp_path / "own.npz")
    assert (len(data.train), len(data.test), data.label_names) == (9, 3, ("0", "1", "2"))
    assert "by label" in data.test_origin


def test_npy_files_of_a_folder_are_arrays_by_their_names(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "x_train": TRAIN,
        "y_train": LABELS,
        "x_test": TEST,
        "y_test": TEST_LABELS,
    }
    (tmp_path / "own").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "own" / f"{name}.npy", array)
    assert_holds(opened(tmp_path / "own"), TRAIN, TEST, LABELS)
    alone = opened(tmp_path / "own" / "x_train.npy")
    assert (alone.label_names, len(alone.train)) == ((), 11)


KINDS = {
    "uint8": (TRAIN, TRAIN),
    "bool": (TRAIN > 99, 255 * (TRAIN > 99)),
    "binary": ((TRAIN > 99).astype(np.uint8), 255 * (TRAIN > 99)),
    "sixteen bits": (TRAIN.astype(np.uint16) * 257,) * 2,
    "twelve bits": (TRAIN.astype(np.uint16) << 4,) * 2,
    "unit floats": (TRAIN.astype(np.float32) / 255, TRAIN),
    "float16": ((TRAIN > 99).astype(np.float16), 255 * (TRAIN > 99)),
    "symmetric floats": (TRAIN / 127.5 - 1, TRAIN),
    "float levels": (TRAIN.astype(np.float64), TRAIN),
    "digits": (TRAIN / 255 * 16 // 1, np.rint(TRAIN / 255 * 16 // 1 * (255 / 16))),
    "int64": (TRAIN.astype(np.int64), TRAIN),
}


@pytest.mark.parametrize(("values", "expected"), KINDS.values(), ids=KINDS)
def test_values_of_any_kind_become_levels(
    tmp_path: Path, values: NDArray[Any], expected: NDArray[Any]
) -> None:
    np.savez(tmp_path / "own.npz", train_images=values, test_images=values[:2])
    data = opened(tmp_path / "own.npz")
    assert_holds(data, expected, expected[:2])
    assert any("is white" in note for note in data.notes) is bool(values.max() != 255)


def test_white_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    values = np.full((4, 2, 2), 500, np.uint16)
    np.savez(tmp_path / "own.npz", images=values)
    assert opened(tmp_path / "own.npz", white=1000).train.images[0, 0, 0, 0] == 500
    assert opened(tmp_path / "own.npz", white=1000, bits=8).train.images[0, 0, 0, 0] == 127


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.random.default_rng(0).normal(size=(6, 4, 4)) * 3, "fit none of"),
        (np.full((6, 4, 4), -3000) + np.arange(4) * 999, "have no black"),
        (np.ones((6, 4, 4)) * 7.5, "fit none of"),
    ],
)
def test_values_of_no_known_range_are_refused(
    tmp_path: Path, values: NDArray[Any], words: str
) -> None:
    np.savez(tmp_path / "own.npz", images=values)
    with pytest.raises(DistvaeError, match=rf"no known range.*{words}.*--white"):
        opened(tmp_path / "own.npz")


COLOUR = smooth(12)
LAYOUTS = {
    "HWC": (COLOUR, COLOUR),
    "CHW": (COLOUR.transpose(0, 3, 1, 2), COLOUR),
    "grey HWC": (noise(12, 6, 5, 1), None),
    "grey CHW": (noise(12, 1, 6, 5), None),
    "rows": (noise(12, 25), None),
    "rows HWC": (COLOUR.reshape(12, -1), COLOUR),
    "rows CHW": (COLOUR.transpose(0, 3, 1, 2).reshape(12, -1), COLOUR),
    "opaque": (np.concatenate([COLOUR, np.full_like(COLOUR[..., :1], 255)], axis=-1), COLOUR),
}


@pytest.mark.parametrize(("values", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path: Path, values: NDArray[Any], expected: NDArray[Any] | None) -> None:
    np.savez(tmp_path / "own.npz", train_images=values, test_images=values[:2])
    if expected is None:
        side = (5, 5) if values.ndim == 2 else (6, 5)
        expected = values.reshape(len(values), *side)
    assert_holds(opened(tmp_path / "own.npz"), expected, expected[:2])


def test_the_number_of_images_may_come_last(tmp_path: Path) -> None:
    np.savez(tmp_path / "svhn.npz", X=COLOUR.transpose(1, 2, 3, 0), y=LABELS[:, None])
    data = opened(tmp_path / "svhn.npz", split_test="train")
    assert_holds(data, COLOUR, COLOUR, LABELS)


@pytest.mark.parametrize("shape", [(5, 6, 6, 7), (5, 4, 4, 4, 3), (5, 7), (5,), (5, 0, 4)], ids=str)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "own.npz", images=np.zeros(shape, np.uint8))
    with pytest.raises(DistvaeError, match="array"):
        opened(tmp_path / "own.npz", domain="images")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.eye(3)[LABELS], ("0", "1", "2")),
        (LABELS.astype(float), ("0", "1", "2")),
        (np.array(["fir", "oak", "ash"])[LABELS], ("ash", "fir", "oak")),
        (np.array([10, 2, 1])[LABELS], ("1", "2", "10")),
        (np.where(LABELS == 2, np.nan, LABELS), ("0", "1")),
        (np.tile([[1, 1, 0]], (12, 1)), ()),
        (LABELS / 2, ()),
    ],
    ids=["one-hot", "floats", "text", "numbers", "missing", "several", "fractions"],
)
def test_labels_of_arrays(tmp_path: Path, labels: NDArray[Any], names: tuple[str, ...]) -> None:
    np.savez(tmp_path / "own.npz", images=TRAIN, labels=labels)
    data = opened(tmp_path / "own.npz")
    assert data.label_names == names
    assert any("labels are left out" in note for note in data.notes) is not bool(names)
    if names == ("0", "1"):
        assert data.train.labels is not None
        assert (data.train.labels == -1).sum() + (data.test.labels == -1).sum() == 4  # type: ignore[union-attr]


def test_names_of_classes_beside_the_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=TRAIN, labels=LABELS, class_names=["b", " a", "c"])
    assert opened(tmp_path / "own.npz").label_names == ("b", "a", "c")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    ragged = np.empty(2, object)
    ragged[:] = [TRAIN[0], TRAIN[1, :2]]
    np.savez(tmp_path / "own.npz", images=ragged)
    with pytest.raises(DistvaeError, match=r"never unpickled"):
        opened(tmp_path / "own.npz")
    np.save(tmp_path / "own.npy", ragged)
    with pytest.raises(DistvaeError, match=r"never unpickled.*np\.stack"):
        opened(tmp_path / "own.npy")


def test_labels_and_images_are_as_many(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=TRAIN, labels=LABELS[1:])
    with pytest.raises(DistvaeError, match="12 images and 11 labels"):
        opened(tmp_path / "own.npz")


def idx(array: NDArray[Any], kind: int = 8) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("style", ["{}-images-idx3-ubyte", "emnist-x-{}-images.idx3-ubyte"])
def test_idx_folders(tmp_path: Path, zipped: bool, style: str) -> None:
    for name, images, labels in (
        ("train", TRAIN, LABELS),
        ("test" if "emnist" in style else "t10k", TEST, TEST_LABELS),
    ):
        for part, content in (("images", idx(images)), ("labels", idx(labels.astype(np.uint8)))):
            file = style.format(name).replace("images", part)
            file = file.replace("idx3", "idx1") if part == "labels" else file
            path = tmp_path / "raw" / (file + ".gz" * zipped)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(content) if zipped else content)
    data = opened(tmp_path / "raw")
    assert_holds(data, TRAIN, TEST, LABELS)
    one = next(path for path in (tmp_path / "raw").iterdir() if "train-images" in path.name)
    assert opened(one).fingerprint == data.fingerprint
    one.write_bytes(one.read_bytes()[:-9])
    with pytest.raises(DistvaeError, match="cannot be read as an IDX file"):
        opened(tmp_path / "raw")


def cifar(count: int, labels: NDArray[Any], seed: int) -> tuple[NDArray[np.uint8], bytes]:
    images = noise(count, 3, 32, 32, seed=seed)
    rows = np.concatenate([labels.astype(np.uint8), images.reshape(count, -1)], axis=1)
    return images.transpose(0, 2, 3, 1), rows.tobytes()


def test_cifar_10(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    batches = [cifar(4, np.arange(4)[:, None] + 4 * number, number) for number in range(2)]
    for number, (_, content) in enumerate(batches, start=1):
        (folder / f"data_batch_{number}.bin").write_bytes(content)
    test, content = cifar(3, np.array([[0], [9], [5]]), 7)
    (folder / "test_batch.bin").write_bytes(content)
    names = [f"kind {number}" for number in range(10)]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    for path in (folder, tmp_path):  # also the folder above
        data = opened(path)
        assert_holds(data, np.concatenate([images for images, _ in batches]), test, range(8))
        assert data.label_names == tuple(names)
    (folder / "test_batch.bin").write_bytes(content[:-1])
    with pytest.raises(DistvaeError, match=r"test_batch\.bin has .* bytes"):
        opened(folder)


def test_cifar_100(tmp_path: Path) -> None:
    train, content = cifar(5, np.array([[0, 7], [1, 8], [0, 9], [1, 7], [1, 99]]), 0)
    (tmp_path / "train.bin").write_bytes(content)
    (tmp_path / "test.bin").write_bytes(content)
    data = opened(tmp_path)
    assert_holds(data, train, train, [0, 1, 2, 0, 3])  # without names: the numbers that there are
    assert data.label_names == ("7", "8", "9", "99")
    (tmp_path / "coarse_label_names.txt").write_text("left\nright\n")
    coarse = opened(tmp_path, label_column="coarse")
    assert (coarse.label_names, coarse.train.labels.tolist()) == (  # type: ignore[union-attr]
        ("left", "right"),
        [0, 1, 0, 1, 1],
    )
    assert any("--label-column coarse" in note for note in data.notes)


def test_the_python_version_of_cifar_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x00.")
    for path in (tmp_path, tmp_path / "data_batch_1"):
        with pytest.raises(DistvaeError, match=r"pickle"):
            opened(path)
    with pytest.raises(DistvaeError, match=r"cifar-10-binary\.tar\.gz"):
        opened(tmp_path)


FEATURES = {
    "lists": None,
    "Array2D": datasets.Array2D((6, 5), "uint8"),
    "flat": "flat",
    "Array3D": datasets.Array3D((8, 8, 3), "uint8"),
}


@pytest.mark.parametrize("kind", FEATURES)
def test_columns_of_arrays(tmp_path: Path, kind: str) -> None:
    images = COLOUR if kind == "Array3D" else noise(12, 25) if kind == "flat" else TRAIN
    cells = {"image": list(images), "label": (LABELS % 2).tolist()}
    feature = FEATURES[kind]
    features = None
    if isinstance(feature, datasets.Array2D | datasets.Array3D):
        features = datasets.Features(image=feature, label=datasets.Value("int64"))
    table = datasets.Dataset.from_dict(cells, features=features)
    table.to_parquet(str(tmp_path / "train.parquet"))
    data = opened(tmp_path / "train.parquet", split_test="train")
    expected = images.reshape(12, 5, 5) if kind == "flat" else images
    assert_holds(data, expected, expected, LABELS % 2)
    with pytest.raises(DistvaeError, match="holds numbers"):
        opened(tmp_path / "train.parquet", split_test="train", streaming=True)


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    cells = {"image": [TRAIN[0].tolist()] * 3 + [TRAIN[0, :, :4].tolist()], "label": [0, 1, 0, 1]}
    datasets.Dataset.from_dict(cells).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(DistvaeError, match="different shapes"):
        opened(tmp_path / "train.parquet")


def write_zip(path: Path, kind: int) -> None:
    """An npz of 70 MB of black images; numpy would write it by deflate."""
    content = BytesIO()
    np.save(content, np.zeros((70, 1000, 1000), np.uint8))
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("images.npy", content.getvalue())


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_without_end_is_refused_before_it_is(tmp_path: Path, kind: int) -> None:
    write_zip(tmp_path / "x.npz", kind)
    tracemalloc.start()
    with pytest.raises(DistvaeError, match=r"images\.npy would unpack from [\d,]+ to 70,000,128"):
        opened(tmp_path / "x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25


def test_an_idx_file_is_not_unpacked_beyond_its_header(tmp_path: Path) -> None:
    for name, count in (("short", 1), ("long", 70)):
        path = tmp_path / name / "train-images-idx3-ubyte.gz"
        path.parent.mkdir()
        header = struct.pack(">BBBB3I", 0, 0, 8, 3, count, 1000, 1000)
        path.write_bytes(gzip.compress(header + bytes(70_000_000)))
    with pytest.raises(DistvaeError, match=r"header tells of \(1, 1000, 1000\) numbers"):
        opened(tmp_path / "short")
    with pytest.raises(DistvaeError, match=r"would unpack from [\d,]+ to 70,000,000 bytes"):
        opened(tmp_path / "long")


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (1, 8, 8)])
def test_files_of_one_image_each(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = noise(12, *shape)
    (tmp_path / "own").mkdir()
    for number, image in enumerate(images):
        np.save(tmp_path / "own" / f"slice_{number}.npy", image)
    data = opened(tmp_path / "own", split_test="train")
    expected = images.transpose(0, 3, 1, 2) if shape[-1] == 3 else images.reshape(12, 1, 8, 8)
    np.testing.assert_array_equal(data.train.images, expected)
    assert any("each of 12 files is one image" in note for note in data.notes)


def test_files_of_images_and_what_goes_with_them_are_not_one_image_each(tmp_path: Path) -> None:
    images = noise(12, 64)
    (tmp_path / "own").mkdir()
    for name in ("images", "masks", "edges"):
        np.save(tmp_path / "own" / f"{name}.npy", images)
    data = opened(tmp_path / "own")
    assert len(data.train) + len(data.test) == 12
    assert any("left out: arrays" in note for note in data.notes)


def test_arrays_in_class_folders_and_zips_are_told_how_to_bring_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        np.save(tmp_path / "own" / name / "0.npy", noise(1, 8, 8)[0])
    with pytest.raises(DistvaeError, match=r"2 \.npy.*np\.stack\(images\)"):
        opened(tmp_path / "own")
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.write(tmp_path / "own" / "a" / "0.npy", "images.npy")
    with pytest.raises(DistvaeError, match=r"1 \.npy.*unpack the zip"):
        opened(tmp_path / "own.zip")
