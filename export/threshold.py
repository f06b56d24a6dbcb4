"""The score above which score.onnx calls an example an anomaly, from held-out examples."""

import dataclasses

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.provenance import open_recorded
from distvae.errors import DistvaeError
from distvae.evaluation.anomaly import scores_of
from distvae.evaluation.passes import Block, Pass, through
from distvae.export.convert import described, manifest_of
from distvae.export.manifest import ThresholdRecord
from distvae.models import VAE
from distvae.places import evenly
from distvae.runs import Run
from distvae.terminal import progress_bar

MOST = 5000
"""Held-out examples that are scored, evenly from all."""


def with_threshold(
    proto: onnx.ModelProto, model: VAE, run: Run, place: str | None, false_alarms: float
) -> tuple[onnx.ModelProto, str]:
    """The graph with a threshold in its manifest where the run's test split is at hand, and a line.

    Args:
        proto: of ``score_graph``.
        model: that it was made from.
        run: whose test split.
        place: where the data lies now; None looks where the run says.
        false_alarms: share of held-out examples above the threshold.
    """
    try:
        data = open_recorded(run, place, progress_bar)
        scores = _scores(model, ResidentImages.from_split(data.test), len(data.test))
    except DistvaeError as error:
        return proto, f"score.onnx has no threshold: {error.thing}"
    threshold = float(np.quantile(scores, 1.0 - false_alarms, method="higher"))
    if not np.isfinite(threshold):
        return proto, "score.onnx has no threshold: scores of the test split are not finite"
    share = float((scores > threshold).mean())
    record = ThresholdRecord(threshold, false_alarms, len(scores), data.test_origin)
    manifest = dataclasses.replace(manifest_of(proto), threshold=record)
    what = f"{len(scores):,} held-out {data.examples}"
    line = f"score.onnx: above {threshold:.4g} lie {share:.2%} of {what}: an anomaly"
    if len(scores) * false_alarms < 1.0:
        line += f" (too few for false alarms of {false_alarms:g}: it is their highest score)"
    return described(proto, manifest), line


@torch.no_grad()
def _scores(model: VAE, images: ResidentImages, count: int) -> NDArray[np.float64]:
    """Of held-out examples ``[N]``."""
    rows = torch.from_numpy(evenly(count, MOST))
    model = model.eval()

    def scores(block: Block) -> Tensor:
        inputs = model.domain.to_expected_input(block.batch.stored)
        return scores_of(model, inputs, model.conditioner(block.batch.conditions)).score

    with progress_bar("scoring held-out examples", len(rows)) as advance:
        parts = list(through(scores, Pass(model, images, 0, rows=rows), advance=advance))
    found: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
    return found
