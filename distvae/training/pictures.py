"""What a person looks at of a run in training, drawn as its domain shows examples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.asking import usual_rows, written
from distvae.conditions import Conditions
from distvae.data.batches import ResidentImages
from distvae.domains import EACH, Samples
from distvae.labels import numbers_of
from distvae.models import VAE

MOST_ROWS = 20
"""Labels of which examples are drawn."""


@torch.no_grad()
def write_pictures(model: VAE, images: ResidentImages, seed: int, folder: Path, epoch: int) -> None:
    """Write into a folder what shows how far a model is, by the same noise in every epoch.

    What that is says :meth:`distvae.domains.Domain.show`.
    """
    model.domain.show(ModelView(model, images, seed), folder, epoch)


@dataclass(frozen=True)
class ModelView:
    """A :class:`distvae.domains.base.View` of a model and a split, by the noise of a seed."""

    model: VAE
    images: ResidentImages
    seed: int

    def samples(self) -> Samples:
        """Of the first labels, where there are many.

        Of several attributes a row has one label of the first, and those of the others in turn.
        """
        model, seed = self.model, self.seed
        names = model.label_names[:MOST_ROWS]
        if names:
            words = [[name for name in names for _ in range(EACH)]]
            drawn = model.sample(labels=names, n=EACH, seed=seed)
            return Samples(self._stored(drawn), ["label"], words)
        if not model.attributes:
            return Samples(self._stored(model.sample(n=EACH * EACH, seed=seed)), [], [])
        asked = usual_rows(model.attributes, MOST_ROWS)
        each = EACH if len(asked.rows) > 1 else EACH * EACH
        given, total = asked.given(each), each * len(asked.rows)
        drawn = torch.cat(list(model.sample_given(total, given, seed)))
        words = written(given(np.arange(total)), model.attributes)
        return Samples(self._stored(drawn), [each.name for each in model.attributes], words)

    def reconstructed(self, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """By the means of the posteriors; fewer where the split has no more."""
        model = self.model
        stored, *known = self.images.gather(torch.arange(min(count, len(self.images.stored))))
        if not len(stored):
            return _on_host(stored), _on_host(stored)
        inputs = model.domain.to_expected_input(stored)
        given = Conditions.of_examples(*known) if model.conditional else None
        context = model.conditioner(given)
        return _on_host(stored), self._stored(model.render(model.means(inputs, context), context))

    def alike(self, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Evenly from the split; drawn ones have the same labels where each has one."""
        model, split = self.model, self.images
        rows = torch.arange(0, len(split.stored), max(1, len(split.stored) // count))
        stored, labels, *_ = split.gather(rows)
        if not len(rows):
            return _on_host(stored), _on_host(stored)
        if model.label_names and labels is not None:
            known = labels >= 0
            stored = stored[known]
            numbers = numbers_of(model.label_names)[labels[known].cpu().numpy()]
            drawn = model.sample(labels=numbers, n=1, seed=self.seed)
        else:
            drawn = model.sample(n=len(rows), seed=self.seed)
        return _on_host(stored), self._stored(drawn)

    def _stored(self, drawn: Tensor) -> NDArray[Any]:
        return _on_host(self.model.domain.to_stored(drawn))


def _on_host(examples: Tensor) -> NDArray[Any]:
    return examples.cpu().numpy()
