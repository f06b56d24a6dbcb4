from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distvae.evaluation.confusion import confusion_metrics, write_confusion

BLUE, WHITE = (8, 81, 156), (255, 255, 255)


def cells(path: Path, count: int, cell: int) -> NDArray[np.uint8]:
    """The colours ``[L, L, 3]`` beside the corners of the cells, away from any number."""
    with Image.open(path) as picture:
        sheet = np.asarray(picture, np.uint8)
    places = len(sheet) - 8 + 3 + cell * np.arange(-count, 0)
    colours: NDArray[np.uint8] = sheet[places][:, places]
    return colours


def test_tells_what_was_taken_for_something_else() -> None:
    one = torch.tensor([[8, 2, 0], [0, 10, 0], [5, 0, 0]])
    other = torch.tensor([[6, 4, 0], [0, 10, 0], [5, 0, 0]])
    found = dict(confusion_metrics(torch.stack([one, other], 2), ("a", "b", "c")))
    errors = [found.pop(f"{name}_standard_error") for name in list(found) if "error" not in name]
    assert found == {
        "judge_confusion/a>b": pytest.approx(0.3),
        "judge_confusion/c>a": 1.0,
    }
    # ten images, and two judges that are 0.2 apart; five images on which both agree
    assert errors == pytest.approx([(0.021 + 0.0025 + 0.01) ** 0.5, 0.1])


def test_draws_right_labels_blue_and_wrong_ones_the_redder_the_more(tmp_path: Path) -> None:
    counts = torch.diag(torch.full((10,), 100))
    counts[3] = torch.tensor([0, 0, 0, 60, 36, 4, 0, 0, 0, 0])
    counts[7] = 0  # asked of none
    write_confusion(tmp_path / "c.png", counts, [str(label) for label in range(10)])
    colours = cells(tmp_path / "c.png", 10, 64)
    assert tuple(colours[0, 0]) == tuple(colours[9, 9]) == BLUE
    assert tuple(colours[0, 1]) == tuple(colours[7, 7]) == WHITE
    red = colours[3, 4].astype(int)
    assert red[0] > red[2] > red[1]
    assert 255 > colours[3, 5, 1] > colours[3, 4, 1]


@pytest.mark.parametrize(("labels", "cell"), [(1, 64), (2, 64), (30, 32), (100, 12)])
def test_takes_any_number_of_labels(labels: int, cell: int, tmp_path: Path) -> None:
    names = [f"a label that is called {label}" for label in range(labels)]
    counts = torch.diag(torch.arange(1, labels + 1))
    write_confusion(tmp_path / "c.png", counts, names)
    colours = cells(tmp_path / "c.png", labels, cell)
    assert np.array_equal((colours == BLUE).all(2), np.eye(labels, dtype=bool))
    with Image.open(tmp_path / "c.png") as picture:
        assert max(picture.size) < 1500


def test_shows_of_many_labels_those_met_least(tmp_path: Path) -> None:
    counts = torch.diag(torch.full((130,), 10))
    counts[40, 40], counts[40, 129], counts[129, 129], counts[129, 40] = 0, 10, 0, 10
    write_confusion(tmp_path / "c.png", counts, ["x"] * 130)
    colours = cells(tmp_path / "c.png", 100, 12)
    assert ((colours != WHITE).any(2).sum(1) == 1).all()
    wrong = ((colours != WHITE).any(2) & (colours != BLUE).any(2)).nonzero()
    assert len(wrong[0]) == 2
    assert wrong[0].tolist() == wrong[1].tolist()[::-1]
