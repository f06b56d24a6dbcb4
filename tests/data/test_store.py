import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distvae.config import DataConfig
from distvae.data.store import ImageData, open_data
from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.files import write_json
from tests.data.conftest import CLASSES, picture, write_folder


def open_path(path: Path, **settings: Any) -> ImageData:
    return open_data(DataConfig(data=str(path), **settings))


def stores(cache: Path) -> list[Path]:
    """What is in the cache but the digests of files."""
    return [path for path in cache.iterdir() if path.name != ".digests"]


def write_flat(root: Path, *images: Image.Image) -> Path:
    root.mkdir()
    for number, image in enumerate(images):
        image.save(root / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_data(DataConfig(cache_dir=str(tmp_path_factory.mktemp("mnist"))))


def test_mnist_is_the_published_one(mnist: ImageData) -> None:
    assert (mnist.name, mnist.image_shape, mnist.num_labels) == ("mnist", (1, 28, 28), 10)
    assert (len(mnist.train), len(mnist.test), mnist.test_origin) == (60_000, 10_000, "test")
    # The digests of the uncompressed files as they have been published since 1998.
    for split, header, digest in (
        (
            mnist.train,
            "000008030000ea600000001c0000001c",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            mnist.test,
            "00000803000027100000001c0000001c",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
    ):
        published = bytes.fromhex(header) + split.images.tobytes()
        assert hashlib.sha256(published).hexdigest() == digest
    assert mnist.train.labels is not None
    assert mnist.test.labels is not None
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.train.labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    assert np.bincount(mnist.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mnist", "folder"])
def test_a_second_start_needs_no_datasets(kind: str, tmp_path: Path) -> None:
    data = kind if kind == "mnist" else str(write_folder(tmp_path / "trees"))
    code = (
        "import sys, json; from distvae.config import DataConfig\n"
        "from distvae.data.store import open_data\n"
        f"opened = open_data(DataConfig(data={data!r}))\n"
        "print(opened.fingerprint, 'datasets' in sys.modules, 'torch' in sys.modules)"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert second.stdout.split() == [first.stdout.split()[0], "False", "False"]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("side", [8, 256])
def test_stored_pixels_are_those_that_pillow_decodes(
    tmp_path: Path, cache: Path, mode: str, side: int
) -> None:
    for name in ("train", "test"):
        write_folder(tmp_path / "trees" / name, 3, side, mode)
    data = open_path(tmp_path / "trees")
    assert data.image_shape == (1 if mode == "L" else 3, side, side)
    assert (data.name, data.label_names) == ("trees", CLASSES)
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.train.labels.dtype == np.int64
    for stored, file in zip(
        data.train.images, sorted(tmp_path.glob("trees/train/*/*.png")), strict=True
    ):
        decoded = np.asarray(Image.open(file)).reshape(side, side, -1)
        np.testing.assert_array_equal(stored.transpose(1, 2, 0), decoded)
    assert not data.train.images.flags.writeable
    assert [folder.name.split("-")[0] for folder in stores(cache)] == ["trees"]


def test_more_images_than_one_batch_keep_their_order(tmp_path: Path) -> None:
    images = [Image.new("L", (4, 4), number % 256) for number in range(300)]
    root = tmp_path / "many"
    root.mkdir()
    for number, image in enumerate(images):
        image.save(root / f"{number:03}.png")
    data = open_path(root, split_test="train")
    assert data.train.images[:, 0, 0, 0].tolist() == [number % 256 for number in range(300)]


def solid(mode: str, color: Any) -> Image.Image:
    return Image.new(mode, (4, 4), color)


def clear_palette() -> Image.Image:
    image = solid("P", 3)
    image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 10, 20, 30])
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (solid("1", 1), [255]),
        (solid("L", 7), [7]),
        (solid("LA", (200, 0)), [0]),
        (Image.fromarray(np.full((4, 4), 0x9234, np.uint16)), [0x9234]),
        (solid("RGBA", (10, 20, 30, 255)), [10, 20, 30]),
        (solid("RGBA", (10, 20, 30, 0)), [0, 0, 0]),
        (clear_palette(), [10, 20, 30]),
    ],
)
def test_modes(tmp_path: Path, image: Image.Image, expected: list[int]) -> None:
    data = open_path(write_flat(tmp_path / "modes", image, image))
    assert data.train.images[0, :, 0, 0].tolist() == expected


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    (tmp_path / "print").mkdir()
    for number in range(2):
        solid("CMYK", (0, 255, 255, 0)).save(tmp_path / "print" / f"{number}.tif")
    assert open_path(tmp_path / "print").train.images[0, :, 0, 0].tolist() == [255, 0, 0]


def test_mixed_modes_are_colour_or_the_setting(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "mixed", solid("L", 9), solid("RGB", (100, 100, 100)))
    data = open_path(root, split_test="train")
    assert data.train.images[:, :, 0, 0].tolist() == [[9, 9, 9], [100, 100, 100]]
    assert any("in grey: taken as coloured like the others" in note for note in data.notes)
    grey = open_path(root, split_test="train", channels=1)
    assert grey.train.images[:, 0, 0, 0].tolist() == [9, 100]


