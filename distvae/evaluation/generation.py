"""How well a conditional model generates: the right label, the label in charge, and variety.

Everything here needs labels. A model that draws without a label has none to be held to, so there
is nothing to compute for it, even where its data are labelled.

Legend: B batch, C channels, H height, W width, Z latent dimensions, N images, J judges,
L labels.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from distvae.blocks import in_blocks
from distvae.conditions import Conditioner, Context
from distvae.data.batches import ResidentImages
from distvae.data.store import ImageData
from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.evaluation.asked import asked_for, of_attribute, with_label
from distvae.evaluation.confusion import confusion_metrics
from distvae.evaluation.diversity import diversity, diversity_metrics
from distvae.evaluation.ensemble import Ensemble
from distvae.evaluation.passes import Advance, Pass, Seeing, gathered, unwatched
from distvae.evaluation.uncertainty import (
    Estimate,
    averaged,
    estimate_metrics,
    share,
    spread_metrics,
    worst_metrics,
)
from distvae.labels import Labels
from distvae.latents import Latents
from distvae.places import spaced

IMAGES = 10_000
"""Images generated in all, and test images taken, at most."""
BLOCK = 250
BY_LABEL = "judge_accuracy/"


class ConditionalGenerator(Seeing, Protocol):
    """What is asked of a model; see :class:`distvae.models.ConditionalVAE`."""

    @property
    def conditioner(self) -> Conditioner:
        """It makes a context of labels."""

    def sample(self, labels: Labels | None, n: int, seed: int) -> Tensor:
        """``n`` images of each label, ``[len(labels) * n, C, H, W]`` in [0, 1]."""

    def drawn(self, inputs: Tensor, context: Context | None, noise: Tensor) -> Latents:
        """Latents of inputs, by noise ``[B, N]``."""

    def render(self, latents: Latents, context: Context | None) -> Tensor:
        """Images ``[B, C, H, W]`` in [0, 1]."""


@torch.no_grad()
def generation_metrics(
    model: ConditionalGenerator,
    data: ImageData,
    judges: Ensemble,
    seed: int = 0,
    per_label: int | None = None,
    advance: Advance = unwatched,
    confusion: Callable[[Tensor], None] = lambda counts: None,
    leave: Callable[[str, str], None] = lambda name, why: None,
    place: int | None = None,
) -> Iterator[tuple[str, float]]:
    """Fidelity to the label and variety of what a conditional model draws.

    Args:
        model: in evaluation mode, on the judges' device.
        data: labelled images; the model knows the same labels.
        judges: of the same data.
        seed: seed of all draws.
        per_label: images to generate for each label; left out, 10 000 in all, but at least 10 and
            at most 1000 each.
        advance: told whenever a label is done.
        confusion: told how many images were asked of each label (rows) and taken for each
            (columns) by all judges together, int64 ``[L, L]``.
        leave: told the name of a figure that cannot be had, and why.
        place: of several attributes, the one whose labels are looked at; the others are as in the
            training images.

    Yields:
        Means over the judges with their ``_standard_error`` over images and judges, those of all
        labels with their deviation ``_between_judges``, see :mod:`distvae.evaluation.uncertainty`:
        ``judge_accuracy``: fraction of generated images that a judge takes for their label, with
        ``judge_accuracy_worst_label``, ``judge_accuracy_spread`` from the best label to the worst,
        and ``judge_accuracy/NAME`` of each label;
        ``judge_confusion/ASKED>TAKEN``: fraction of a label's images taken for another, where there
        are any;
        ``judge_test_accuracy``: the same of real test images, the most to be hoped for;
        ``diversity``: mean distance between two generated images of a label over that between two
        real test images, in a judge's features, averaged over the labels: 0 where a label always
        gives the same image, 1 where images vary as real ones do. Only images that the judge takes
        for their label count, so that wrong images cannot pass for variety; labels with too few
        test images to compare are left out. ``diversity/NAME`` of each label;
        ``diversity_pixels``: the same between pixels; averaged, smooth images stay below 1;
        ``label_adherence_swapped_noise``: fraction of test images which, encoded with their own
        label, moved to where another label's prior has them, and decoded with that label, are taken
        for it: 1 where the label decides, 0 where the latents do; only of a prior that has one
        noise for each latent;
        ``label_adherence_swapped_z``: the same with the latents left where they are. With a prior
        for each label they then stay the old label's, so it may be low without fault; with one
        prior for all both are the same. Neither is there for a single label.
    """
    whole, data = data, of_attribute(data, place)
    per_label = per_label or images_per_label(data.num_labels)
    test = ResidentImages.from_split(data.test).to(judges.device)
    accuracies: list[Estimate] = []
    counts: list[Tensor] = []
    diversities: dict[str, tuple[Estimate, Estimate]] = {}
    for label, name in enumerate(data.label_names):
        asked = asked_for(whole, [label], per_label, place)
        images = model.sample(**asked, seed=seed * data.num_labels + label)
        taken = judges.classify(images).cpu()
        accuracies.append(share(taken == label))
        counts.append(torch.stack([(taken == other).sum(0) for other in range(data.num_labels)]))
        advance(1)
        if ratios := diversity(images, test, label, judges.members, model.domain):
            diversities[name] = ratios
        else:
            leave(f"diversity/{name}", "its test images are fewer than two, or all alike")
    matrix = torch.stack(counts)
    confusion(matrix.sum(2))
    yield from estimate_metrics("judge_accuracy", averaged(accuracies))
    yield from worst_metrics("judge_accuracy", accuracies, seed)
    yield from spread_metrics("judge_accuracy", accuracies, seed)
    for name, accuracy in zip(data.label_names, accuracies, strict=True):
        yield from estimate_metrics(BY_LABEL + name, accuracy)
    yield from confusion_metrics(matrix, data.label_names)
    yield from estimate_metrics("judge_test_accuracy", judges.test_accuracy)
    yield from diversity_metrics(diversities, seed)
    if data.num_labels > 1:
        held = ResidentImages.from_split(whole.test).to(judges.device)
        moved, raw = _swapped(model, held, test, data.num_labels, judges, seed, place or 0)
        if model.latents.invertible:
            yield from estimate_metrics("label_adherence_swapped_noise", moved)
        else:
            leave("label_adherence_swapped_noise", "the prior has no one noise for each latent")
        yield from estimate_metrics("label_adherence_swapped_z", raw)


def images_per_label(num_labels: int) -> int:
    """How many images of each label are judged: 10 000 in all, but 10 to 1000 each."""
    return max(10, min(1000, IMAGES // num_labels))


def _swapped(
    model: ConditionalGenerator,
    test: ResidentImages,
    labelled: ResidentImages,
    num_labels: int,
    judges: Ensemble,
    seed: int,
    place: int,
) -> tuple[Estimate, Estimate]:
    """Fractions of test images taken for another label that they were decoded with.

    Their latents once moved with the label, by way of the prior's noise, and once as they are.
    ``test`` holds all that the images are given, ``labelled`` the labels of the attribute.
    """
    numbers = Numbers(seed, Stream.SWAPS)
    assert labelled.labels is not None
    known = (labelled.labels >= 0).nonzero().squeeze(1).cpu()
    rows = known[spaced(len(known), IMAGES)]
    turns = torch.from_numpy(numbers.integers(1, num_labels, (len(rows),)))
    others = (labelled.labels[rows.to(labelled.device)] + turns.to(labelled.device)) % num_labels
    way, space = Pass(model, test, seed, rows=rows), model.latents

    def taken(part: slice) -> tuple[Tensor, Tensor]:
        """Whether each judge takes images for the label that they were given ``[B, J]``, twice."""
        batch, other = way.at(part).batch, others[part]
        assert batch.conditions is not None
        inputs = model.domain.to_input(batch.stored, batch.uniforms)
        given = model.conditioner(batch.conditions)
        latents = model.drawn(inputs, given, batch.noise)
        changed = model.conditioner(with_label(batch.conditions, other, place))
        moved = latents
        if space.invertible:
            moved = space.draw(space.whiten(latents, given), changed)
        first, second = (
            judges.classify(model.render(decoded, changed)) == other[:, None]
            for decoded in (moved, latents)
        )
        return first, second

    hits = gathered(in_blocks(taken, range(len(rows)), BLOCK, test.device))
    moved_share, raw_share = map(share, hits)
    return moved_share, raw_share
