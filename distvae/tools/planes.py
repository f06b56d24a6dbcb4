"""Where traversals and planes are drawn, and which latents they show.

Legend: N examples, D coordinates, R points, A attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.terminal import progress_bar, say
from distvae.text import counted, one_of
from distvae.tools.examples import open_examples
from distvae.tools.given import rows_of_labels, words_of
from distvae.tools.space import Points, Space
from distvae.tools.trained import Trained

SHARES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Of the prior, where it is looked how much a coordinate changes."""
NATS = "nats"


@dataclass(frozen=True, eq=False)
class Base:
    """Where coordinates are that do not change, and what the model is given."""

    trained: Trained
    point: Points
    """``[1, D]``."""
    given: Values | None
    """``[1, A]``; None of a model that is given nothing."""
    where: str
    """For people."""

    @classmethod
    def of(cls, trained: Trained, space: Space, image: Any, given: Values | None) -> "Base":
        """At the posterior mean of an image, or at the middle of the prior.

        Raises:
            DistvaeError: there is not one image, or not one label.
        """
        if given is not None and len(given) != 1:
            raise DistvaeError(f"--label asks for {len(given)} rows", "expected one")
        if image is None:
            given = rows_of_labels(None, trained.attributes) if given is None else given
            return cls(trained, np.zeros((1, len(space.names))), given, "the middle of the prior")
        examples = open_examples(trained, image, tell=False, fixed=given)
        if len(examples) != 1:
            raise DistvaeError(
                f"{examples.name} has {counted(len(examples), examples.domain.examples)}",
                "expected one",
            )
        found = space.located(examples)
        name = Path(examples.names(np.arange(1))[0]).name
        return cls(trained, found.points, found.given, name)

    @property
    def known(self) -> str:
        """What the model is given, in words."""
        return words_of(self.given, self.trained.attributes)

    @property
    def told(self) -> str:
        """Where the other coordinates are, and what the model is given."""
        return f"the others at {self.where}" + (f", {self.known}" if self.known else "")


class Strengths(NamedTuple):
    """How much each coordinate matters."""

    values: NDArray[np.float64]
    """``[D]``."""
    unit: str
    """``nats`` of an example that it carries; where no examples were at hand, by how much it
    changes one, in ``grey levels`` or in ``deviations of a column``."""
    told: str
    """What it was measured on, and how."""
    means: Points | None
    """Coordinates of the posterior means of examples ``[N, D]``; None of no examples."""

    @property
    def order(self) -> NDArray[np.int64]:
        """Coordinates by their strength, the greatest first ``[D]``."""
        return np.argsort(-self.values, kind="stable")

    def of(self, place: int, decimals: int = 2) -> str:
        """One of them, with its unit."""
        return f"{self.values[place]:.{decimals}f} {self.unit}"


def strengths_of(trained: Trained, space: Space, data: Any, base: Base, tell: bool) -> Strengths:
    """By examples, those of the run where none are named; without any by the decoder alone.

    Raises:
        DistvaeError: examples were named and cannot be had.
    """
    why = "exported files do not tell rates of this prior"
    try:
        examples = open_examples(trained, data, tell=tell)
    except DistvaeError as error:
        if data is not None:
            raise
        measured, why = None, f"{error.thing}, so there are no rates"
    else:
        measured = space.rates(examples)
        if measured.nats is not None:
            how = "in closed form" if measured.exact else "of Gaussians with the moments of draws"
            size = counted(len(measured.means), trained.domain.examples)
            told = f"{size} of {examples.name}, {how}"
            return Strengths(measured.nats, NATS, told, measured.means)
    one = one_of(trained.domain.examples)
    if tell:
        say(f"{why}: latents are sorted by how much they change an {one}")
    pictures = isinstance(trained.domain, Images)
    unit = "grey levels" if pictures else "deviations of a column"
    told = f"root mean square over {base.told} and quantiles of the prior"
    means = None if measured is None else measured.means
    return Strengths(_changes(trained, space, base), unit, told, means)


def _changes(trained: Trained, space: Space, base: Base) -> NDArray[np.float64]:
    """By how much examples vary about their mean, when one coordinate moves ``[D]``."""
    table = space.quantiles(SHARES, base.given)
    result = np.empty(len(space.names))
    with progress_bar("looking at latents", len(result)) as advance:
        for place in range(len(result)):
            points = base.point.repeat(len(SHARES), 0)
            points[:, place] = table[:, place]
            found = space.made(points, base.given).stored / trained.domain.scale
            result[place] = np.sqrt(found.var(0).mean())
            advance(1)
    return result


def plane_of(
    measured: Strengths, space: Space, plane: str, latents: Sequence[int]
) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Directions of two axes ``[2, D]``, orthonormal, and what they are.

    Args:
        measured: how much each coordinate matters.
        space: of the coordinates.
        plane: of two ``latents``, or of two ``principal`` directions of the means.
        latents: which two; empty takes the strongest.

    Raises:
        DistvaeError: principal directions are asked for and no examples are at hand.
    """
    axes = np.zeros((2, len(space.names)))
    if plane == "latents":
        chosen = [*latents] or measured.order[:2].tolist()
        axes[[0, 1], chosen] = 1.0
        first, second = (f"z{space.names[at]} ({measured.of(at)})" for at in chosen)
        return axes, (first, second)
    if measured.means is None:
        raise DistvaeError(
            "principal directions are those of the means of examples",
            "there are none at hand",
            "Name some by --data.",
        )
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
