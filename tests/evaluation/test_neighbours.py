import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from distvae.data.store import ImageData, Split
from distvae.domains import domain_of
from distvae.evaluation.ensemble import Ensemble
from distvae.evaluation.features import JudgeFeatures, Pixels
from distvae.evaluation.neighbours import (
    COLUMNS,
    Neighbours,
    Search,
    find_neighbours,
    neighbour_metrics,
    write_neighbours,
)

PIXELS = Pixels(torch.device("cpu"))


class Replay:
    """Gives images of a split back, each label in the split's order, again and again."""

    def __init__(self, split: Split, conditional: bool = True) -> None:
        self.domain = domain_of(split.images.shape[1:])
        self.images = torch.from_numpy(split.images.copy()).float() / 255
        self.labels = torch.from_numpy(split.labels)
        self.conditional = conditional
        self.asked: list[list[int]] = []

    def sample_batches(
        self, labels: Sequence[int | str] | None, n: int, seed: int
    ) -> Iterator[Tensor]:
        if labels is None:
            yield self.images[torch.arange(n) % len(self.images)]
            return
        self.asked.append([int(label) for label in labels])
        seen = dict.fromkeys(range(3), seed)
        for label in self.asked[-1]:
            own = self.images[self.labels == label]
            yield own[(seen[label] + torch.arange(n)) % len(own)]
            seen[label] += n


def found_of(generated: Sequence[float], test: Sequence[float]) -> Neighbours:
    nothing = torch.zeros(0)
    return Neighbours((torch.tensor(generated),), (torch.tensor(test),), nothing, nothing)


def test_finds_the_nearest_point_in_any_number_of_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, points = torch.rand(50, 7, generator=generator), torch.rand(90, 7, generator=generator)
    queries[3] = points[70]
    expected = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    for size in (1, 13, 90):
        search = Search(queries)
        for block in torch.split(points, size):
            search.among(block)
        assert torch.equal(search.rows, expected.indices)
        torch.testing.assert_close(search.distances, expected.values)
        assert search.distances[3] == 0.0


@pytest.mark.parametrize("conditional", [True, False])
def test_copies_of_training_images_are_told(patterns: ImageData, conditional: bool) -> None:
    told: list[int] = []
    model = Replay(patterns.train, conditional)
    found = find_neighbours(model, patterns, [PIXELS], count=150, advance=told.append)
    scores = dict(neighbour_metrics(found))
    assert scores["neighbour_distance_ratio"] == 0.0
    assert scores["copies"] == 1.0
    assert sum(told) == 300
    assert [len(found) for found in found.generated] == [150]
    copied = torch.from_numpy(patterns.train.images[found.rows.numpy()]).float() / 255
    assert torch.equal(copied, found.images)


def test_unseen_images_are_as_far_as_unseen_images(patterns: ImageData, judges: Ensemble) -> None:
    for spaces in ([PIXELS], [JudgeFeatures(judge) for judge in judges.members]):
        found = find_neighbours(Replay(patterns.test), patterns, spaces, count=240)
        scores = dict(neighbour_metrics(found))
        assert scores["neighbour_distance_ratio"] == pytest.approx(1.0, abs=1e-4)
        assert scores["copies"] == pytest.approx(0.01, abs=0.005)
    assert all((test > 0.0).all() for test in found.test)
    assert len(found.test) == 5


def test_draws_labels_as_they_are_in_the_test_split(patterns: ImageData) -> None:
    assert patterns.test.labels is not None
    rare = Split.of_images(patterns.test.images[:100], np.repeat([0, 2], [80, 20]).astype(np.int64))
    model = Replay(patterns.train)
    found = find_neighbours(model, dataclasses.replace(patterns, test=rare), [PIXELS], count=50)
    pictured, drawn = sorted(model.asked, key=len)
    assert np.bincount(drawn, minlength=3).tolist() == [40, 0, 10]
    assert pictured == [0, 1, 2]
    assert len(found.images) == 3 * COLUMNS


def test_figures_are_means_and_shares_with_their_errors() -> None:
    test = [float(number) for number in range(1, 202)]
    scores = dict(neighbour_metrics(found_of([2.0, 3.5, 100.0, 98.5], test)))
    assert scores["neighbour_distance_ratio"] == pytest.approx(51 / 101)
    spread = torch.tensor([2.0, 3.5, 100.0, 98.5]).var().item() / 4
    other = torch.tensor(test).var().item() / 201
    expected = math.sqrt(spread + (51 / 101) ** 2 * other) / 101
    assert scores["neighbour_distance_ratio_standard_error"] == pytest.approx(expected)
    assert scores["copies"] == 0.25  # the hundredth lies at 3
    expected = math.sqrt(0.1875 / 4 + 0.25 / 16 + 0.0099 / 201)
    assert scores["copies_standard_error"] == pytest.approx(expected)


def test_no_ratio_where_the_test_images_were_trained_on(patterns: ImageData) -> None:
    data = dataclasses.replace(patterns, test=patterns.train)
    scores = dict(neighbour_metrics(find_neighbours(Replay(patterns.train), data, [PIXELS])))
    assert set(scores) == {"copies", "copies_standard_error"}


@pytest.mark.parametrize(("conditional", "rows"), [(True, 3), (False, 5)])
def test_draws_pairs_one_above_the_other(
    conditional: bool, rows: int, patterns: ImageData, tmp_path: Path
) -> None:
    found = find_neighbours(Replay(patterns.test, conditional), patterns, [PIXELS], count=20)
    write_neighbours(tmp_path / "neighbours.png", patterns, found)
    with Image.open(tmp_path / "neighbours.png") as picture:
        sheet = np.asarray(picture)
    factor = sheet.shape[1] // (COLUMNS * 10 - 2)
    assert factor > 1
    small = sheet[::factor, ::factor].transpose(2, 0, 1)
    assert small.shape == (3, rows * 18 - 2, COLUMNS * 10 - 2)
    row, column = rows - 1, 4
    number = row * COLUMNS + column
    pair = small[:, row * 18 : row * 18 + 16, column * 10 : column * 10 + 8]
    assert np.array_equal(pair[:, :8], (found.images[number] * 255).round().byte().numpy())
    assert np.array_equal(pair[:, 8:], patterns.train.images[int(found.rows[number])])
