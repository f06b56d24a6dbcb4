"""--only-label: the examples of some labels alone."""

from pathlib import Path

import numpy as np
import pytest

from distvae.config import DataConfig
from distvae.data.store import open_data
from distvae.errors import DistvaeError

LABELS = np.repeat(np.arange(4), 30)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Images whose pixels tell their label, in two splits."""
    pixels = np.broadcast_to(80 * LABELS[:, None, None], (120, 8, 8)).astype(np.uint8)
    path = tmp_path / "whole.npz"
    test = pixels[::3], LABELS[::3]
    np.savez(path, x_train=pixels, y_train=LABELS, x_test=test[0], y_test=test[1])
    return path


def test_other_labels_are_left_out_of_every_split(whole: Path) -> None:
    config = DataConfig(str(whole), only_label="3,1", split_validation="held-out")
    data = open_data(config)
    assert data.label_names == ("1", "3")
    assert data.validation is not None
    for split, count in ((data.train, 54), (data.validation, 6), (data.test, 20)):
        assert len(split) == count
        assert split.labels is not None
        assert (split.images[:, 0, 0, 0] == np.array([80, 240])[split.labels]).all()
        assert np.bincount(split.labels).tolist() == [count // 2, count // 2]
    assert "of label 1, 3 alone, as --only-label 3,1 asks: 60 of train, 20 of test" in data.notes
    others = open_data(DataConfig(str(whole)))
    assert len(others.train) == 120
    assert others.fingerprint != data.fingerprint
    assert len(open_data(DataConfig(str(whole), only_label="0-2")).train) == 90


def test_what_is_not_there_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(DistvaeError, match="label 7 is not in"):
        open_data(DataConfig(str(whole), only_label="7"))
    np.savez(tmp_path / "bare.npz", x_train=np.zeros((20, 8, 8), np.uint8))
    with pytest.raises(DistvaeError, match=r"bare\.npz has no labels"):
        open_data(DataConfig(str(tmp_path / "bare.npz"), only_label="7"))
    pixels = np.zeros((40, 8, 8), np.uint8)
    known = np.arange(40) % 2, np.zeros(4, int)
    path = tmp_path / "half.npz"
    np.savez(path, x_train=pixels, y_train=known[0], x_test=pixels[:4], y_test=known[1])
    with pytest.raises(DistvaeError, match=r"split test .* has none"):
        open_data(DataConfig(str(tmp_path / "half.npz"), only_label="1"))
