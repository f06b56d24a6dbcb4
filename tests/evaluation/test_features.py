from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distvae.data.batches import ResidentImages
from distvae.data.store import ImageData
from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.evaluation.ensemble import Ensemble
from distvae.evaluation.features import (
    WEIGHTS,
    Inception,
    JudgeFeatures,
    Pixels,
    extract,
    find_extractors,
    inception_weights,
    load_inception,
    real_images,
    spaced,
)

CPU = torch.device("cpu")


class Levels(nn.Module):
    """Gives what it sees as features."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        return images.float().flatten(1)


def test_takes_the_judge_where_inception_would_have_to_be_downloaded(
    judges: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = find_extractors(judges, CPU)
    assert [type(each) for each in found] == [JudgeFeatures] * 5
    assert found[0].suffix == "_judge"
    assert not find_extractors(None, CPU)
    assert inception_weights() is None
    assert list(tmp_path.iterdir()) == []


def test_refuses_damaged_weights(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"half a network")
    with pytest.raises(DistvaeError, match=r"6726825d\.pth is damaged.*begins with [0-9a-f]{8} "):
        load_inception(tmp_path / WEIGHTS, CPU)


def test_the_judges_logits_are_what_it_decides_by(judges: Ensemble, patterns: ImageData) -> None:
    judge = judges.members[0]
    extractor = JudgeFeatures(judge)
    images = torch.from_numpy(patterns.test.images.copy()).float() / 255
    logits = extractor.logits(extractor.features(images))
    assert logits.shape == (240, 3)
    assert torch.equal(logits.argmax(1), judge.classify(images))


def test_inception_sees_three_channels_of_rounded_levels() -> None:
    extractor = Inception(Levels(), torch.eye(3, 12))
    images = torch.tensor([[0.0, 0.1], [0.5, 1.1]]).view(1, 1, 2, 2).repeat(70, 1, 1, 1)
    features = extractor.features(images)
    assert features.shape == (70, 12)
    assert features[69].tolist() == [0, 26, 128, 255] * 3
    assert extractor.logits(features)[0].tolist() == [0, 26, 128]
    colour = torch.linspace(0, 1, 12).view(1, 3, 2, 2)
    assert extractor.features(colour)[0].tolist() == [round(255 * i / 11) for i in range(12)]


def test_pixels_of_large_images_are_averaged() -> None:
    images = torch.rand(2, 3, 64, 32)
    assert Pixels(CPU).features(images).shape == (2, 3 * 32 * 32)
    assert torch.equal(Pixels(CPU).features(images[:, :, :8, :8]), images[:, :, :8, :8].flatten(1))


def test_reads_images_and_tells_how_many(patterns: ImageData) -> None:
    told: list[int] = []
    rows = torch.tensor([5, 239, 0])
    batches = real_images(
        ResidentImages.from_split(patterns.test), Images(patterns.image_shape), rows
    )
    (found,) = extract([Pixels(CPU)], batches, told.append)
    expected = torch.from_numpy(patterns.test.images[[5, 239, 0]]).float() / 255
    torch.testing.assert_close(found, expected.flatten(1))
    assert told == [3]


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [(4, 4, [0, 1, 2, 3]), (10, 3, [0, 3, 6]), (2, 4, [0, 0, 1, 1]), (5, 0, [])],
)
def test_spaces_rows_evenly(length: int, count: int, expected: list[int]) -> None:
    assert spaced(length, count).tolist() == expected
