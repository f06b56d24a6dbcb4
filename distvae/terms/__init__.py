"""What is added to any objective: terms that look at what the decoder made of the latents."""

from typing import Any

from distvae.declarations import TERMS, registry
from distvae.players import RunFacts
from distvae.terms.base import Added, Term, View

__all__ = ["REGISTRIES", "Added", "Term", "View", "terms_of"]

REGISTRIES: dict[str, dict[str, type[Term]]] = {kind: registry(kind) for kind in TERMS}
"""By the setting that chooses one, and by name."""


def terms_of(facts: RunFacts) -> dict[str, Term]:
    """The terms of a run, by the setting that chooses each."""
    chosen: dict[str, Any] = {kind: getattr(facts.config, kind) for kind in TERMS}
    return {
        kind: REGISTRIES[kind][name](facts) for kind, name in chosen.items() if name is not None
    }
