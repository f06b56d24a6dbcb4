"""What tf32 and bf16 cost: relative error of the products of a run's layers.

    python tests/benchmarks/products.py

On a GPU it multiplies there, by the switches that `--matmul tf32` and bf16 set, and times them. On a
CPU tf32 is emulated: both operands are rounded to 11 significant bits (to nearest, ties to even) and
multiplied in float64, which tensor cores do in float32 or better.
"""

import time

import torch
from torch import Tensor

SIZES = ((128, 784, 512), (128, 512, 512), (128, 512, 784), (4096, 784, 512))
"""Batch, inputs and outputs of layers of the default recipe; the last with a large batch."""
BITS = {"tf32": 11, "bf16": 8}
"""Significant bits, with the one that is not stored."""
CALLS = 200


def rounded(values: Tensor, bits: int) -> Tensor:
    """Float64 numbers to so many significant bits, to nearest, ties to even."""
    fraction, exponent = torch.frexp(values.double())
    return torch.ldexp(torch.round(torch.ldexp(fraction, torch.tensor(bits))), exponent - bits)


def operands(batch: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Activations and weights as a trained layer has them in size: normal, the weights of 1/n."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(batch, inputs, generator=generator)
    right = torch.randn(inputs, outputs, generator=generator) / inputs**0.5
    return left, right


def relative(found: Tensor, exact: Tensor) -> tuple[float, float]:
    """Root mean square and largest error, over the root mean square of the product."""
    error, size = (found.double().cpu() - exact), exact.square().mean().sqrt()
    return float(error.square().mean().sqrt() / size), float(error.abs().max() / size)


def products(left: Tensor, right: Tensor, device: torch.device) -> dict[str, tuple[Tensor, float]]:
    """The product by the name of its arithmetic, and its microseconds; 0 where it is emulated."""
    if device.type == "cpu":
        emulated = {name: rounded(left, bits) @ rounded(right, bits) for name, bits in BITS.items()}
        return {name: (found, 0.0) for name, found in {"float32": left @ right, **emulated}.items()}
    from distvae.tensor_cores import has_tf32, multiply_in

    a, b = left.to(device), right.to(device)
    found = {"float32": _timed(a, b)}
    if has_tf32(device):
        multiply_in("tf32", device)
        found["tf32"] = _timed(a, b)
        multiply_in("float32", device)
    return {**found, "bf16": _timed(a.bfloat16(), b.bfloat16())}


def _timed(left: Tensor, right: Tensor) -> tuple[Tensor, float]:
    result = left @ right
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(CALLS):
        left @ right
    torch.cuda.synchronize()
    return result, 1e6 * (time.perf_counter() - started) / CALLS


def main() -> None:
    """Print the table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    print(torch.cuda.get_device_name() if on_gpu else "CPU: tf32 and bf16 are emulated")
    print("| batch x inputs x outputs | arithmetic | rms error | largest | us |")
    print("| --- | --- | ---: | ---: | ---: |")
    for size in SIZES:
        left, right = operands(*size)
        exact = left.double() @ right.double()
        for name, (found, micro) in products(left, right, device).items():
            mean, most = relative(found, exact)
            took = f"{micro:.1f}" if on_gpu else "not measured"
            print(f"| {' x '.join(map(str, size))} | {name} | {mean:.1e} | {most:.1e} | {took} |")


if __name__ == "__main__":
    main()
