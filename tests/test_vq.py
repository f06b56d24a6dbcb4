"""A learned code book against its moving averages written out, and one of two processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from distvae.config import ModelConfig
from distvae.latents.vq import Vq
from distvae.models import build_model
from tests.conftest import SHAPES
from tests.training.conftest import Settings, losses, settings, trained
from tests.training.groups import Starter, starter
from tests.training.test_processes import two_processes

__all__ = ["settings", "starter"]
CODES, LENGTH = 4, 3


def book(**changes: Any) -> Vq:
    torch.manual_seed(0)
    own = {"vq_codes": CODES, "vq_width": 2, "vq_decay": 0.8, "prior_width": 8, **changes}
    config = ModelConfig(latent_space="vq", hidden=(16,), latent_dim=LENGTH, **own)
    found = build_model(config, (1, 8, 8), SHAPES).latents
    assert isinstance(found, Vq)
    return found


@pytest.mark.parametrize("norm", [False, True])
def test_a_book_follows_the_decayed_mean_of_what_is_nearest(norm: bool) -> None:
    space = book(vq_norm=norm, vq_expiry=0.0)
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    space.book.copy_(rows)
    space.counts.fill_(10.0)
    vectors = torch.randn(20, LENGTH, 2)
    found = space.quantize(vectors, torch.randn(20, 1))
    flat = vectors.flatten(0, 1).numpy()
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True) if norm else flat
    nearest = ((flat[:, None] - rows.numpy()) ** 2).sum(2).argmin(1)
    np.testing.assert_array_equal(found.codes.flatten(), nearest)
    np.testing.assert_allclose(found.values.flatten(0, 1), rows.numpy()[nearest], atol=1e-6)
    assert found.penalty is not None
    distances = ((flat - rows.numpy()[nearest]) ** 2).sum(1).reshape(20, LENGTH).sum(1)
    np.testing.assert_allclose(found.penalty, 0.25 * distances, rtol=1e-4)
    for code in range(CODES):
        own = flat[nearest == code]
        count = 0.8 * 10.0 + 0.2 * len(own)
        mean = (0.8 * 10.0 * rows[code].numpy() + 0.2 * own.sum(0)) / count
        mean = mean / np.linalg.norm(mean) if norm else mean
        assert space.counts[code].item() == pytest.approx(count)
        np.testing.assert_allclose(space.book[code], mean, rtol=1e-4, atol=1e-6)
    # nothing is learned outside of training, nor in the second stage
    before = space.book.clone()
    space.begin(True)
    space.quantize(vectors, torch.randn(20, 1))
    space.begin(False)
    space.eval().quantize(vectors, torch.randn(20, 1))
    assert torch.equal(space.book, before)


def test_codes_that_nothing_is_near_take_the_place_of_vectors_of_the_batch() -> None:
    space, vectors, noise = book(), torch.randn(2, LENGTH, 2), torch.randn(2, 1)
    space.book.copy_(torch.tensor([[90.0, 0.0], [0.0, 0.0], [0.0, 90.0], [-90.0, 0.0]]))
    space.quantize(vectors, noise)
    order = noise[:, 0].argsort()
    mean = vectors.flatten(0, 1).mean(0)  # of the one that all were near to
    # examples by their noise, then the first again at another place
    expected = [vectors[order[0], 0], mean, vectors[order[1], 1], vectors[order[0], 0]]
    torch.testing.assert_close(space.book, torch.stack(expected))
    even = 2 * LENGTH / CODES
    torch.testing.assert_close(space.counts, torch.tensor([even, 0.2 * 6, even, even]))
    far = space.book.clone()
    far[2] += 100.0
    space.book.copy_(far)
    for _ in range(20):
        space.quantize(vectors, noise)
    assert (space.book.abs() < 10.0).all()


@pytest.mark.slow
def test_two_processes_learn_one_book(
    settings: Settings, shapes: Path, starter: Starter, here: Path
) -> None:
    flags = "--latent-space vq --vq-codes 8 --vq-width 2 --vq-norm --prior-width 8 --max-steps 30"
    common = (
        "--hidden 16 --latent-dim 3 --batch-size 12 --log-every 1 --mixed-precision no"
        " --prior-passes 2"
    )
    words = f"{flags} {common}".split()
    ended = two_processes(starter, "--data", str(shapes), *words)
    assert ended.code == 0, ended.err
    assert json.loads((here / "two" / "config.json").read_text())["world"]["processes"] == 2
    same = {"latent_space": "vq", "vq_codes": 8, "vq_width": 2, "vq_norm": True}
    one = trained(settings(**same, prior_width=8, prior_passes=2, max_steps=30), here / "one")
    assert losses(here / "two") == pytest.approx(losses(one), rel=1e-4)
    weights, expected = (load_file(run / "model.safetensors") for run in (here / "two", one))
    for name in ("latents.book", "latents.counts", "prior.network.head.weight"):
        np.testing.assert_allclose(weights[name], expected[name], rtol=1e-3, atol=1e-4)
