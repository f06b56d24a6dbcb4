"""Grey levels, sheets and PNG files, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distvae.images import (
    BACKGROUND,
    PADDING,
    SHEET_PIXELS,
    grid,
    paired,
    save_grid,
    save_png,
    to_uint8,
)


def random_images(count: int, channels: int, height: int, width: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def test_levels_are_rounded_and_cut() -> None:
    levels = np.arange(256)
    assert to_uint8(levels / 255).tolist() == levels.tolist()
    assert to_uint8((levels.astype(np.float32) + np.float32(0.4)) / 255).tolist() == [
        *range(255),
        255,
    ]
    found = to_uint8(np.array([-1.0, -0.001, 0.0, 1.0, 1.001, 9.0]))
    assert found.tolist() == [0, 0, 0, 255, 255, 255]
    assert found.dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns", "rows"), [(6, 3, 2), (7, 3, 3), (1, 1, 1), (2, 5, 1)])
def test_each_image_lies_in_its_cell(count: int, columns: int, rows: int, channels: int) -> None:
    height, width = 4, 6
    images = random_images(count, channels, height, width)
    sheet = grid(images, columns)
    down, right = height + PADDING, width + PADDING
    assert sheet.shape == (channels, rows * down - PADDING, columns * right - PADDING)
    border = np.ones(sheet.shape[1:], bool)
    for cell in range(rows * columns):
        top, left = cell // columns * down, cell % columns * right
        area = sheet[:, top : top + height, left : left + width]
        border[top : top + height, left : left + width] = False
        if cell < count:
            np.testing.assert_array_equal(area, images[cell])
        else:
            assert (area == BACKGROUND).all()
    assert (sheet[:, border] == BACKGROUND).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_png_comes_back_exactly(tmp_path: Path, channels: int, mode: str) -> None:
    image = random_images(1, channels, 5, 9)[0]
    path = tmp_path / "new" / "a.png"
    save_png(path, image)
    with Image.open(path) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", mode, (9, 5))
        found = np.asarray(opened)
    np.testing.assert_array_equal(found.reshape(5, 9, channels), image.transpose(1, 2, 0))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("side", [1, 8, 28, 600])
def test_a_small_sheet_is_enlarged_by_a_whole_factor(tmp_path: Path, side: int) -> None:
    images = random_images(4, 3, side, side)
    save_grid(tmp_path / "sheet.png", images, 2)
    with Image.open(tmp_path / "sheet.png") as opened:
        found = np.asarray(opened).transpose(2, 0, 1)
    small = grid(images, 2)
    factor = found.shape[1] // small.shape[1]
    assert factor >= 1
    assert factor == 1 or SHEET_PIXELS / 2 < found.shape[1] <= SHEET_PIXELS
    np.testing.assert_array_equal(found, np.kron(small, np.ones((1, factor, factor), np.uint8)))


@pytest.mark.parametrize(("count", "columns"), [(7, 3), (6, 3), (1, 1), (2, 3), (51, 10), (0, 4)])
def test_each_image_of_a_pair_lies_above_the_other(count: int, columns: int) -> None:
    above, below = random_images(2 * count, 3, 4, 6).reshape(2, count, 3, 4, 6)
    cells = paired(above, below, columns)
    rows = -(-count // columns)
    assert cells.shape == (2 * rows * columns, 3, 4, 6)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        top, bottom = (cells[(2 * row + half) * columns + column] for half in (0, 1))
        if number < count:
            np.testing.assert_array_equal(top, above[number])
            np.testing.assert_array_equal(bottom, below[number])
        else:
            assert (top == BACKGROUND).all()
            assert (bottom == BACKGROUND).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [4, 28, 300])
def test_rows_are_named_and_the_images_stay(tmp_path: Path, channels: int, side: int) -> None:
    images = random_images(5, channels, side, side)
    save_grid(tmp_path / "bare.png", images, 2)
    names = ("seven", "eight [bold]", "a name of a row that is longer than its sheet is wide" * 2)
    save_grid(tmp_path / "named.png", images, 2, names, "what is seen " * 9)
    with Image.open(tmp_path / "bare.png") as opened:
        bare = np.asarray(opened)
    with Image.open(tmp_path / "named.png") as opened:
        named = np.asarray(opened)
    above, left = (named.shape[axis] - bare.shape[axis] for axis in (0, 1))
    assert above > 0
    np.testing.assert_array_equal(named[above:, left:], bare)
    step = bare.shape[0] / 3
    for row in range(3):  # text in the middle of each row, none between them
        margin = named[above + int(row * step) : above + int((row + 1) * step), :left]
        assert (margin != BACKGROUND).any()
    assert (named[:above] != BACKGROUND).any()
    assert (named[above:, :2] == BACKGROUND).all()
