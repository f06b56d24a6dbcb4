"""What is claimed of a GPU: what a figure must be, and where the parts tell it."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.benchmarks.on_gpu.lanes import Row


class Claim(NamedTuple):
    """A figure that is promised."""

    what: str
    target: str
    part: str
    row: str
    """How the row begins that tells it."""


CLAIMS = (
    Claim(
        "tutorial, fp32, default, against JAX",
        "0.25, aim 0.5",
        "jax",
        "mnist-tutorial: default / JAX",
    ),
    Claim("the same `--compile on`", "0.8, aim 1.2", "jax", "mnist-tutorial: --compile on / JAX"),
    Claim("default recipe, images/s", "300 k, aim 1 M", "speed", "mnist-cvae bf16, captured"),
    Claim("conv bf16, images/s", "150 k, aim 400 k", "speed", "mnist-vae-conv bf16, captured"),
    Claim("default run, command to end", "20 s, aim 8 s", "whole", "mnist-cvae: 16 epochs"),
    Claim(
        "GPU busy while stepping",
        "0.8, aim 0.95",
        "busy",
        "mnist-cvae, compile off: GPU busy (bf16)",
    ),
    Claim("likelihood, 5000 x 10,000", "15 s, aim 5 s", "likelihood", "likelihood, 5000 draws"),
    Claim(
        "kernels of a compiled step", "30", "busy_compiled", "mnist-tutorial, compile on: kernels"
    ),
    Claim("losses of GPU and CPU, 200 steps", "1e-4", "agreement", "mnist-cvae: losses"),
    Claim("drawing, share of a step", "0.05", "noise", "drawing, share"),
    Claim("words = numpy's", "bit for bit", "noise", "words: device"),
    Claim("captured = launched", "0", "exact", "mnist-cvae: captured - eager"),
    Claim("compiled: captured = launched", "0", "exact_compiled", "compiled mnist-cvae: captured"),
    Claim("killed and resumed", "the same bytes", "resume", "resumed: weights"),
    Claim("one process of NCCL, captured", "on", "processes", "torchrun: captured"),
    Claim("no room: launched, the same bytes", "0", "full", "no room for a recorded step"),
    Claim("command to first step", "", "whole", "from the command to its first step"),
)


def lines_of(rows: Sequence[Row]) -> list[str]:
    """The claims as a table in Markdown, each with what was found."""
    lines = ["| claim | target | measured | holds |", "| --- | ---: | ---: | --- |"]
    for claim in CLAIMS:
        found = [row for row in rows if row.part == claim.part and row.what.startswith(claim.row)]
        told, verdict = (found[0].found, found[0].verdict) if found else ("not measured", "")
        lines.append(f"| {claim.what} | {claim.target} | {told} | {verdict} |")
    return lines
