"""What one example is: how it is stored, what a model sees of it, and what a sample of it is."""

from collections.abc import Sequence

from distvae.domains.base import Domain
from distvae.domains.images import Images, in_unit_range, to_levels
from distvae.domains.vectors import Vectors
from distvae.errors import DistvaeError

__all__ = ["Domain", "Images", "Vectors", "domain_of", "images_of", "in_unit_range", "to_levels"]


def domain_of(example: Domain | Sequence[int], binarize: str = "none") -> Domain:
    """What examples are: as it is said, or images of these channels, height and width."""
    if isinstance(example, Domain):
        return example
    channels, height, width = example
    return Images((channels, height, width), binarize)


def images_of(domain: Domain) -> Images:
    """The domain where it is one of images.

    Raises:
        DistvaeError: it is another.
    """
    if not isinstance(domain, Images):
        raise DistvaeError(
            f"this needs images, and the examples of this model are {domain.told}",
            "they have no height and width",
        )
    return domain
