"""Examples of a tool as a model with weights takes them, block by block.

Legend: B examples read together, A attributes of the model.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distvae.attribute_values import Values
from distvae.attributes import is_label, main_label
from distvae.batch import Batch
from distvae.conditions import Conditions, Context
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.evaluation.passes import BLOCK, Advance, unwatched
from distvae.models import VAE
from distvae.tools.examples import Examples, Part
from distvae.tools.trained import Trained


class Seen(NamedTuple):
    """Some examples and what the model takes of them."""

    part: Part
    batch: Batch
    """On the model's device."""
    expected: Tensor
    """The mean of the inputs ``[B, *S]``, where a training draws them."""
    context: Context | None
    """Of the conditions."""


@torch.no_grad()
def batches(
    trained: Trained,
    examples: Examples,
    seed: int = 0,
    *,
    size: int = BLOCK,
    start: int = 0,
    advance: Advance = unwatched,
) -> Iterator[Seen]:
    """All examples that can be read, from one on.

    The random numbers of an example depend on its number alone; of a test split they are those of
    `distvae evaluate`. A label that is not known is the one under which the bound is largest.

    Args:
        trained: the model.
        examples: what it takes.
        seed: of the noise.
        size: of a block.
        start: number of the first example.
        advance: told how many are done.
    """
    model = trained.model
    shape, device = model.domain.uniforms_shape, model.device
    noise = NoiseSource(seed, Stream.EVALUATION, model.latents.infer_dim, shape, device)
    for part in examples.parts(size, start):
        if len(part.rows):
            drawn = noise.draw(0, part.asked)
            kept = torch.from_numpy(part.rows - part.asked.start).to(device)
            uniforms = None if drawn.uniforms is None else drawn.uniforms[kept]
            stored = torch.from_numpy(part.stored).to(device)
            batch = Batch(stored, None, drawn.noise[kept], uniforms)
            yield seen(model, part, batch)
        advance(part.asked.stop - part.asked.start)


@torch.no_grad()
def seen(model: VAE, part: Part, batch: Batch) -> Seen:
    """Some examples with their conditions, of which unknown labels are found."""
    expected = model.domain.to_expected_input(batch.stored)
    if part.given is not None:
        known = torch.from_numpy(np.array(part.given)).to(batch.stored.device)
        known = _with_labels(model, batch, known)
        batch = batch._replace(conditions=conditions_of(model, known))
        part = part._replace(given=known.cpu().numpy())
    context: Context | None = model.conditioner(batch.conditions)
    return Seen(part, batch, expected, context)


def conditions_of(model: VAE, values: Tensor) -> Conditions | None:
    """What a model is given, of values float32 ``[B, A]``, NaN where one is not known."""
    if is_label(model.attributes):
        return Conditions.of_labels(values[:, 0].long())
    return Conditions.of_examples(None, values)


def context_of(model: VAE, values: Values | None, count: int) -> Context | None:
    """The context of so many rows.

    Args:
        model: on its device.
        values: what each is given ``[count, A]``, or one row for all; None of a model that is
            given nothing.
        count: how many.
    """
    if values is None:
        return None
    rows = np.broadcast_to(values, (count, values.shape[1])).astype(np.float32)
    found: Context | None = model.conditioner(
        conditions_of(model, torch.from_numpy(rows).to(model.device))
    )
    return found


def _with_labels(model: VAE, batch: Batch, values: Tensor) -> Tensor:
    """Values ``[B, A]`` in which the label of the first attribute is found where it is needed."""
    main = main_label(model.attributes)
    if main is None or model.attributes[main].missing:
        return values
    lacking = values[:, main].isnan()
    if not bool(lacking.any()):
        return values
    some = Batch(
        batch.stored[lacking],
        None,
        batch.noise[lacking],
        None if batch.uniforms is None else batch.uniforms[lacking],
    )
    bounds = []
    for label in range(len(model.attributes[main].labels)):
        asked = values[lacking].clone()
        asked[:, main] = label
        terms = model.terms(some._replace(conditions=conditions_of(model, asked)))
        bounds.append(terms.log_likelihood.double() - terms.rate.double().sum(1))
    values = values.clone()
    values[lacking, main] = torch.stack(bounds).argmax(0).to(values.dtype)
    return values
