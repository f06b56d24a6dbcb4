"""Pictures of how columns of numbers are distributed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distvae.marginals import BAR, MOST, histograms, write_marginals


def test_shares_are_those_of_a_count() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=400).astype(np.float32)
    drawn = (3.0 + random.normal(size=900)).astype(np.float32)
    bars, steps, (low, high) = histograms(real, drawn)
    assert len(bars) == len(steps) == 20
    np.testing.assert_allclose([bars.sum(), steps.sum()], 1.0)
    edges = np.linspace(low, high, 21)
    for place in (3, 10):
        inside = (real >= edges[place]) & (real < edges[place + 1])
        assert bars[place] == pytest.approx(inside.mean(), abs=1 / 400)
    # what lies beyond an end is counted at it
    assert bars[0] == pytest.approx((real < edges[1]).mean(), abs=1 / 400)
    assert (real < low).any()
    assert bars[:5].sum() > steps[:5].sum()


def test_a_column_that_never_changes_has_an_axis() -> None:
    still = np.full(9, 1e6, np.float32)
    bars, steps, (low, high) = histograms(still, still)
    assert low < 1e6 < high
    assert bars.max() == steps.max() == 1.0


def test_the_picture_has_a_bar_where_the_numbers_are(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    real = random.uniform(size=(500, MOST + 2)).astype(np.float32)
    names = [f"column {number} of a long name" for number in range(MOST + 2)]
    write_marginals(tmp_path / "all.png", names, real, real)
    write_marginals(tmp_path / "one.png", names[:1], real[:, :1] ** 8, real[:, :1])
    shares = []
    for path in ("all.png", "one.png"):
        pixels = np.asarray(Image.open(tmp_path / path).convert("RGB"))
        shares.append(float((pixels == BAR).all(-1).mean()))
    # even numbers fill their axes; those near zero a bar of it
    assert shares[0] > 2 * shares[1] > 0
