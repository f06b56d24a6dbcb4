"""What meta.json of a folder of stored examples says."""

from dataclasses import dataclass, field
from typing import Any

from distvae.attributes import Attribute
from distvae.data.factors import Factor
from distvae.domains.images import IMAGES
from distvae.records import Names


@dataclass(frozen=True)
class StoreRecord:
    """meta.json of a folder of decoded images."""

    name: str
    source: str
    test_origin: str
    label_names: Names
    factors: tuple[Factor, ...]
    notes: tuple[str, ...]
    seen: tuple[bool, int, tuple[int, int] | None, tuple[float, float, bool] | None]
    """As :class:`Seen` has it."""
    splits: tuple[str, ...]
    arrays: dict[str, str]
    """Digest of every array."""
    validation_origin: str = ""
    fields: tuple[str, ...] = (IMAGES,)
    """What is stored of an example, by name; before it was written, images."""
    domain: str = ""
    """What an example is; empty where an earlier version wrote it."""
    columns: Names = ()
    attributes: tuple[Attribute, ...] = ()
    """What examples are given, where that is something else than one label."""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def known_domain(self) -> str:
        """What an example is, whichever version wrote it; earlier ones knew two domains."""
        return self.domain or ("vectors" if self.columns else "images")
