"""How judges are trained: the same bits on a processor, whatever its number of threads.

Legend: B batch, C channels, H height, W width.
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distvae.data.batches import ResidentImages
from distvae.domains import Domain
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.evaluation.judge import JudgeNetwork, shrink
from distvae.evaluation.passes import Advance, unwatched

LEARNING_RATE = 8e-3
GROUP = 32
"""Images of a batch that are shifted alike."""


def train_networks(
    images: ResidentImages,
    domain: Domain,
    num_labels: int,
    steps: int,
    batch: int,
    seeds: Sequence[int],
    advance: Advance = unwatched,
) -> list[JudgeNetwork]:
    """A network of each seed, side by side, each in one thread of its own on the CPU.

    A sum depends on how it is cut up, so that a network that is trained by several threads depends
    on their number. One thread each leaves the processor and the version of torch alone to decide
    the last bits.

    Args:
        images: with labels on the CPU, -1 where not known; or numbers of 0 and more, else NaN.
        domain: of them.
        num_labels: more than the largest label; of numbers 1.
        steps: of each.
        batch: images of a step.
        seeds: of the first weights, the order of the images and their shifts.
        advance: told the number of images done, by one thread at a time.
    """
    lock = threading.Lock()

    def told(count: int) -> None:
        with lock:
            advance(count)

    networks = [fresh(images, num_labels, seed) for seed in seeds]

    def train(number: int) -> JudgeNetwork:
        return _train(networks[number], images, domain, steps, batch, seeds[number], told)

    with _exact(), ThreadPoolExecutor(min(len(seeds), _cores()), initializer=_alone) as pool:
        return list(pool.map(train, range(len(seeds))))


def train_network(
    images: ResidentImages, domain: Domain, num_labels: int, steps: int, batch: int, seed: int
) -> JudgeNetwork:
    """A single network, on the device of its images, with the threads of the caller."""
    return _train(fresh(images, num_labels, seed), images, domain, steps, batch, seed)


def fresh(images: ResidentImages, num_labels: int, seed: int) -> JudgeNetwork:
    """First weights; the global random generators are left alone."""
    shape = tuple(images.stored.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return JudgeNetwork(shape, num_labels).to(images.device)


def _train(
    network: JudgeNetwork,
    images: ResidentImages,
    domain: Domain,
    steps: int,
    batch: int,
    seed: int,
    advance: Advance = unwatched,
) -> JudgeNetwork:
    """A network, which comes back in evaluation mode."""
    stepper = Stepper(network.parameters(), steps)
    with torch.enable_grad():
        for inputs, labels in batches(images, domain, steps, batch, seed):
            stepper.step(loss_of(network(inputs), labels))
            advance(batch)
    return network.eval()


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """What a judge is trained on, a mean over ``logits [B, L]``; of numbers L is 1."""
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(1), labels)
    return functional.cross_entropy(logits, labels, label_smoothing=0.1)


class Stepper:
    """AdamW with one cycle of the learning rate.

    Args:
        parameters: what is trained.
        steps: in how many steps.
    """

    def __init__(self, parameters: Iterable[Tensor], steps: int) -> None:
        self._optimizer = torch.optim.AdamW(
            parameters, LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.02, fused=True
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.25
        )

    def step(self, loss: Tensor) -> None:
        """Go a step down the gradient of a loss."""
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._schedule.step()


def batches(
    images: ResidentImages, domain: Domain, steps: int, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shrunk images ``[B, C, h, w]`` and labels ``[B]`` of each step, shifted group by group.

    Vectors ``[B, F]`` are as they are.
    """
    shifts = Numbers(seed, Stream.JUDGE_SHIFTS)
    for rows in torch.split(row_order(images, steps * batch, seed), batch):
        groups = [gather(images, domain, group) for group in torch.split(rows, GROUP)]
        inputs = torch.cat([_shift(group, shifts) for group, _ in groups])
        yield inputs, torch.cat([labels for _, labels in groups])


def row_order(images: ResidentImages, count: int, seed: int) -> Tensor:
    """The rows of labelled images that a judge sees one after another, int64 ``[count]``."""
    assert images.labels is not None
    known = (images.labels >= 0).nonzero().squeeze(1).cpu()
    turns = range(-(-count // len(known)))
    orders = [permutation(len(known), seed, Stream.JUDGE_ORDER, turn) for turn in turns]
    return known[torch.from_numpy(np.concatenate(orders))][:count]


def gather(images: ResidentImages, domain: Domain, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What a judge sees of the rows, and their labels ``[B]``."""
    stored, labels, _ = images.gather(rows)
    assert labels is not None
    return shrink(domain.to_values(stored)), labels


def _shift(images: Tensor, numbers: Numbers) -> Tensor:
    """The images moved by up to a fourteenth of their sides, all alike; edges are repeated."""
    if images.dim() != 4:
        return images
    height, width = images.shape[2:]
    down, right = reach(height), reach(width)
    top, left = numbers.integers(0, [2 * down + 1, 2 * right + 1], (2,)).tolist()
    padded = functional.pad(images, (right, right, down, down), mode="replicate")
    return padded[:, :, top : top + height, left : left + width]


def reach(side: int) -> int:
    """By how many pixels an image of such a side is shifted at most."""
    return side // 14


def _alone() -> None:
    """What a worker computes it computes in its own thread."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def _exact() -> Iterator[None]:
    """Matrix products of one kind, however torch was set up; threads and setting are put back."""
    threads = torch.get_num_threads()
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    precision = None if matmul is None else matmul.fp32_precision
    try:
        if matmul is not None:
            matmul.fp32_precision = "ieee"
        yield
    finally:
        if matmul is not None:
            matmul.fp32_precision = precision
        torch.set_num_threads(threads)
