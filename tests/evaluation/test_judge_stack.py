"""Judges trained as one, as on a GPU, against judges trained one by one; on a CPU both run."""

import pytest
import torch

from distvae.data.batches import ResidentImages
from distvae.data.examples import domain_of_data
from distvae.data.store import ImageData
from distvae.domains import Vectors
from distvae.evaluation.judge import Judge, JudgeNetwork
from distvae.evaluation.judge_stack import shifted, shifts_of, train_stacked
from distvae.evaluation.judge_training import batches, gather, row_order, train_networks

SEEDS = (0, 3, 8)


def largest_difference(some: JudgeNetwork, other: JudgeNetwork) -> float:
    pairs = zip(some.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((one.double() - two.double()).abs().max()) for one, two in pairs)


def test_they_take_the_same_steps(patterns: ImageData) -> None:
    images, domain = ResidentImages.from_split(patterns.train), domain_of_data(patterns)
    done: list[int] = []
    stacked = train_stacked(images, domain, 3, 6, 64, SEEDS, done.append)
    alone = train_networks(images, domain, 3, 6, 64, SEEDS)
    assert sum(done) == 6 * 64 * len(SEEDS)
    for one, other in zip(stacked, alone, strict=True):
        assert not one.training
        assert largest_difference(one, other) < 1e-3  # weights moved by up to 0.05
    assert largest_difference(stacked[0], stacked[1]) > 0.1


def test_they_are_shifted_alike(patterns: ImageData) -> None:
    """Images of 30 pixels move by up to two."""
    stored = torch.nn.functional.interpolate(
        torch.from_numpy(patterns.train.images.copy()).float(), size=(30, 29)
    )
    images = ResidentImages(stored.byte(), torch.arange(300) % 3, torch.device("cpu"))
    domain = domain_of_data(patterns)
    one_by_one = [list(batches(images, domain, 5, 96, seed)) for seed in SEEDS]
    rows = torch.stack([row_order(images, 5 * 96, seed).view(5, 96) for seed in SEEDS], 1)
    shifts = shifts_of(images, domain, rows, SEEDS)
    assert shifts is not None
    moved = 0
    for step, expected in enumerate(zip(*one_by_one, strict=True)):
        inputs, labels = gather(images, domain, rows[step].flatten())
        found = shifted(inputs, *(part[step] for part in shifts))
        assert torch.equal(found, torch.cat([inputs for inputs, _ in expected]))
        assert torch.equal(labels, torch.cat([labels for _, labels in expected]))
        moved += int((found != inputs).any())
    assert moved == 5


def test_vectors_have_nothing_to_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, 5, generator=generator)
    labels = (values[:, 0] > 0).long()
    images = ResidentImages(values, labels, torch.device("cpu"))
    domain = Vectors.of(tuple("abcde"), values.numpy())
    (network,) = train_stacked(images, domain, 2, 40, 64, [1])
    found = Judge(network).classify(domain.to_values(values))
    hits = found == labels
    assert float(hits.double().mean()) > 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_they_learn_to_tell_the_labels_apart(patterns: ImageData) -> None:
    images = ResidentImages.from_split(patterns.train).to("cuda")
    networks = train_stacked(images, domain_of_data(patterns), 3, 150, 128, SEEDS)
    test = torch.from_numpy(patterns.test.images.copy()).cuda() / 255
    for network in networks:
        found = Judge(network).classify(test).cpu()
        hits = found == torch.from_numpy(patterns.test.labels)
        assert float(hits.double().mean()) > 0.95
