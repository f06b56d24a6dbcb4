"""Evaluators, one per file: each yields (name, value) from sums over single examples."""
