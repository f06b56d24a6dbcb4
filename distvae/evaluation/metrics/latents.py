"""What the latents hold."""

from typing import ClassVar

from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.evaluation.latents import latent_metrics
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.latents.gaussian import GaussianSpace
from distvae.models import VAE
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class LatentsPart(MetricPart):
    """KL by latent, mutual information, distance of q(z) from the prior."""

    name = "latents"
    builds = "Latents"
    usual = True
    meanings: ClassVar[dict[str, str]] = {
        "rate_latent": "KL by latent, nats, the largest first",
        "mutual_information": "mutual information of image and latents, nats",
        "mutual_information_lower": "mutual information of image and latents, nats, at least",
        "mutual_information_limit": "most mutual information that so few images can show, nats",
        "mutual_information_upper": "mutual information of image and latents, nats, at most",
        "aggregate_kl_lower": "KL of the aggregate posterior to the prior, nats, at least",
        "aggregate_kl_upper": "the same KL, nats, at most (too high by what images cannot show)",
    }


def one_vector(name: str, model: VAE, data: ImageData) -> None:
    """Latents whose posterior is a Gaussian of a single level, perhaps with a flow."""
    if not isinstance(model.latents, GaussianSpace):
        raise DistvaeError(
            f"--metrics {name} needs one vector of Gaussian latents",
            f"those of this model are {', '.join(level.name for level in model.latents.levels)}",
            f"Leave {name} out.",
        )


class Latents(Metric):
    """See :mod:`distvae.evaluation.latents`."""

    needs = (one_vector,)
    imports = "sklearn"

    def measure(self, subject: Subject) -> Values:
        """Of the test images, the prior held against training images too."""
        model, images, train = subject.model, subject.images, subject.data.train
        with progress_bar("latents", len(subject.data.test)) as advance:
            yield from latent_metrics(model, images, train, subject.seed, advance, subject.leave)
