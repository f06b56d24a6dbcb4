"""Evaluation and sampling on the device: time, memory, and the same numbers as on a CPU."""

import time
from collections.abc import Callable, Iterable

import torch

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.examples import domain_of_data
from distvae.data.image_data import ImageData
from distvae.data.store import open_data
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.judge import Judge, JudgeNetwork
from distvae.evaluation.judge_stack import train_stacked
from distvae.evaluation.likelihood import log_likelihood
from distvae.models import VAE, build_model
from distvae.platform import prepare
from distvae.recipes import read_recipe
from tests.benchmarks.on_gpu.row import Setting, missing, row, within

FLOP = 2.05e13
"""Of 5000 draws for 10,000 images by the networks of burda-vae-short."""


def synchronized(setting: Setting) -> None:
    """Wait for the device."""
    if setting.cuda:
        torch.cuda.synchronize()


def seconds_of(setting: Setting, work: Callable[[], object]) -> float:
    """Seconds that work takes until the device is done."""
    synchronized(setting)
    started = time.perf_counter()
    work()
    synchronized(setting)
    return time.perf_counter() - started


def built(setting: Setting, name: str) -> tuple[VAE, ImageData]:
    """A recipe's model with its first weights, on the device, and its data."""
    prepare(None if setting.cuda else 1)
    config = read_recipe(name)
    data = open_data(config.data)
    config = config.resolved(data.channels)
    torch.manual_seed(0)
    domain = domain_of_data(data, config.data.binarize or "none")
    model = build_model(config.model, domain, (), attributes=data.given)
    return model.eval().to(setting.device), data


def some(images: ResidentImages, count: int) -> ResidentImages:
    """The first of the images."""
    rows = torch.arange(min(count, len(images)))
    stored, labels, *_ = images.gather(rows)
    return ResidentImages(stored, labels, images.device)


def likelihood(setting: Setting) -> None:
    """Importance sampling: 5000 draws of 10,000 images."""
    model, data = built(setting, "burda-vae-short")
    whole = ResidentImages.from_split(data.test)
    images = some(whole, setting.of(10_000, 6)).to(torch.device(setting.device))
    draws = setting.of(5000, 60)
    log_likelihood(model, images, 0, 50)
    if setting.cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(setting, lambda: log_likelihood(model, images, 0, draws))
    what = f"likelihood, {draws} draws of {len(images)} images, s"
    if setting.cuda and not setting.small:
        within(what, seconds, 15.0, 5.0)
        row("likelihood, TFLOP/s", FLOP / seconds / 1e12)
        row("likelihood, peak memory, GB", torch.cuda.max_memory_allocated() / 1e9)
    else:
        row(what, seconds)
    few = some(whole, setting.of(100, 6))
    here = log_likelihood(model, few.to(torch.device(setting.device)), 0, 100).log_likelihood
    there = log_likelihood(model.cpu(), few, 0, 100).log_likelihood
    far = float(((here - there) / there).abs().max())
    within("likelihood: device - CPU, relative", far, 1e-4)
    if not setting.cuda:
        return missing("noise of the likelihood, share", "likelihood on a full card")
    source = NoiseSource(0, Stream.IMPORTANCE, 50, None, torch.device("cuda"), 50)
    source.draw(0, slice(0, 4000))
    drawing = seconds_of(setting, lambda: [source.draw(0, slice(0, 4000)) for _ in range(10)])
    row("noise of the likelihood, share", drawing / 10 * 250 / seconds)
    model, images = model.cuda(), some(whole, 1000).to(torch.device("cuda"))
    free = log_likelihood(model, images, 0, 100).log_likelihood
    taken = torch.empty(torch.cuda.mem_get_info()[0] - 2**30, dtype=torch.uint8, device="cuda")
    full = log_likelihood(model, images, 0, 100).log_likelihood
    del taken
    far = float(((full - free) / free).abs().max())
    return within("likelihood on a full card - on a free one, relative", far, 1e-5)


def sampling(setting: Setting) -> None:
    """Images a second of torch, and the same images as on a CPU."""
    model, _ = built(setting, "mnist-cvae")
    each = setting.of(10_000, 20)
    labels = list(range(10))

    def drawn(images: Iterable[torch.Tensor]) -> int:
        return sum(len(batch) for batch in images)

    drawn(model.sample_batches(labels, 26))
    seconds = seconds_of(setting, lambda: drawn(model.sample_batches(labels, each)))
    row(f"sampling {10 * each} images of mnist-cvae, images/s", 10 * each / seconds)
    here = model.sample(labels, 100, seed=3).cpu()
    there = model.cpu().sample(labels, 100, seed=3)
    within("1000 images: device - CPU", float((here - there).abs().max()), 1e-5)


def bounds(setting: Setting) -> None:
    """The elbo of the test split, as an epoch's end takes it."""
    model, data = built(setting, "mnist-cvae")
    whole = ResidentImages.from_split(data.test)
    images = some(whole, setting.of(10_000, 50)).to(torch.device(setting.device))
    found = dict(elbo_metrics(model, images, 0))
    seconds = seconds_of(setting, lambda: dict(elbo_metrics(model, images, 0)))
    row(f"elbo of {len(images)} images, ms", 1e3 * seconds)
    few = some(whole, 500)
    found = dict(elbo_metrics(model, few.to(torch.device(setting.device)), 0))
    other = dict(elbo_metrics(model.cpu(), few, 0))
    far = abs(found["elbo"] - other["elbo"]) / abs(other["elbo"])
    within("elbo: device - CPU, relative", far, 1e-5)


def judges(setting: Setting) -> None:
    """Five judges, trained on the device at once."""
    data = open_data(DataConfig())
    images = ResidentImages.from_split(data.train).to(torch.device(setting.device))
    domain, steps = domain_of_data(data, "none"), setting.of(500, 2)
    seeds = range(setting.of(5, 1))
    batch = setting.of(128, 16)

    networks: list[JudgeNetwork] = []

    def train() -> None:
        networks.extend(train_stacked(images, domain, 10, steps, batch, seeds))

    row(f"{len(seeds)} judges, {steps} steps, s", seconds_of(setting, train))
    test = ResidentImages.from_split(data.test)
    values = domain.to_values(test.stored[: setting.of(10_000, 50)].to(setting.device))
    labels = test.labels[: len(values)] if test.labels is not None else torch.zeros(0)
    for number, network in enumerate(networks[:2]):
        right = Judge(network).classify(values).cpu() == labels
        accuracy = float(right.float().mean())
        good = accuracy >= 0.985 if setting.cuda and not setting.small else None
        row(f"judge {number}: accuracy of the test split", accuracy, "at least 0.985", good)
