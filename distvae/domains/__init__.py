"""What one example is: how it is stored, what a model sees of it, and what is shown of it."""

from distvae.domains.images import Images, in_unit_range

__all__ = ["Images", "in_unit_range"]
