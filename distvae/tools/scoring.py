"""The scores of examples, by name, with weights or by score.onnx.

Legend: N examples, B of a block, K draws for an example, T training examples, Z latents.
"""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.places import evenly
from distvae.terminal import progress_bar
from distvae.tools.collected import Collected
from distvae.tools.examples import Examples, Part, open_examples
from distvae.tools.trained import Trained

if TYPE_CHECKING:
    from torch import Tensor

    from distvae.tools.batches import Seen

STRANGE = {
    "score": 1.0,
    "elbo": -1.0,
    "distortion": 1.0,
    "rate": 1.0,
    "knn": 1.0,
    "ratio": -1.0,
    "log_likelihood": -1.0,
}
"""Scores that there may be, and whether the strange ones lie above or below the usual ones."""
NEIGHBOURS = 5
"""The training example so near counts, by its latents."""
ROWS, LABELS = "rows", "labels"
MOST = 20_000
"""Training examples whose latents are kept, evenly from all."""
Columns = dict[str, NDArray[np.float64]]
"""``[N]`` by name, of :data:`STRANGE`."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Examples and their scores."""

    columns: Columns
    rows: NDArray[np.int64]
    """Numbers of the examples ``[N]``; those are missing that could not be read."""
    labels: NDArray[np.int64] | None
    """Among ``label_names`` ``[N]``, -1 where one is not known; None without labels."""
    label_names: tuple[str, ...]

    def strangeness(self, name: str) -> NDArray[np.float64]:
        """A score turned so that the strange lie above ``[N]``."""
        return STRANGE[name] * self.columns[name]


@dataclass(frozen=True)
class Asked:
    """What is computed besides distortion, rate and score."""

    knn: bool = True
    draws: int | None = None
    """K of the importance-weighted likelihood; None leaves it out."""
    background: Trained | None = None
    """Whose bound the bound is compared with; None takes the bits of a PNG."""
    seed: int = 0


def scored(trained: Trained, examples: Examples, asked: Asked, what: str = "scoring") -> Scored:
    """The scores of examples that are open.

    Raises:
        DistvaeError: none of them can be read.
    """
    measure = _by_file(trained) if trained.onnx else None
    parts = (
        _exported(examples, measure, what) if measure else _weighed(trained, examples, asked, what)
    )
    kept = Collected(len(examples))
    for part, columns in parts:
        labels = {} if part.labels is None else {LABELS: part.labels}
        kept.add({ROWS: part.rows, **labels, **columns})
    examples.refuse_none()
    found = Scored(
        {name: kept.column(name) for name in kept.names if name in STRANGE},
        kept.column(ROWS),
        kept.column(LABELS) if LABELS in kept.names else None,
        examples.label_names,
    )
    if asked.background is not None:
        found.columns["ratio"] = found.columns["elbo"] - _background(asked, examples)
    return found


def _by_file(trained: Trained) -> Callable[[Any], Columns]:
    """Of stored examples and what they are given, by score.onnx."""
    from distvae.attribute_values import by_name
    from distvae.export.scorer import Scorer

    assert trained.onnx is not None
    scorer = Scorer(trained.onnx)

    def measure(part: Any) -> Columns:
        given: Any = None
        if part.given is not None:
            labels = part.given[:, 0]
            given = by_name(part.given, trained.attributes)
            if scorer.label_names:
                given = [scorer.label_names[int(label)] for label in labels]
        found = scorer.scores(part.stored, given)
        distortion, rate, score = (each.astype(np.float64) for each in found)
        return {"score": score, "elbo": -distortion - rate, "distortion": distortion, "rate": rate}

    return measure


def _exported(
    examples: Examples, measure: Callable[[Any], Columns], what: str
) -> Iterator[tuple[Part, Columns]]:
    with progress_bar(what, len(examples)) as advance:
        for part in examples.parts():
            if len(part.rows):
                yield part, measure(part)
            advance(part.asked.stop - part.asked.start)


