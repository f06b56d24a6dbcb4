"""Small real data sets on disk, and caches that live and die with a test."""

import os
import tempfile
from pathlib import Path

# Read when huggingface libraries are first imported, so set before any test module is.
_HUGGINGFACE = tempfile.TemporaryDirectory(prefix="distvae-tests-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = _HUGGINGFACE.name
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from distvae.data.ahead import Epochs  # noqa: E402
from distvae.data.store import ImageData  # noqa: E402
from distvae.data.streamed import StreamedImages  # noqa: E402

CLASSES = ("beech", "fir", "oak")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for decoded images, new for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DISTVAE_CACHE", str(folder))
    return folder


def picture(seed: int, side: int = 8, mode: str = "RGB") -> Image.Image:
    """A picture of noise, square unless resized later."""
    channels = (3,) if mode == "RGB" else ()
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, *channels), dtype=np.uint8)
    return Image.fromarray(noise)


def write_folder(root: Path, count: int = 4, side: int = 8, mode: str = "RGB") -> Path:
    """A folder with ``count`` pictures in one subfolder per class."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture(100 * label + number, side, mode).save(root / name / f"test_{number}.png")
    return root


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """12 colour pictures of 8 x 8 pixels in three class folders."""
    return write_folder(tmp_path / "trees")


def streamed(
    data: ImageData, seed: int = 0, batch: int = 1, rank: int = 0, world_size: int = 1
) -> StreamedImages:
    """The training images of a stream as one of several processes sees them."""
    assert data.stream is not None
    epochs = Epochs(data.stream.images, batch, rank, world_size)
    return StreamedImages(data.stream, data.image_shape, seed, epochs, torch.device("cpu"))
