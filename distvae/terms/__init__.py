"""What is added to any objective: terms that look at what the decoder made of the latents."""

from typing import Any

from distvae.declarations import registry
from distvae.players import RunFacts
from distvae.terms.base import Added, Term, View

__all__ = ["TERMS", "Added", "Term", "View", "terms_of"]

TERMS: dict[str, dict[str, type[Term]]] = {kind: registry(kind) for kind in ("perceptual",)}
"""By the setting that chooses one and by name, in the order in which they are added."""


def terms_of(facts: RunFacts) -> dict[str, Term]:
    """The terms of a run, by the setting that chooses each."""
    chosen: dict[str, Any] = {kind: getattr(facts.config, kind) for kind in TERMS}
    return {kind: TERMS[kind][name](facts) for kind, name in chosen.items() if name is not None}
