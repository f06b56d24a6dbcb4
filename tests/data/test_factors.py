"""Sprites are what geometry says they are, and a grid knows the factors of each image."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.factors import classes_of, values_of
from distvae.data.sources.sprites import GRIDS, HALF_AXES, HALF_SIDE, HEART, SHAPES, render
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from distvae.evaluation.factor_grid import FactorData
from tests.data.conftest import write_folder
from tests.data.grids import SIDE, SIZES, grid_arrays, write_grid

SQUARE, ELLIPSE, HEARTS = 1.0, 2.0, 3.0


def sprite(
    shape: float,
    scale: float = 1.0,
    turn: float = 0.0,
    x: float = 0.5,
    y: float = 0.5,
    side: int = 64,
) -> NDArray[np.bool_]:
    image: NDArray[np.bool_] = render(np.array([[shape, scale, turn, x, y]]), side)[0] > 0
    return image


def centroid(image: NDArray[np.bool_]) -> tuple[float, float]:
    """(x, y) in 64ths of the side."""
    rows, columns = np.nonzero(image)
    unit = 64 / len(image)
    return (columns.mean() + 0.5) * unit, (rows.mean() + 0.5) * unit


def heart_area() -> float:
    """Integral over x of the height of x^2 + y^2 - x^(2/3) y = 1, by the midpoint rule."""
    count = 1_000_000
    x = (np.arange(count) + 0.5) * (1.2 / count)
    height = np.sqrt(np.maximum(0.0, x ** (4 / 3) + 4 - 4 * x**2))
    return float(2 * height.sum() * 1.2 / count)


AREAS = {
    SQUARE: (2 * HALF_SIDE) ** 2,
    ELLIPSE: np.pi * HALF_AXES[0] * HALF_AXES[1],
    HEARTS: heart_area() * HEART**2,
}


@pytest.mark.parametrize("shape", AREAS)
@pytest.mark.parametrize("scale", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("turn", [0.0, 1.1])
def test_area(shape: float, scale: float, turn: float) -> None:
    side = 512
    pixel = 64 / side
    area = sprite(shape, scale, turn, 0.3, 0.8, side).sum() * pixel**2
    expected = AREAS[shape] * scale**2
    assert area == pytest.approx(expected, abs=4 * expected**0.5 * pixel / 2)


@pytest.mark.parametrize("shape", AREAS)
@pytest.mark.parametrize("turn", [0.0, 2.0])
def test_the_centre_is_where_the_position_says(shape: float, turn: float) -> None:
    for x, y in itertools.product((0.0, 0.4, 1.0), repeat=2):
        found = centroid(sprite(shape, 0.8, turn, x, y, side=256))
        assert found == pytest.approx((16.5 + 31 * x, 16.5 + 31 * y), abs=0.05)


@pytest.mark.parametrize("shape", AREAS)
def test_the_next_position_is_the_next_pixel(shape: float) -> None:
    here = sprite(shape, 0.9, 1.0, 10 / 31, 20 / 31)
    np.testing.assert_array_equal(sprite(shape, 0.9, 1.0, 11 / 31, 20 / 31), np.roll(here, 1, 1))
    np.testing.assert_array_equal(sprite(shape, 0.9, 1.0, 10 / 31, 21 / 31), np.roll(here, 1, 0))


@pytest.mark.parametrize(("shape", "turns"), [(SQUARE, 4), (ELLIPSE, 2), (HEARTS, 1)])
def test_symmetry(shape: float, turns: int) -> None:
    images = [sprite(shape, 1.0, 0.3 + number * np.pi / 2) for number in range(5)]
    same = [number for number in range(5) if np.array_equal(images[0], images[number])]
    assert same == list(range(0, 5, 4 // turns))


def test_the_ellipse_lies_along_the_rotation() -> None:
    for turn in (0.2, 1.0, 2.5):
        rows, columns = np.nonzero(sprite(ELLIPSE, 1.0, turn, side=256))
        _, axes = np.linalg.eigh(np.cov(columns, rows))
        angle = np.arctan2(axes[1, 1], axes[0, 1]) % np.pi
        assert angle == pytest.approx(turn, abs=0.01)


def test_the_heart_stands_upright() -> None:
    heart = sprite(HEARTS)
    np.testing.assert_array_equal(heart, heart[:, ::-1])
    widths = heart.sum(1)[heart.any(1)]
    assert widths[-1] <= 4
    assert widths.argmax() < len(widths) / 2


@pytest.mark.parametrize("side", [64, 32])
def test_nothing_is_cut_off(side: int) -> None:
    for shape, turn in itertools.product(AREAS, np.linspace(0, 2 * np.pi, 40)):
        for corner in (0.0, 1.0):
            image = sprite(shape, 1.0, float(turn), corner, corner, side)
            assert not image[[0, -1]].any()
            assert not image[:, [0, -1]].any()


def test_the_grid_is_that_of_dsprites() -> None:
    factors = GRIDS["sprites"].factors
    assert [factor.name for factor in factors] == ["shape", "scale", "rotation", "x", "y"]
    assert np.prod([len(factor.values) for factor in factors]) == 737_280
    published = {"scale": 0.6, "rotation": 0.16110732, "x": 0.03225806, "y": 0.03225806}
    second = {factor.name: factor.values[1] for factor in factors if not factor.categorical}
    assert second == pytest.approx(published, abs=1e-8)
    rows = np.array([0, 1, 32, 32 * 32, 40 * 32 * 32, 737_279])
    expected = [[0] * 5, [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]
    np.testing.assert_array_equal(classes_of(factors, rows), [*expected, [2, 5, 39, 31, 31]])


def test_a_whole_turn_is_the_only_repetition_among_hearts() -> None:
    grid = GRIDS["sprites"]
    rows = (2 * 6 + 5) * 40 * 1024 + np.arange(40) * 1024 + 500
    images = grid.draw(rows, 64).reshape(40, -1)
    assert len(np.unique(images, axis=0)) == 39
    np.testing.assert_array_equal(images[0], images[39])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    cache = str(tmp_path_factory.mktemp("sprites"))
    return open_data(DataConfig(data="sprites:small", cache_dir=cache))


def test_the_small_grid_has_images_of_the_large_one(small: ImageData) -> None:
    assert small.image_shape == (1, 32, 32)
    assert (small.name, len(small.train), len(small.test)) == ("sprites-small", 20_736, 2_304)
    large = GRIDS["sprites"].factors
    for part, whole in zip(small.factors, large, strict=True):
        assert set(part.values) <= set(whole.values)


def test_each_row_of_the_store_is_the_image_of_its_factors(small: ImageData) -> None:
    data = FactorData.of(small)
    rows = np.arange(len(data))
    np.testing.assert_array_equal(data.rows(data.classes(rows)), rows)
    chosen = np.random.default_rng(0).permutation(rows)[:3000]
    values = values_of(data.factors, data.classes(chosen))
    np.testing.assert_array_equal(data.images(chosen)[:, 0], render(values, 32))
    for split in (small.train, small.test):
        assert split.rows is not None
        np.testing.assert_array_equal(split.labels, data.classes(split.rows)[:, 0])
        np.testing.assert_array_equal(split.images[:50], data.images(split.rows[:50]))
    assert small.label_names == tuple(SHAPES)


def test_small_images_differ_wherever_they_can(small: ImageData) -> None:
    data = FactorData.of(small)
    classes = data.classes(np.arange(len(data)))
    hearts = classes[:, 0] == 2  # what is symmetric may look alike after a half turn
    for chosen in np.flatnonzero(classes[:, 2] == 0), np.flatnonzero(hearts):
        pixels = data.images(chosen).reshape(len(chosen), -1)
        assert len({image.tobytes() for image in pixels}) == len(chosen)


def test_sprites_are_drawn_in_any_size(tmp_path: Path) -> None:
    data = open_data(
        DataConfig(data="sprites:small", image_size=9, channels=3, cache_dir=str(tmp_path))
    )
    assert data.image_shape == (3, 9, 9)
    rows = np.arange(0, 23_040, 1000)
    drawn = GRIDS["sprites:small"].draw(rows, 9)
    np.testing.assert_array_equal(FactorData.of(data).images(rows)[:, 1], drawn)


def test_dsprites_own_file(tmp_path: Path) -> None:
    trap = tmp_path / "unpickled"
    data = open_data(DataConfig(data=str(write_grid(tmp_path / "dsprites.npz", trap))))
    assert not trap.exists()
    grid = FactorData.of(data)
    rows = np.arange(len(grid))
    arrays = grid_arrays()
    np.testing.assert_array_equal(grid.images(rows)[:, 0], 255 * arrays["imgs"])
    np.testing.assert_array_equal(grid.classes(rows), arrays["latents_classes"][:, 1:])
    found = values_of(grid.factors, grid.classes(rows))
    np.testing.assert_array_equal(found, arrays["latents_values"][:, 1:])
    assert [factor.categorical for factor in grid.factors] == [True, False, False, False, False]
    assert (data.name, data.label_names) == ("dsprites", tuple(SHAPES))
    assert (grid.sizes, data.image_shape) == (SIZES[1:], (1, SIDE, SIDE))


def grey() -> NDArray[Any]:
    return 2 * grid_arrays()["imgs"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"imgs": None}, "imgs"),
        ({"latents_classes": None}, "latents_classes"),
        ({"imgs": grey()}, "expected 0 and 1"),
        ({"imgs": grid_arrays()["imgs"].astype(np.float32)}, "float32"),
        ({"imgs": grid_arrays()["imgs"][1:]}, "expected uint8 (216, height, width)"),
        ({"latents_classes": grid_arrays()["latents_classes"][::-1]}, "no complete grid"),
        ({"latents_classes": grid_arrays()["latents_classes"][:, 1:]}, "no complete grid"),
        ({"latents_values": grid_arrays()["latents_values"] + 1}, "shape"),
    ],
)
def test_another_npz_is_refused(tmp_path: Path, changed: Any, words: str) -> None:
    path = write_grid(tmp_path / "other.npz", **changed)
    with pytest.raises(DistvaeError) as refusal:
        open_data(DataConfig(data=str(path)))
    assert words in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = write_grid(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DistvaeError, match=r"cut\.npz cannot be read"):
        open_data(DataConfig(data=str(path)))


def test_other_data_has_no_factors(tmp_path: Path) -> None:
    data = open_data(DataConfig(data=str(write_folder(tmp_path / "trees"))))
    with pytest.raises(DistvaeError, match=r"factors of .*trees are not known.*sprites:small"):
        FactorData.of(data)


def test_a_misspelt_name_is_guessed() -> None:
    with pytest.raises(DistvaeError, match="Did you mean sprites:small"):
        open_data(DataConfig(data="sprites:smal"))
