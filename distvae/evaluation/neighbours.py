"""Whether generated images are copies of training images: the nearest one of each.

Legend: N generated images, M test images, P pictured ones, F features, C channels, H height,
W width.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.examples import domain_of_data
from distvae.data.store import ImageData
from distvae.domains import images_of
from distvae.evaluation.asked import asked_for, asked_like
from distvae.evaluation.features import Sampler, Space, extract, real_images, spaced
from distvae.evaluation.passes import Advance, unwatched
from distvae.evaluation.uncertainty import ERROR, named_metrics, pooled, share_error
from distvae.images import SHEET_PIXELS, grid, save_png, to_uint8

COLUMNS = 10
ROWS = 5
"""Of pairs, without labels."""
MOST_ROWS = 20
TEST_IMAGES = 5000
NEAR = 0.01
"""Share of the test images that lie as near as what is called a copy."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Distances to the nearest training image, and some pairs to look at."""

    generated: tuple[Tensor, ...]
    """Of generated images ``[N]``, in each space."""
    test: tuple[Tensor, ...]
    """Of test images ``[M]``, in each space."""
    images: Tensor
    """Generated ones in [0, 1], ``[P, C, H, W]``, ``COLUMNS`` of each label."""
    rows: Tensor
    """Their nearest training images in the first space, int64 ``[P]``."""


@torch.no_grad()
def find_neighbours(
    model: Sampler,
    data: ImageData,
    spaces: Sequence[Space],
    seed: int = 0,
    count: int = 1000,
    advance: Advance = unwatched,
) -> Neighbours:
    """The nearest training image of generated and of test images; of a stream, of its sample.

    Args:
        model: in evaluation mode. A conditional one draws labels as they are in the test split.
        data: the model's.
        spaces: what distances are taken in, each for itself.
        seed: of the generated images.
        count: generated images measured.
        advance: told the number of training images done.
    """
    train, test = ResidentImages.from_split(data.train), ResidentImages.from_split(data.test)
    asked = None
    pictured: dict[str, Any] = {"labels": None, "n": COLUMNS * ROWS}
    if model.conditional and test.labels is not None:
        asked = asked_like(data, data.test, spaced(len(test), count).numpy())
        labels = spaced(data.num_labels, min(data.num_labels, MOST_ROWS)).tolist()
        pictured = asked_for(data, labels, COLUMNS)
    drawn = model.sample_batches(asked, n=count if asked is None else 1, seed=seed)
    images = torch.cat(list(model.sample_batches(**pictured, seed=seed)))
    held = real_images(test, model.domain, spaced(len(test), min(len(test), TEST_IMAGES)))
    sets = [extract(spaces, batches, unwatched) for batches in (drawn, held, [images])]
    searches = [Search(torch.cat(queries)) for queries in zip(*sets, strict=True)]
    for batch in real_images(train, model.domain, torch.arange(len(train))):
        for space, search in zip(spaces, searches, strict=True):
            search.among(space.features(batch))
        advance(len(batch))
    sizes = [len(found[0]) for found in sets]
    generated, tested, _ = zip(
        *(torch.split(search.distances, sizes) for search in searches), strict=True
    )
    return Neighbours(generated, tested, images, searches[0].rows[-len(images) :])


class Search:
    """The nearest of all points, which come block by block.

    The candidate of each block is found with squares multiplied out, and its distance taken anew,
    so that that of a copy is 0.

    Args:
        queries: ``[N, F]``.
    """

    def __init__(self, queries: Tensor) -> None:
        self.queries = queries
        self.distances = queries.new_full((len(queries),), math.inf)
        """Of the nearest point so far ``[N]``."""
        self.rows = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
        """Its number ``[N]``."""
        self._seen = 0

    def among(self, points: Tensor) -> None:
        """Look at another block of points ``[B, F]``."""
        order = torch.addmm(points.square().sum(1), self.queries, points.T, alpha=-2.0)
        candidate = order.argmin(1)
        distance = torch.linalg.vector_norm(self.queries - points[candidate], dim=1)
        nearer = distance < self.distances
        self.rows = torch.where(nearer, candidate + self._seen, self.rows)
        self.distances = torch.minimum(self.distances, distance)
        self._seen += len(points)


def neighbour_metrics(found: Neighbours) -> Iterator[tuple[str, float]]:
    """How near generated images lie to training images, against how near test images do.

    Smooth images lie near to others without being copies: look at the pairs, too.

    Yields:
        Each followed by its ``_standard_error``, see :mod:`distvae.evaluation.uncertainty`:
        ``neighbour_distance_ratio``, the mean distance of a generated image over that of a test
        image: 1 as far as images that were never seen, 0 copies; nothing where all test images are
        in the training split;
        ``copies``, the share of generated images no farther than the nearest hundredth of the test
        images: 1 % of a model that has not memorized any.
    """
    pairs = zip(found.generated, found.test, strict=True)
    figures = [dict(_figures(generated.double(), test.double())) for generated, test in pairs]
    yield from named_metrics(pooled(figures))


def _figures(generated: Tensor, test: Tensor) -> Iterator[tuple[str, float]]:
    """Those of one space."""
    if test.mean() > 0.0:
        ratio = float(generated.mean() / test.mean())
        yield "neighbour_distance_ratio", ratio
        if len(test) > 1:
            part = [float(x.var() / len(x)) for x in (generated, test)]
            error = math.sqrt(part[0] + ratio**2 * part[1]) / float(test.mean())
            yield f"neighbour_distance_ratio{ERROR}", error
    share = float((generated <= torch.quantile(test, NEAR)).double().mean())
    yield "copies", share
    # of the share, and of the quantile that it is counted by
    quantile = NEAR * (1.0 - NEAR) / len(test)
    own = share_error(share * (1.0 - share), len(generated))
    yield f"copies{ERROR}", math.hypot(own, math.sqrt(quantile))


def write_neighbours(path: Path, data: ImageData, found: Neighbours) -> None:
    """A sheet of pairs, the generated image above its nearest training image; labels row by row."""
    train = ResidentImages.from_split(data.train)
    closest = images_of(domain_of_data(data)).pictures(train.stored[found.rows.cpu()].numpy())
    drawn = to_uint8(found.images.cpu().numpy())
    sheet = grid(np.concatenate([drawn, closest], axis=2), COLUMNS)
    factor = max(1, SHEET_PIXELS // sheet.shape[2])
    save_png(path, sheet.repeat(factor, axis=1).repeat(factor, axis=2))