def test_image_size_scales_the_shorter_side_and_cuts_the_middle(tmp_path: Path) -> None:
    wide = picture(0, 40, "L").resize((40, 10))
    root = write_flat(tmp_path / "wide", wide, picture(1, 20, "L"))
    data = open_path(root, split_test="train", image_size=4)
    assert data.image_shape == (1, 4, 4)
    expected = np.asarray(wide.resize((16, 4), Image.Resampling.LANCZOS).crop((6, 0, 10, 4)))
    np.testing.assert_allclose(data.train.images[0, 0].astype(int), expected, atol=1)


def test_images_that_are_not_square_stay_as_they_are(tmp_path: Path) -> None:
    wide = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    data = open_path(write_flat(tmp_path / "wide", wide, wide))
    np.testing.assert_array_equal(data.train.images[0, 0], np.asarray(wide))


def test_mixed_sizes_are_refused_by_name(tmp_path: Path, cache: Path) -> None:
    root = write_flat(tmp_path / "mixed", picture(0, 8), picture(1, 9))
    with pytest.raises(DistvaeError, match=r"1\.png.* is 9 x 9.*0\.png.* is 8 x 8.*--image-size"):
        open_path(root, split_test="train")
    assert stores(cache) == []


def test_a_broken_image_is_refused_by_name(trees: Path, cache: Path) -> None:
    broken = trees / "fir" / "test_2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DistvaeError, match=rf"cannot read {broken}"):
        open_path(trees, split_test="train")
    assert stores(cache) == []


def test_a_truncated_store_is_built_again(trees: Path, cache: Path) -> None:
    fresh = open_path(trees).train.images.copy()
    [folder] = stores(cache)
    with (folder / "train-images.npy").open("r+b") as file:
        file.truncate(200)
    np.testing.assert_array_equal(open_path(trees).train.images, fresh)
    (folder / "meta.json").write_text(json.dumps({"name": "trees"}))
    np.testing.assert_array_equal(open_path(trees).train.images, fresh)
    assert stores(cache) == [folder]


def test_a_store_from_before_it_named_its_fields_is_opened(
    trees: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = open_path(trees)
    assert fresh.fields == Images(fresh.image_shape).fields
    [folder] = stores(cache)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta.pop("fields") == ["images"]
    write_json(folder / "meta.json", {name: meta[name] for name in meta if name != "sha256"})
    capsys.readouterr()
    again = open_path(trees)
    assert "fields" not in json.loads((folder / "meta.json").read_text()), "built again"
    assert again.digests == fresh.digests
    assert capsys.readouterr() == ("", "")


def test_every_setting_of_the_content_has_its_own_store(trees: Path, cache: Path) -> None:
    for settings in ({}, {"image_size": 4}, {"channels": 1}, {"split_seed": 1}, {}):
        open_path(trees, **settings)
    assert len(stores(cache)) == 4
    picture(50).save(trees / "oak" / "new.png")
    assert len(open_path(trees).train) + len(open_path(trees).test) == 13


def test_who_comes_while_another_decodes_waits_for_it(
    trees: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decoding, done, told = threading.Event(), threading.Event(), []

    @contextmanager
    def slowly(description: str, total: int) -> Iterator[Callable[[int], None]]:
        told.append(description)
        decoding.set()
        assert done.wait(20)
        yield lambda count: None

    opened: list[ImageData] = []
    config = DataConfig(data=str(trees))
    builders = [
        threading.Thread(target=lambda: opened.append(open_data(config, slowly))) for _ in range(2)
    ]
    open_path(trees)  # its files are known
    shutil.rmtree(stores(cache)[0])
    builders[0].start()
    assert decoding.wait(20)
    builders[1].start()
    heard = ""
    while "another process decodes the same images" not in heard:
        heard += capsys.readouterr().out
    done.set()
    for builder in builders:
        builder.join()
    one, two = opened
    np.testing.assert_array_equal(one.train.images, two.train.images)
    assert one.fingerprint == two.fingerprint
    assert told == ["decoding trees train", "decoding trees test"]
    assert len(stores(cache)) == 1


def test_progress_counts_every_image(trees: Path) -> None:
    told: dict[str, list[int]] = {}

    @contextmanager
    def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
        told[description] = [total, 0]

        def advance(count: int) -> None:
            told[description][1] += count

        yield advance

    open_data(DataConfig(data=str(trees)), progress)
    size = sum(file.stat().st_size for file in trees.rglob("*.png"))
    assert told == {
        "reading files": [size, size],
        "decoding trees train": [9, 9],
        "decoding trees test": [3, 3],
    }


def test_a_full_disk_is_told_before_decoding(tmp_path: Path, cache: Path) -> None:
    root = write_flat(tmp_path / "huge", picture(0))
    (root / "list.csv").write_text("image\n" + "0.png\n" * 50_000)
    free = shutil.disk_usage(tmp_path).free
    assert free < 50_000 * 3 * 5000**2, "this disk is too large for the test"
    with pytest.raises(
        DistvaeError, match=r"3 x 5000 x 5000 need 3,750,000\.4 MB in .* MB are free"
    ):
        open_path(root, image_size=5000)
    assert stores(cache) == []


def test_a_cache_that_cannot_be_written_is_named(trees: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DistvaeError,
        match=r"decoded images cannot be written to .*file.*: .*file is no folder.*--cache-dir",
    ):
        open_path(trees, cache_dir=str(tmp_path / "file"))
