"""Curves of a run against the numbers that they show."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distvae.curves import ABOVE, COLOURS, HEIGHT, LEFT, TOP, WIDTH, curves_of, ticks, write_curves


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """A folder with the log of ten epochs: a hundred lines an epoch, and an evaluation each."""
    lines = [
        {"step": step, "epoch": step / 100, "split": "train", "elbo": -1000.0 / step, "rate": 2.0}
        for step in range(1, 1001)
    ]
    lines += [
        {"step": 100 * epoch, "epoch": epoch, "split": "test", "elbo": -float(epoch)}
        for epoch in range(1, 11)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(f'{text}{{"step": 7, "epo')  # cut by a crash
    return tmp_path


def test_curves_are_means_of_neighbours(logged: Path) -> None:
    elbo = curves_of(logged)["elbo"]
    assert set(curves_of(logged)) == {"elbo", "rate"}
    expected = (-1000.0 / np.arange(1, 1001)).reshape(500, 2).mean(1)
    np.testing.assert_allclose(elbo["train"].values, expected)
    np.testing.assert_allclose(elbo["test"].epochs, np.arange(1, 11))


def test_a_value_is_drawn_at_its_place(logged: Path) -> None:
    path = write_curves(logged)
    assert path is not None
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    panel = pixels[TOP + ABOVE :, LEFT : LEFT + WIDTH + 4]
    red = np.abs(panel - COLOURS["test"]).sum(-1) < 60
    heights = []
    for epoch in (2, 5, 8):  # a line that falls evenly, as its numbers do
        rows = red[:HEIGHT, WIDTH * epoch // 10 - 1 : WIDTH * epoch // 10 + 2].any(1).nonzero()[0]
        heights.append(rows.mean())
    assert heights[0] < heights[1] < heights[2]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=1.5)


def test_nothing_measured_is_no_picture(tmp_path: Path) -> None:
    assert write_curves(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text("")
    assert write_curves(tmp_path) is None
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-103.0, -87.0), (0.0, 0.002), (1e5, 1e7), (0, 2.35)])
def test_ticks_are_round_and_inside(ends: tuple[float, float]) -> None:
    found = ticks(*ends)
    assert 2 <= len(found) <= 7
    assert all(ends[0] <= tick <= ends[1] for tick in found)
    assert all(len(f"{abs(tick):.12g}".strip("0.").replace(".", "")) <= 4 for tick in found)
