"""Passes over a split: blocks change no figure, and the device is read once, not block by block."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.data.store import ImageData
from distvae.evaluation.downstream import bayes_labels
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.ensemble import Ensemble
from distvae.evaluation.generation import generation_metrics
from distvae.evaluation.latents import latent_metrics
from distvae.evaluation.likelihood import log_likelihood
from distvae.evaluation.passes import Pass, Share, gathered, through
from distvae.models import VAE, build_model

CPU = torch.device("cpu")
aten = torch.ops.aten
READS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten._unique2}


@contextmanager
def room_for(rows: int, *parts: nn.Module) -> Iterator[None]:
    """A device whose allocator refuses, as a CPU's does here, more rows than so many at once."""

    def refuse(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if len(arguments[0]) > rows:
            torch.empty(2**50)

    hooks = [part.register_forward_pre_hook(refuse) for part in parts]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what would wait for a device: values that are read, and shapes that hang on them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        packet = func.overloadpacket
        masks = packet in (aten.index, aten.index_put_) and any(
            each is not None and each.dtype == torch.bool for each in args[1]
        )
        self.count += packet in READS or masks
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def model(patterns: ImageData) -> VAE:
    config = ModelConfig(hidden=(16,), latent_dim=3, model="cvae", prior="label")
    torch.manual_seed(0)
    built = build_model(config, patterns.image_shape, patterns.label_names, "dynamic").eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return built


@pytest.fixture(scope="module")
def images(patterns: ImageData) -> ResidentImages:
    return ResidentImages.from_split(patterns.test)


def measured(
    model: VAE, images: ResidentImages, data: ImageData, judges: Ensemble
) -> dict[str, float]:
    """Figures of every kind of pass."""
    found = dict(elbo_metrics(model, images, 1, label_names=data.label_names))
    found |= latent_metrics(model, images, data.train, 1)
    found |= generation_metrics(model, data, judges, 1, per_label=20)
    found["bayes"] = float(bayes_labels(model, data, 1, lambda count: None)[0].mean())
    drawn = model.sample(n=300, seed=4)
    found["drawn"] = float(drawn.double().square().mean())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rows", [7, 64])
def test_the_size_of_blocks_changes_no_figure(
    model: VAE, images: ResidentImages, patterns: ImageData, judges: Ensemble, rows: int
) -> None:
    whole = measured(model, images, patterns, judges)
    with room_for(rows, model.encoder, model.decoder):
        parts = measured(model, images, patterns, judges)
    assert len(whole) > 50
    assert parts == pytest.approx(whole, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("rows", [50, 350])
def test_nor_does_it_change_a_likelihood(model: VAE, images: ResidentImages, rows: int) -> None:
    """A block of an image takes 50 rows at least: so many draws have one step's noise."""
    whole = log_likelihood(model, images, 1, 120)
    with room_for(rows, model.decoder):
        parts = log_likelihood(model, images, 1, 120)
    torch.testing.assert_close(parts.log_likelihood, whole.log_likelihood, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(parts.effective, whole.effective, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "measure",
    [
        lambda model, images: dict(elbo_metrics(model, images, 1, label_names=("a", "b", "c"))),
        lambda model, images: log_likelihood(model, images, 1, 60),
        lambda model, images: model.sample(n=len(images)),
    ],
    ids=["elbo", "likelihood", "sample"],
)
def test_as_much_is_read_of_many_blocks_as_of_one(
    model: VAE, images: ResidentImages, measure: Callable[[VAE, ResidentImages], object]
) -> None:
    counts = []
    for rows in (50, 100_000):
        with room_for(rows, model.decoder), Reads() as reads:
            measure(model, images)
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_every_image_is_seen_once_by_one_process(model: VAE, images: ResidentImages) -> None:
    way = Pass(model, images, 5)
    (alone,) = gathered(through(lambda block: (block.batch.noise,), way, size=64))
    for world_size in (2, 3, 7):
        shares = [Share(rank, world_size) for rank in range(world_size)]
        ranges = [share.rows(len(images), 64) for share in shares]
        assert [row for rows in ranges for row in rows] == list(range(len(images)))
        assert max(map(len, ranges)) <= 64 * math.ceil(4 / world_size)
        parts = [
            part
            for share in shares
            for part in through(lambda block: block.batch.noise, way, size=64, share=share)
        ]
        assert torch.equal(torch.cat(parts), alone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_measures_what_a_cpu_does(model: VAE, images: ResidentImages) -> None:
    names = ("a", "b", "c")
    here = dict(elbo_metrics(model, images, 1, label_names=names))
    likelihood = log_likelihood(model, images, 1, 120).log_likelihood
    drawn = model.sample(n=300, seed=4)
    try:
        model.to("cuda")
        held = images.to("cuda")
        there = dict(elbo_metrics(model, held, 1, label_names=names))
        assert there == pytest.approx(here, rel=1e-4, abs=1e-4)
        found = log_likelihood(model, held, 1, 120).log_likelihood
        torch.testing.assert_close(found, likelihood, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(model.sample(n=300, seed=4).cpu(), drawn, rtol=0.0, atol=1e-4)
    finally:
        model.to(CPU)
