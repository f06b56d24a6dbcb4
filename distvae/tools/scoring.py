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
from distvae.tools.collected import collected
from distvae.tools.encoding import Advance
from distvae.tools.examples import Examples, Part, open_examples
from distvae.tools.parts import Parts
from distvae.tools.trained import Trained

if TYPE_CHECKING:
    from torch import Tensor

    from distvae.composition import Terms
    from distvae.models import VAE
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
PART_ROWS = 20_000
"""Examples whose scores are kept at once."""
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


def scored(
    trained: Trained,
    examples: Examples,
    asked: Asked,
    what: str = "scoring",
    parts: Parts | None = None,
    part_rows: int = PART_ROWS,
) -> Scored:
    """The scores of examples that are open.

    Args:
        trained: the model.
        examples: what is scored.
        asked: what is computed.
        what: is done, for a progress bar.
        parts: where scores are kept on the way; None keeps none.
        part_rows: examples of a part.

    Raises:
        DistvaeError: none of them can be read.
    """
    check_background(asked.background, examples)

    def blocks(start: int) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        with progress_bar(what, len(examples)) as advance:
            advance(start)
            made = _weighed if trained.onnx is None else _exported
            for part, columns in made(trained, examples, asked, start, advance):
                labels = {} if part.labels is None else {LABELS: part.labels}
                yield part.asked.stop, {ROWS: part.rows, **labels, **columns}

    kept = collected(examples, blocks, parts, part_rows)
    return Scored(
        {name: kept.column(name) for name in kept.names if name in STRANGE},
        kept.column(ROWS),
        kept.column(LABELS) if LABELS in kept.names else None,
        examples.label_names,
    )


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
    trained: Trained, examples: Examples, asked: Asked, start: int, advance: Advance
) -> Iterator[tuple[Part, Columns]]:
    """Each block with its scores, by score.onnx."""
    measure = _by_file(trained)
    for part in examples.parts(start=start):
        if len(part.rows):
            yield part, measure(part)
        advance(part.asked.stop - part.asked.start)


def _weighed(
    trained: Trained, examples: Examples, asked: Asked, start: int, advance: Advance
) -> Iterator[tuple[Part, Columns]]:
    """Each block with its scores, by a model with weights."""
    import torch

    from distvae.tools.batches import batches

    near = _neighbours(trained) if asked.knn else None
    pictures = "pictures" in trained.domain.part.traits
    for seen in batches(trained, examples, asked.seed, start=start, advance=advance):
        columns, terms = _bound(trained.model, seen.expected, seen.context)
        if near is not None:
            codes = torch.cat([draw.rows.flatten(1) for draw in terms.draws], 1)
            columns["knn"] = near(codes)
        if asked.draws is not None:
            with torch.no_grad():
                found = _importance(trained, seen, asked.draws, asked.seed)
            columns["log_likelihood"] = found
        if asked.background is not None:
            other = asked.background.model
            stored = torch.from_numpy(seen.part.stored).to(other.device)
            expected = other.domain.to_expected_input(stored)
            columns["ratio"] = columns["elbo"] - _bound(other, expected, None)[0]["elbo"]
        elif pictures:
            columns["ratio"] = columns["elbo"] + _png_nats(seen.part.stored)
        yield seen.part, columns


def _bound(model: "VAE", expected: "Tensor", context: Any) -> "tuple[Columns, Terms]":
    """Score, elbo, distortion and rate ``[B]`` of inputs, and what they are made of."""
    import torch

    from distvae.evaluation.anomaly import mean_terms, scores_of_terms

    with torch.no_grad():
        terms = mean_terms(model, expected, context)
        found = scores_of_terms(model, expected, terms)
        distortion, rate, score = (each.double().cpu().numpy() for each in found)
    columns = {"score": score, "elbo": -distortion - rate, "distortion": distortion, "rate": rate}
    return columns, terms


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


def check_background(other: Trained | None, examples: Examples) -> None:
    """Refuse a background model that is of other examples, or is given labels.

    Raises:
        DistvaeError: it is.
    """
    if other is not None and (other.domain.shape != examples.domain.shape or other.attributes):
        raise DistvaeError(
            f"--background {other.name} does not fit {examples.name}",
            f"expected a model without labels of {examples.domain.told}, found {other.domain.told}",
        )


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
