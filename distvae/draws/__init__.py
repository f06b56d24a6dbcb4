"""Chance: random numbers that are functions of what they are for."""

from distvae.draws.steps import NoiseSource, Stream

__all__ = ["NoiseSource", "Stream"]
