"""How well generated examples carry the number they were asked for, by networks that read it.

They are networks of the judges' kind (:mod:`distvae.evaluation.judge`) with one output, trained on
real training examples by squared error. What they make of real test examples says how far they can
be trusted.

Legend: N examples, A attributes, R networks, S the axes of an example.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.attribute_values import by_name
from distvae.data.batches import ResidentImages
from distvae.data.examples import domain_of_data
from distvae.data.store import ImageData, Split
from distvae.evaluation.ensemble import BATCH, steps_for
from distvae.evaluation.generation import ConditionalGenerator
from distvae.evaluation.judge import BLOCK, Judge
from distvae.evaluation.judge_stack import train_stacked
from distvae.evaluation.judge_training import train_networks
from distvae.evaluation.passes import Advance, unwatched
from distvae.evaluation.uncertainty import Estimate, estimate_metrics
from distvae.places import evenly

READERS = 3
EXAMPLES = 1000
"""Generated, and real test ones read, at most."""


class Readers(NamedTuple):
    """Networks that read a number."""

    members: tuple[Judge, ...]
    low: float
    """What an output of 0 stands for."""
    scale: float
    """What a difference of 1 stands for."""

    @torch.no_grad()
    def read(self, examples: Tensor) -> NDArray[np.float64]:
        """The number that each network reads from each example ``[N, *S]``, ``[N, R]``."""
        outputs = [one.model.head(one.features(examples)) for one in self.members]
        return self.low + self.scale * torch.cat(outputs, 1).double().cpu().numpy()


def trained_readers(
    data: ImageData,
    place: int,
    device: torch.device | str = "cpu",
    advance: Advance = unwatched,
) -> Readers:
    """Networks that read an attribute, trained on the examples whose number is known.

    Args:
        data: with a number at ``place`` that varies, see :func:`varies`.
        place: of the attribute.
        device: where they are trained and left.
        advance: told the number of examples done, of :func:`readings`.
    """
    values, _ = numbers_in(data.train, place)
    low, scale = float(np.nanmin(values)), float(np.nanstd(values))
    device = torch.device(device)
    targets = torch.from_numpy((values - low) / scale).float()  # none below 0; NaN is not known
    images = dataclasses.replace(ResidentImages.from_split(data.train), labels=targets).to(device)
    train = train_networks if device.type == "cpu" else train_stacked
    steps, seeds = steps_for(data), range(READERS)
    networks = train(images, domain_of_data(data), 1, steps, BATCH, seeds, advance)
    return Readers(tuple(Judge(network.to(device)) for network in networks), low, scale)


def readings(data: ImageData) -> int:
    """How many examples the training of readers takes."""
    return READERS * steps_for(data) * BATCH


def number_metrics(
    model: ConditionalGenerator, data: ImageData, readers: Readers, place: int, seed: int = 0
) -> Iterator[tuple[str, float]]:
    """How what is read from examples agrees with the number that they shall have.

    Generated examples are given what training examples are given, together. Means over the
    networks, with standard errors over examples and networks.

    Yields:
        ``number_correlation`` and ``number_error``, the mean absolute difference in units of the
        number, of generated examples; ``number_test_correlation`` and ``number_test_error`` of real
        test examples, the best to be hoped for.
    """
    values, rows = numbers_in(data.train, place)
    rows = rows[evenly(len(rows), EXAMPLES)]
    assert data.train.attributes is not None
    asked = by_name(data.train.attributes[rows], data.attributes)
    drawn = model.sample(labels=asked, n=1, seed=seed)
    yield from _agreement("number_", values[rows], readers.read(drawn))
    values, rows = numbers_in(data.test, place)
    rows = rows[evenly(len(rows), EXAMPLES)]
    if len(rows) > 1:
        test, domain = ResidentImages.from_split(data.test), domain_of_data(data)
        parts = torch.split(torch.from_numpy(rows), BLOCK)
        found = [readers.read(domain.to_values(test.gather(part)[0])) for part in parts]
        yield from _agreement("number_test_", values[rows], np.concatenate(found))


def numbers_in(split: Split, place: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The number of each example ``[N]``, NaN where it is not known, and the rows that have one."""
    assert split.attributes is not None
    values = split.attributes[:, place].astype(np.float64)
    return values, np.flatnonzero(~np.isnan(values))


def varies(data: ImageData, place: int) -> bool:
    """Whether the training examples have different numbers."""
    values, rows = numbers_in(data.train, place)
    return len(np.unique(values[rows])) > 1


def _agreement(
    name: str, values: NDArray[np.float64], found: NDArray[np.float64]
) -> Iterator[tuple[str, float]]:
    """Of numbers ``[N]`` and what is read ``[N, R]``."""
    off = np.abs(found - values[:, None])
    each = off.mean(1)
    error = Estimate(tuple(map(float, off.mean(0))), float(each.std(ddof=1) / math.sqrt(len(each))))
    if values.std() > 0.0 and (found.std(0) > 0.0).all():
        shares = [float(np.corrcoef(values, column)[0, 1]) for column in found.T]
        sampling = (1.0 - float(np.mean(shares)) ** 2) / math.sqrt(len(values) - 1)
        yield from estimate_metrics(f"{name}correlation", Estimate(tuple(shares), sampling))
    yield from estimate_metrics(f"{name}error", error)
