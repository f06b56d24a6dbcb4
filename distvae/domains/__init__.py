"""What one example is: how it is stored, what a model sees of it, and what a sample of it is."""

from distvae.domains.base import Domain
from distvae.domains.images import Images, in_unit_range, to_levels
from distvae.domains.vectors import Vectors

__all__ = ["Domain", "Images", "Vectors", "in_unit_range", "to_levels"]
