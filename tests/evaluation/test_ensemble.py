import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from distvae.config import DataConfig
from distvae.data.store import ImageData, Split, open_data
from distvae.errors import DistvaeError
from distvae.evaluation.ensemble import MNIST, Ensemble, contents, get_judges
from distvae.evaluation.judge import JudgeNetwork, shrink


def as_input(split: Split) -> torch.Tensor:
    return torch.from_numpy(split.images.copy()).float() / 255


def flip_last_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 0xFF
    file.write_bytes(content)


def test_five_learn_to_tell_the_labels_apart(judges: Ensemble, patterns: ImageData) -> None:
    assert judges.test_accuracy.values == (1.0,) * 5
    assert judges.test_accuracy.error == pytest.approx(0.5 / 240)
    assert {name: recall.value for name, recall in judges.recall.items()} == dict.fromkeys(
        patterns.label_names, 1.0
    )
    assert patterns.train.labels is not None
    found = judges.classify(as_input(patterns.train))
    assert found.shape == (300, 5)
    assert (found == torch.from_numpy(patterns.train.labels)[:, None]).all()


def test_they_are_of_different_minds(judges: Ensemble, patterns: ImageData) -> None:
    features = [judge.features(as_input(patterns.test)) for judge in judges.members]
    assert all(not torch.equal(features[0], other) for other in features[1:])
    noise = torch.rand(400, *patterns.image_shape, generator=torch.Generator().manual_seed(0))
    found = judges.classify(noise)
    assert (found != found[:, :1]).any()


@pytest.mark.slow
def test_measure_themselves_on_the_test_split_by_label(
    judges: Ensemble, patterns: ImageData
) -> None:
    assert patterns.test.labels is not None
    images, labels = patterns.test.images.copy(), patterns.test.labels.copy()
    keep = labels != 1
    images, labels = images[keep], labels[keep]
    wrong = (labels == 2).nonzero()[0][:20]
    images[wrong] = patterns.test.images[0]
    tampered = dataclasses.replace(
        patterns, fingerprint="f" * 16, test=Split.of_images(images, labels)
    )
    again = get_judges(tampered, judges.path.parent)
    recall = {name: found.value for name, found in again.recall.items()}
    assert recall == {"stripes": 1.0, "dots": 0.75}
    assert again.test_accuracy.value == 140 / 160


def test_classify_alike_in_any_number_of_images(judges: Ensemble, patterns: ImageData) -> None:
    images, judge = as_input(patterns.test), judges.members[0]
    one_by_one = torch.cat([judge.features(image[None]) for image in images[:5]])
    features = judge.features(images)
    assert features.shape == (240, judge.model.head.in_features)
    torch.testing.assert_close(features[:5], one_by_one)
    assert torch.equal(judge.label(features), judges.classify(images)[:, 0])


def test_a_second_call_only_loads(judges: Ensemble, patterns: ImageData) -> None:
    stamps = {file: file.stat().st_mtime_ns for file in judges.path.iterdir()}
    again = get_judges(patterns, judges.path.parent)
    assert {file: file.stat().st_mtime_ns for file in judges.path.iterdir()} == stamps
    assert (again.test_accuracy, again.recall) == (judges.test_accuracy, judges.recall)
    images = as_input(patterns.test)
    for one, other in zip(again.members, judges.members, strict=True):
        assert torch.equal(one.features(images), other.features(images))


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip_last_byte(folder / "model.safetensors"),
        lambda folder: (folder / "config.json").write_text('{"version": 2'),
        lambda folder: shutil.rmtree(folder),
    ],
    ids=["a flipped byte of the weights", "half a description", "nothing there"],
)
def test_damaged_judges_are_trained_anew_to_the_same(
    damage: Callable[[Path], object], judges: Ensemble, patterns: ImageData, tmp_path: Path
) -> None:
    folder = shutil.copytree(judges.path, tmp_path / judges.path.name)
    damage(folder)
    get_judges(patterns, tmp_path)
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (judges.path / name).read_bytes()


