import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from distvae.data.store import ImageData, Split
from distvae.errors import DistvaeError
from distvae.evaluation.judge import Judge, JudgeNetwork, get_judge, shrink


def as_input(split: Split) -> torch.Tensor:
    return torch.from_numpy(split.images.copy()).float() / 255


def flip_last_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 0xFF
    file.write_bytes(content)


def test_learns_to_tell_the_labels_apart(judge: Judge, patterns: ImageData) -> None:
    assert judge.test_accuracy == 1.0
    assert judge.recall == dict.fromkeys(patterns.label_names, 1.0)
    assert patterns.train.labels is not None
    assert judge.classify(as_input(patterns.train)).tolist() == patterns.train.labels.tolist()


def test_measures_itself_on_the_test_split_by_label(judge: Judge, patterns: ImageData) -> None:
    assert patterns.test.labels is not None
    images, labels = patterns.test.images.copy(), patterns.test.labels.copy()
    keep = labels != 1
    images, labels = images[keep], labels[keep]
    wrong = (labels == 2).nonzero()[0][:20]
    images[wrong] = patterns.test.images[0]
    tampered = dataclasses.replace(patterns, fingerprint="f" * 16, test=Split(images, labels))
    again = get_judge(tampered, judge.path.parent)
    assert again.recall == {"stripes": 1.0, "dots": 0.75}
    assert again.test_accuracy == 140 / 160


def test_classifies_alike_in_any_number_of_images(judge: Judge, patterns: ImageData) -> None:
    images = as_input(patterns.test)
    one_by_one = torch.cat([judge.features(image[None]) for image in images[:5]])
    features = judge.features(images)
    assert features.shape == (240, judge.model.head.in_features)
    torch.testing.assert_close(features[:5], one_by_one)
    assert torch.equal(judge.label(features), judge.classify(images))


def test_a_second_call_only_loads(judge: Judge, patterns: ImageData) -> None:
    stamps = {file: file.stat().st_mtime_ns for file in judge.path.iterdir()}
    again = get_judge(patterns, judge.path.parent)
    assert {file: file.stat().st_mtime_ns for file in judge.path.iterdir()} == stamps
    assert (again.test_accuracy, again.recall) == (judge.test_accuracy, judge.recall)
    images = as_input(patterns.test)
    assert torch.equal(again.features(images), judge.features(images))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip_last_byte(folder / "model.safetensors"),
        lambda folder: (folder / "config.json").write_text('{"version": 1'),
        lambda folder: shutil.rmtree(folder),
    ],
    ids=["a flipped byte of the weights", "half a description", "nothing there"],
)
def test_a_damaged_judge_is_trained_anew_to_the_same(
    damage: Callable[[Path], object], judge: Judge, patterns: ImageData, tmp_path: Path
) -> None:
    folder = shutil.copytree(judge.path, tmp_path / judge.path.name)
    damage(folder)
    again = get_judge(patterns, tmp_path)
    for name, tensor in judge.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, rtol=0, atol=0)
    assert (folder / "model.safetensors").read_bytes() == (
        judge.path / "model.safetensors"
    ).read_bytes()


def test_a_judge_of_other_labels_is_not_taken(judge: Judge, patterns: ImageData) -> None:
    renamed = dataclasses.replace(patterns, label_names=("a", "b", "c"))
    folder = judge.path.parent / "other"
    shutil.copytree(judge.path, folder / judge.path.name)
    assert get_judge(renamed, folder).recall.keys() == {"a", "b", "c"}


def test_training_leaves_the_global_generator_alone_and_tells_its_progress(
    patterns: ImageData, tmp_path: Path
) -> None:
    told: list[tuple[str, int]] = []
    counts: list[int] = []

    @contextmanager
    def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
        told.append((description, total))
        yield counts.append

    torch.manual_seed(7)
    before = torch.get_rng_state()
    get_judge(patterns, tmp_path, progress=progress)
    assert torch.equal(torch.get_rng_state(), before)
    assert told == [("training the judge", sum(counts))]


def test_refuses_a_cache_that_cannot_be_written(patterns: ImageData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DistvaeError, match=r"cannot write the judge to .*--cache-dir"):
        get_judge(patterns, tmp_path / "file")


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 28, 28), (3, 5, 100), (4, 64, 33)])
def test_takes_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    network = JudgeNetwork(shape, num_labels=7).eval()
    assert network(shrink(torch.rand(2, *shape))).shape == (2, 7)


def test_shrinks_by_averaging_and_only_what_is_large() -> None:
    images = torch.rand(2, 3, 64, 32)
    small = shrink(images)
    assert small.shape == (2, 3, 32, 32)
    torch.testing.assert_close(small, (images[:, :, ::2] + images[:, :, 1::2]) / 2)
    assert torch.equal(shrink(small), small)
