"""A critic whose features are a likeness of images: VAE/GAN.

Legend: R rows, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from distvae.parts import Need, Trait
from distvae.players import RunFacts
from distvae.terms.base import View
from distvae.terms.critics.discriminator import Judged
from distvae.terms.critics.patch import PatchCritic, PatchPart, handed_on
from distvae.values import NotNegative, Within


@dataclass(frozen=True)
class FeaturesPart(PatchPart):
    """The same, and the distance of its features of an image and its drawing (VAE/GAN)."""

    name = "features"
    builds = "FeatureCritic"
    needs = (
        Need(
            "objective",
            Trait("adds_distortion"),
            "what its features find stands beside the distortion, or for it",
        ),
        *PatchPart.needs,
    )

    feature_weight: NotNegative | None = None
    """Nats for each pixel and channel of images whose features are apart by 1, squared, on
    average; left out: 1."""
    pixel_weight: Annotated[float, Within(0, 1)] | None = None
    """What the likelihood of pixels, and --perceptual, still count once the model hears the
    critic; left out: 1. The paper has 0, where the nats of a model are no longer pressed."""

    def left_out(self) -> dict[str, Any]:
        """Also its own weights."""
        return {**super().left_out(), "feature_weight": 1.0, "pixel_weight": 1.0}


class FeatureCritic(PatchCritic):
    """VAE/GAN of Larsen et al. 2016 (arXiv:1512.09300), by a critic that starts late.

    Beside the word of :class:`PatchCritic` the model minimizes the squared difference of what the
    layers of the discriminator find in an image and in what was drawn of it, the mean over numbers
    of each layer, then over layers. The discriminator does not learn from that. With
    ``pixel_weight`` 0 it stands for the likelihood of pixels, as in their eq. 7; theirs has one
    layer, and gives the encoder no word of the critic.
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.weights = facts.config.of(FeaturesPart)

    def likeness(
        self, view: View, drawn: Tensor, real: Judged, made: Judged
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The difference of features, less what the reconstruction no longer counts."""
        feature_weight, pixel_weight = self.weights.feature_weight, self.weights.pixel_weight
        assert feature_weight is not None
        assert pixel_weight is not None
        pairs = zip(real.maps, made.maps, strict=True)
        each = [
            (found.repeat_interleave(view.draws, 0).detach().float() - own.float()).square().mean()
            for found, own in pairs
        ]
        apart = handed_on(torch.stack(each).mean(), drawn, view.means)
        added = feature_weight * self.numbers * apart
        return added + (pixel_weight - 1.0) * view.reconstruction, {"critic_features": apart}

    @property
    def logged(self) -> tuple[str, ...]:
        """Also how far apart features are."""
        return (*super().logged, "critic_features")
