"""What the latents hold."""

from distvae.evaluation.latents import latent_metrics
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class LatentsPart(MetricPart):
    """KL by latent, mutual information, distance of q(z) from the prior."""

    name = "latents"
    builds = "Latents"
    usual = True


class Latents(Metric):
    """See :mod:`distvae.evaluation.latents`."""

    imports = "sklearn"

    def measure(self, subject: Subject) -> Values:
        """Of the test images, the prior held against training images too."""
        model, images, train = subject.model, subject.images, subject.data.train
        with progress_bar("latents", len(subject.data.test)) as advance:
            yield from latent_metrics(model, images, train, subject.seed, advance, subject.leave)
