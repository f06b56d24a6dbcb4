"""Likeness to a classifier of the run's own images."""

from dataclasses import dataclass

from distvae.players import RunFacts
from distvae.terms.maps import Convolutions, LikenessOfMaps
from distvae.terms.perceptual.base import LikenessPart


@dataclass(frozen=True)
class ClassifierPart(LikenessPart):
    """Distance of what a classifier of the run's labelled images sees, which is trained first."""

    name = "classifier"
    builds = "Classifier"


class Classifier(LikenessOfMaps):
    """``perceptual_weight`` times the distance of maps of a classifier of the training images.

    It is built and trained as the judges that evaluate a model are, from another seed; figures that
    rest on judges gain by it more than images may. What it does not need to tell labels apart it
    need not see.
    """

    def __init__(self, facts: RunFacts) -> None:
        assert facts.classifier is not None
        network = facts.classifier()
        assert isinstance(network, Convolutions)
        super().__init__(facts, network, facts.config.of(ClassifierPart).perceptual_weight)
        self.told = network.told