def _weighed(
    trained: Trained, examples: Examples, asked: Asked, what: str
) -> Iterator[tuple[Part, Columns]]:
    """Each block with its scores, by a model with weights."""
    import torch

    from distvae.evaluation.anomaly import mean_terms, scores_of_terms
    from distvae.tools.batches import batches

    model = trained.model
    near = _neighbours(trained) if asked.knn else None
    pictures = "pictures" in trained.domain.part.traits and asked.background is None
    with progress_bar(what, len(examples)) as advance:
        for seen in batches(trained, examples, asked.seed, advance=advance):
            with torch.no_grad():
                terms = mean_terms(model, seen.expected, seen.context)
                found = scores_of_terms(model, seen.expected, terms)
                distortion, rate, score = (each.double().cpu().numpy() for each in found)
                columns = {"score": score, "elbo": -distortion - rate}
                columns |= {"distortion": distortion, "rate": rate}
                if near is not None:
                    codes = torch.cat([draw.rows.flatten(1) for draw in terms.draws], 1)
                    columns["knn"] = near(codes)
                if asked.draws is not None:
                    columns["log_likelihood"] = _importance(trained, seen, asked.draws, asked.seed)
            if pictures:
                columns["ratio"] = columns["elbo"] + _png_nats(seen.part.stored)
            yield seen.part, columns


def _neighbours(trained: Trained) -> "Callable[[Tensor], NDArray[np.float64]] | None":
    """Distance of codes ``[B, Z]`` to that of the fifth nearest training example.

    Each latent is measured in its standard deviation over the training examples. None where the
    training examples are not at hand.
    """
    import torch

    from distvae.tools.batches import batches

    try:
        training = open_examples(trained, None, "train", tell=False)
    except DistvaeError:
        return None
    training, kept = training.only(evenly(len(training), MOST)), []
    with progress_bar("latents of training examples", len(training)) as advance:
        for seen in batches(trained, training, advance=advance):
            with torch.no_grad():
                means = trained.model.means(seen.expected, seen.context)
            kept.append(torch.cat([mean.flatten(1) for mean in means], 1).double())
    known = torch.cat(kept)
    scale = known.std(0).clamp(min=1e-6)
    known = known / scale
    count = min(NEIGHBOURS, len(known))

    def distances(codes: "Tensor") -> NDArray[np.float64]:
        apart = torch.cdist(codes.double() / scale, known)
        found: NDArray[np.float64] = apart.topk(count, largest=False).values[:, -1].cpu().numpy()
        return found

    return distances


def _importance(trained: Trained, seen: "Seen", draws: int, seed: int) -> NDArray[np.float64]:
    """Log of the mean of K importance weights, nats ``[B]`` (Burda et al. 2016, eq. 8)."""
    import torch

    from distvae.draws.philox import Stream
    from distvae.draws.steps import NoiseSource

    model, most = trained.model, 50
    inputs = model.inputs_of(seen.batch)
    features = model.features(inputs, seen.context)
    dim, device = model.latents.infer_dim, model.device
    source = NoiseSource(seed, Stream.IMPORTANCE, dim, None, device, most)
    total = torch.full((len(inputs),), -math.inf, dtype=torch.float64, device=device)
    kept = torch.from_numpy(seen.part.rows - seen.part.asked.start).to(device)
    for turn in range(-(-draws // most)):
        noise = source.draw(turn, seen.part.asked).noise[kept][:, : draws - turn * most]
        given = (features, inputs, seen.context, noise, noise.shape[1])
        terms = model.terms_given(*given, densities=True)
        weights = terms.log_likelihood.double() + terms.log_p - terms.log_q
        total = torch.logaddexp(total, weights.logsumexp(1))
    found: NDArray[np.float64] = (total - math.log(draws)).cpu().numpy()
    return found


def _background(asked: Asked, examples: Examples) -> NDArray[np.float64]:
    """The bound of the background model on the same examples, nats ``[N]``."""
    assert asked.background is not None
    other = asked.background
    if other.domain.shape != examples.domain.shape or other.attributes:
        raise DistvaeError(
            f"--background {other.name} does not fit {examples.name}",
            f"expected a model without labels of {examples.domain.told}, found {other.domain.told}",
        )
    bounds = Collected(len(examples))
    for _, columns in _weighed(other, examples, Asked(knn=False, background=other), "background"):
        bounds.add({"elbo": columns["elbo"]})
    return bounds.column("elbo")


def _png_nats(stored: NDArray[Any]) -> NDArray[np.float64]:
    """Nats that a PNG of each picture takes ``[B]``: how complex it is (Serra et al. 2020)."""
    from PIL import Image

    sizes = []
    for pixels in stored:
        buffer = io.BytesIO()
        shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        Image.fromarray(shown).save(buffer, "PNG", optimize=True)
        sizes.append(buffer.tell())
    return np.array(sizes) * 8.0 * math.log(2.0)
