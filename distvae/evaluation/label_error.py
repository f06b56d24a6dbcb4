"""How often q(y|x) tells another label than an example has, on any number of processes."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.evaluation.passes import ALONE, Advance, Block, Pass, Share, through, unwatched
from distvae.models import VAE


@torch.no_grad()
def label_metrics(
    model: VAE, images: ResidentImages, share: Share = ALONE, advance: Advance = unwatched
) -> Iterator[tuple[str, float]]:
    """The error of q(y|x) over the labelled examples of a split.

    Inputs are seen as they are on average, without chance.

    Args:
        model: in evaluation mode, on the device of ``images``, with q(y|x).
        images: the split.
        share: of this process.
        advance: told the number of examples done.

    Yields:
        ``label_error``, a share, its ``label_error_standard_error`` over the examples, and
        ``label_loss``, the mean of -log q(y|x) in nats; nothing where no example has a label.
    """
    classifier = model.classifier
    assert classifier is not None

    def sums_of(block: Block) -> Tensor:
        labels = block.labels
        assert labels is not None
        log_q = classifier(model.domain.to_expected_input(block.batch.stored).to(model.dtype))
        labels, known = labels.to(log_q.device), labels.to(log_q.device) >= 0
        wrong = log_q.argmax(1) != labels
        loss = -log_q.gather(1, labels.clamp(min=0)[:, None])[:, 0]
        return torch.stack([known, known & wrong, torch.where(known, loss, 0.0)]).double().sum(1)

    total = torch.zeros(3, dtype=torch.float64, device=images.device)
    for sums in through(sums_of, Pass(model, images, 0), share=share, advance=advance):
        total += sums
    count, wrong, loss = share.reduce(total).tolist()
    if count:
        error = wrong / count
        yield "label_error", error
        if count > 1:
            yield "label_error_standard_error", math.sqrt(error * (1.0 - error) / (count - 1))
        yield "label_loss", loss / count
