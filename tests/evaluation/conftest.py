from pathlib import Path

import numpy as np
import pytest

from distvae.data.store import ImageData, Split
from distvae.evaluation.ensemble import Ensemble, get_judges

NAMES = ("stripes", "bars", "dots")


def draw(count: int, seed: int) -> Split:
    """Noisy 8 x 8 RGB patterns of three kinds, in turn, each in a random colour."""
    generator = np.random.default_rng(seed)
    row, column = np.indices((8, 8))
    shapes = np.stack([row // 2 % 2, column // 2 % 2, (row // 2 + column // 2) % 2])
    labels = np.arange(count) % 3
    colours = generator.uniform(80, 220, size=(count, 3, 1, 1))
    noise = generator.normal(0, 15, size=(count, 3, 8, 8))
    images = (shapes[labels][:, None] * colours + noise).clip(0, 255).astype(np.uint8)
    return Split.of_images(images, labels.astype(np.int64))


@pytest.fixture(scope="session")
def patterns() -> ImageData:
    return ImageData(
        name="patterns",
        source="patterns",
        fingerprint="0123456789abcdef",
        train=draw(300, seed=1),
        test=draw(240, seed=2),
        test_origin="own",
        label_names=NAMES,
    )


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judges")


@pytest.fixture(scope="session")
def judges(patterns: ImageData, judge_folder: Path) -> Ensemble:
    return get_judges(patterns, judge_folder)
