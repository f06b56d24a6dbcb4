"""Points of the space in which a prior is even, and what a model makes of them.

Legend: R points, D coordinates, S the axes of an example, A attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.asking import written
from distvae.attribute_values import Values
from distvae.blocks import in_blocks
from distvae.conditions import Context
from distvae.errors import DistvaeError
from distvae.evaluation.passes import BLOCK
from distvae.text import counted
from distvae.tools.batches import batches, context_of
from distvae.tools.examples import open_examples
from distvae.tools.given import rows_of_labels
from distvae.tools.rates import Rates
from distvae.tools.trained import Trained
from distvae.tools.whitened import Whitened


@dataclass(frozen=True, eq=False)
class Base:
    """Where coordinates are that do not change, and what the model is given."""

    trained: Trained
    point: Tensor
    """``[1, D]``."""
    given: Values | None
    """``[1, A]``; None of a model that is given nothing."""
    where: str
    """For people."""

    @classmethod
    def of(
        cls, trained: Trained, space: Whitened, image: Any, given: Values | None, tell: bool
    ) -> "Base":
        """At the posterior mean of an image, or at the middle of the prior.

        Raises:
            DistvaeError: there is not one image, or not one label.
        """
        if given is not None and len(given) != 1:
            raise DistvaeError(f"--label asks for {len(given)} rows", "expected one")
        if image is None:
            given = rows_of_labels(None, trained.attributes) if given is None else given
            origin = torch.zeros(1, len(space.names), device=trained.model.device)
            return cls(trained, origin, given, "the middle of the prior")
        examples = open_examples(trained, image, tell=False)
        if len(examples) != 1:
            raise DistvaeError(
                f"{examples.name} has {counted(len(examples), examples.domain.examples)}",
                "expected one",
            )
        if given is not None:
            examples = examples.given_all(given)
        with torch.no_grad():
            found = list(batches(trained, examples))
            examples.refuse_none()
            (seen,) = found
            means = trained.model.means(seen.expected, seen.context)
            point = space.of(means, seen.context)
        name = Path(examples.names(np.arange(1))[0]).name
        return cls(trained, point, seen.part.given, name)

    @property
    def known(self) -> str:
        """What the model is given, in words."""
        if self.given is None:
            return ""
        attributes = self.trained.attributes
        words = written(np.asarray(self.given, np.float32), attributes)
        pairs = zip(attributes, words, strict=True)
        return ", ".join(f"{each.name} {word[0]}" for each, word in pairs if word[0])

    @property
    def told(self) -> str:
        """Where the other coordinates are, and what the model is given."""
        return f"the others at {self.where}" + (f", {self.known}" if self.known else "")

    def context(self, count: int) -> Context | None:
        """Of so many rows."""
        return context_of(self.trained.model, self.given, count)


@torch.no_grad()
def decoded(trained: Trained, space: Whitened, points: Tensor, base: Base) -> NDArray[Any]:
    """What the model makes of points ``[R, D]``, as examples are stored ``[R, *S]``."""
    model = trained.model

    def compute(part: slice) -> Tensor:
        own = points[part]
        context = base.context(len(own))
        return model.domain.to_stored(model.render(space.latents(own, context), context))

    parts = in_blocks(compute, range(len(points)), BLOCK, model.device)
    return np.concatenate([part.cpu().numpy() for part in parts])


def plane_of(
    measured: Rates, space: Whitened, plane: str, latents: Sequence[int]
) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Directions of two axes ``[2, D]``, orthonormal, and what they are.

    Args:
        measured: rates and means of examples.
        space: of the coordinates.
        plane: of two ``latents``, or of two ``principal`` directions of the means.
        latents: which two; empty takes those of the greatest rates.
    """
    axes = np.zeros((2, len(space.names)))
    if plane == "latents":
        chosen = [*latents] or measured.order[:2].tolist()
        axes[[0, 1], chosen] = 1.0
        first, second = (f"z{space.names[at]} ({measured.nats[at]:.2f} nats)" for at in chosen)
        return axes, (first, second)
    centred = measured.means - measured.means.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2].T.copy()
    largest = np.abs(axes).argmax(1)
    axes *= np.sign(axes[[0, 1], largest])[:, None]  # a direction has no sign of its own
    shares = values[::-1][:2] / max(values.sum(), 1e-12)
    first, second = (
        f"principal direction {number} ({100 * share:.1f} % of the variance of the means)"
        for number, share in enumerate(shares, 1)
    )
    return axes, (first, second)
