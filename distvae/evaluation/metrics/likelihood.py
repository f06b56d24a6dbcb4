"""Log p(x), or log p(x|y) of a conditional model."""

from typing import ClassVar

from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.evaluation.elbo import is_cross_entropy
from distvae.evaluation.likelihood import Estimate, likelihood_metrics, log_likelihood
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import drawn_latents
from distvae.evaluation.passes import Advance
from distvae.likelihoods.base import levels_of
from distvae.models import VAE
from distvae.parts import MetricPart
from distvae.terminal import progress_bar

CROSS_ENTROPY = (
    "--likelihood bernoulli with --binarize none takes grey levels as probabilities, a "
    "cross-entropy that is no likelihood of them"
)
LOOKED_AT = 1000
"""Test images in which grey levels are looked for, at most."""


class LikelihoodPart(MetricPart):
    """Log p(x), or log p(x|y) of a conditional model, by importance sampling, also by label."""

    name = "likelihood"
    builds = "Likelihood"
    headlines = ("log_likelihood",)
    meanings: ClassVar[dict[str, str]] = {
        "log_likelihood": "log-likelihood of an image, given its label where the model is, nats",
        "log_likelihood_draws": "draws for an image of the log-likelihood",
        "log_likelihood_effective_draws": "draws of even weight that these are worth (median)",
    }


def a_likelihood(name: str, model: VAE, data: ImageData) -> None:
    """A likelihood of the images, see :data:`CROSS_ENTROPY`."""
    if not is_cross_entropy(model):
        return
    images = data.test.images[:: max(1, len(data.test) // LOOKED_AT)]
    if ((images > 0) & (images < levels_of(model.domain) - 1)).any():
        raise DistvaeError(
            f"--metrics {name} needs a likelihood of the images, and {CROSS_ENTROPY}",
            "expected black and white pixels, or a likelihood of grey levels",
            f"Leave {name} out, or train with --binarize dynamic or another --likelihood.",
        )


class Likelihood(Metric):
    """See :mod:`distvae.evaluation.likelihood`."""

    needs = (drawn_latents, a_likelihood)
    unlabelled = True
    shared = True

    def measure(self, subject: Subject) -> Values:
        """Of every test image."""
        with progress_bar("log-likelihood", len(subject.data.test)) as advance:
            estimate = estimated(subject, None, advance)
        yield "log_likelihood_draws", float(subject.draws)
        labels, names = subject.images.labels, subject.data.label_names
        yield from likelihood_metrics(estimate, labels, names, "log_likelihood")


def estimated(subject: Subject, label: int | None, advance: Advance) -> Estimate:
    """Log-likelihood under a label, or under that of each image."""
    model, images, seed, draws = subject.model, subject.images, subject.seed, subject.draws
    return log_likelihood(model, images, seed, draws, label, subject.share, advance)
