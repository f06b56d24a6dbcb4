"""Chance: random numbers that are functions of what they are for."""
