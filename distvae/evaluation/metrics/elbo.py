"""The bound and what it is made of."""

from typing import ClassVar

from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.likelihood import CROSS_ENTROPY
from distvae.parts import MetricPart
from distvae.terminal import progress_bar

BITS = "bits_per_dim"
REAL = "a density of real numbers is none of levels, which bits count"


class ElboPart(MetricPart):
    """The bound, distortion, rate, bits per pixel and channel, active latents."""

    name = "elbo"
    builds = "Elbo"
    headlines = ("elbo", "bits_per_dim")
    usual = True
    shares = ("code_usage",)
    meanings: ClassVar[dict[str, str]] = {
        "elbo": "elbo, nats per image",
        "distortion": "distortion, nats per image",
        "rate": "rate, nats per image",
        "bits_per_dim": "bits per pixel and channel",
        "active_units": "active latents",
        "latent_dim": "latents in all",
        "code_usage": "codes in use over the split",
        "code_perplexity": "codes of even use that these are worth",
        "codes": "codes in all",
    }


class Elbo(Metric):
    """See :mod:`distvae.evaluation.elbo`."""

    unlabelled = True
    shared = True

    def measure(self, subject: Subject) -> Values:
        """Of every test image, by one draw."""
        names = subject.data.label_names
        model, images, seed, share = subject.model, subject.images, subject.seed, subject.share
        with progress_bar("elbo", len(subject.data.test)) as advance:
            found = dict(elbo_metrics(model, images, seed, share, advance, names))
        if BITS not in found:
            subject.leave(BITS, CROSS_ENTROPY if model.domain.levels else REAL)
        yield from found.items()