TRAIN = """
import sys, torch
from pathlib import Path
from distvae.data.batches import ResidentImages
from distvae.domains import Images
from distvae.evaluation.judge_training import train_networks
from distvae.platform import prepare
from distvae.tensors import checksum
threads = int(sys.argv[1])
if threads > 1:
    prepare(threads)
else:
    torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8, generator=generator)
data = ResidentImages(images, torch.arange(200) % 7, torch.device("cpu"))
networks = train_networks(data, Images(data.stored.shape[1:]), 7, 10, 64, range(2))
assert torch.get_num_threads() == threads
print([checksum(network.state_dict()) for network in networks])
"""


@pytest.mark.slow
def test_any_number_of_threads_gives_the_same_bits() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", TRAIN, str(threads)],
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in (1, 3)
    ]  # fmt: skip
    assert told[0] == told[1]
    one, other = json.loads(told[0].replace("'", '"'))
    assert one != other


@pytest.mark.slow
def test_judges_of_other_labels_are_not_taken(
    judges: Ensemble, patterns: ImageData, tmp_path: Path
) -> None:
    renamed = dataclasses.replace(patterns, label_names=("a", "b", "c"))
    shutil.copytree(judges.path, tmp_path / judges.path.name)
    assert get_judges(renamed, tmp_path).recall.keys() == {"a", "b", "c"}


@pytest.mark.slow
def test_those_of_another_processor_are_left_alone(
    judges: Ensemble, patterns: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(judges.path, tmp_path / judges.path.name)
    monkeypatch.setattr("distvae.evaluation.ensemble.processor", lambda: "another")
    assert get_judges(patterns, tmp_path).path.name != judges.path.name
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
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
    get_judges(patterns, tmp_path, progress=progress)
    assert torch.equal(torch.get_rng_state(), before)
    assert told == [("training the judges", sum(counts))]


@pytest.mark.slow
def test_one_image_of_a_label_and_constant_images_are_enough(
    patterns: ImageData, tmp_path: Path
) -> None:
    assert patterns.train.labels is not None
    three = Split.of_images(patterns.train.images[:3], patterns.train.labels[:3])
    found = get_judges(dataclasses.replace(patterns, train=three, test=three), tmp_path)
    assert 0.0 <= found.test_accuracy.value <= 1.0
    assert found.test_accuracy.error > 0.1  # of three images
    grey = Split.of_images(np.full_like(patterns.train.images, 7), patterns.train.labels)
    blind = dataclasses.replace(patterns, fingerprint="e" * 16, train=grey, test=grey)
    assert get_judges(blind, tmp_path).test_accuracy.value == pytest.approx(1 / 3)


def test_refuses_a_cache_that_cannot_be_written(patterns: ImageData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DistvaeError, match=r"cannot write the judges to .*--cache-dir"):
        get_judges(patterns, tmp_path / "file")


def test_the_bundled_judges_are_those_of_the_bundled_data(tmp_path: Path) -> None:
    data = open_data(DataConfig(data="mnist"))
    facts = json.loads((MNIST / "config.json").read_text(encoding="utf-8"))
    assert facts.items() >= contents(data).items()
    assert sum(file.stat().st_size for file in MNIST.iterdir()) < 1_000_000
    judges = get_judges(data, tmp_path)
    assert judges.path == MNIST
    assert not list(tmp_path.iterdir())
    assert len(judges.members) == 5
    assert all(value > 0.99 for value in judges.test_accuracy.values)
    assert data.test.labels is not None
    rows = np.arange(0, len(data.test), 10)
    part = Split.of_images(data.test.images[rows], data.test.labels[rows])
    hits = judges.classify(as_input(part)) == torch.from_numpy(part.labels)[:, None]
    shares = hits.double().mean(0).tolist()
    assert shares == pytest.approx(judges.test_accuracy.values, abs=0.01)


def test_other_images_are_not_judged_by_the_bundled_judges(tmp_path: Path) -> None:
    data = open_data(DataConfig(data="mnist"))
    images = data.test.images.copy()
    images[0, 0, 0, 0] ^= 1
    other = dataclasses.replace(data, test=Split.of_images(images, data.test.labels))
    facts = json.loads((MNIST / "config.json").read_text(encoding="utf-8"))
    assert contents(other)["test_sha256"] != facts["test_sha256"]


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
