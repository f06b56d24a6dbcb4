"""What likenesses of images share."""

from dataclasses import dataclass
from typing import Any, ClassVar

from distvae.parts import PICTURES, TAKES_TERMS, Need, Part
from distvae.values import NotNegative


@dataclass(frozen=True)
class LikenessPart(Part):
    """What likenesses of images share."""

    needs: ClassVar[tuple[Need, ...]] = (PICTURES, TAKES_TERMS)

    perceptual_weight: NotNegative | None = None
    """Nats for each pixel and channel of maps a squared distance of 1 apart (of 4 at most); left
    out: 1."""

    def left_out(self) -> dict[str, Any]:
        """The weight."""
        return {"perceptual_weight": 1.0}
