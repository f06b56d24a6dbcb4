"""What one example is: how it is stored, what a model sees of it, and what a sample of it is.

No torch: see :mod:`distvae.domains.base`.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from distvae.declarations import registry
from distvae.domains.base import EACH, Domain, Samples, View
from distvae.domains.images import Images
from distvae.domains.levels import in_unit_range, to_levels
from distvae.domains.vectors import Vectors
from distvae.errors import DistvaeError, nearest
from distvae.values import coerce

__all__ = [
    "DOMAINS",
    "EACH",
    "Domain",
    "Images",
    "Samples",
    "Vectors",
    "View",
    "domain_of",
    "ending_among",
    "images_of",
    "in_unit_range",
    "read_domain",
    "to_levels",
    "told_endings",
]

DOMAINS: Mapping[str, type[Domain]] = registry("domain")


def domain_of(example: Domain | Sequence[int], binarize: Any = "none") -> Domain:
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


def read_domain(facts: Mapping[str, Any], origin: str) -> Domain:
    """The domain that a config.json or an exported file tells of.

    Args:
        facts: what :meth:`distvae.domains.Domain.record` gave.
        origin: where they were read, for the message.

    Raises:
        DistvaeError: there is no such domain, or its facts are damaged.
    """
    name = str(facts.get("name"))
    if name not in DOMAINS:
        raise DistvaeError(
            f"domain {name!r} in {origin} is unknown",
            f"expected one of {', '.join(DOMAINS)}",
            nearest(name, DOMAINS),
        )
    domain: Domain = coerce("domain", dict(facts), DOMAINS[name], origin)
    return domain


def ending_among(path: Path, endings: Collection[str]) -> str:
    """The longest of these endings that a path has; else its own, empty without."""
    found = [ending for ending in endings if ending and path.name.lower().endswith(ending)]
    return max(found, key=len, default=path.suffix)


def told_endings(*domains: type[Domain]) -> str:
    """Which endings an output of examples may have, in words."""
    writers = {key: what for domain in domains for key, what in domain.writers.items()}
    return ", ".join(f"{ending or 'no ending'} for {what}" for ending, what in writers.items())
