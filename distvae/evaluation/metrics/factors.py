"""How well latents stand for the factors that images were drawn from."""

import math
from typing import ClassVar

from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.evaluation.disentanglement import IMAGES, REPEATS, disentanglement_metrics
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import pictures
from distvae.models import VAE
from distvae.parts import MetricPart


class FactorsPart(MetricPart):
    """MIG, SAP, DCI and FactorVAE score, on data whose factors are known."""

    name = "factors"
    builds = "Factors"
    meanings: ClassVar[dict[str, str]] = {
        "mig": "mutual information gap (MIG)",
        "sap": "separated attribute predictability (SAP)",
        "dci_disentanglement": "disentanglement (DCI)",
        "dci_completeness": "completeness (DCI)",
        "dci_informativeness": "informativeness (DCI)",
        "factor_vae_score": "FactorVAE score",
    }


def known_factors(name: str, model: VAE, data: ImageData) -> None:
    """Data whose factors are known."""
    if not data.factors:
        raise DistvaeError(
            f"--metrics {name} needs data whose factors are known, and {data.source} is none",
            "the scores hold latents against what the images were drawn from",
            f"Leave {name} out, or train on --data sprites or on dSprites' own .npz.",
        )


class Factors(Metric):
    """See :mod:`distvae.evaluation.disentanglement`."""

    needs = (pictures, known_factors)
    imports = "sklearn"

    def measure(self, subject: Subject) -> Values:
        """Of the whole grid of factors."""
        yield from disentanglement_metrics(subject.model, subject.data, subject.seed)

    def images(self, subject: Subject) -> str:
        """The grid."""
        size = math.prod(len(factor.values) for factor in subject.data.factors)
        drawn = f"{REPEATS} draws of {min(size, IMAGES):,}"
        return f"{drawn} of all {size:,} images of the grid, training images among them"
