"""What tf32 and bf16 cost: relative error of the products of a run's layers.

    python tests/benchmarks/products.py

On a GPU it multiplies there, by the switch of `--matmul tf32` and in bf16, and times them. On a CPU
bf16 is torch's, and tf32 is emulated: both operands are rounded to 11 significant bits (to nearest,
ties to even) and multiplied in float64, where tensor cores sum in float32.
"""

import time

import torch
from torch import Tensor

SIZES = ((128, 784, 512), (128, 512, 512), (128, 512, 784), (4096, 784, 512))
"""Batch, inputs and outputs of layers of the default recipe; the last with a large batch."""
TF32_BITS = 11
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
    half = left.bfloat16(), right.bfloat16()
    if device.type == "cpu":
        tf32 = rounded(left, TF32_BITS) @ rounded(right, TF32_BITS)
        found = {"float32": left @ right, "tf32": tf32, "bf16": half[0] @ half[1]}
        return {name: (product, 0.0) for name, product in found.items()}
    from distvae.tensor_cores import has_tf32, multiply_in

    a, b = left.to(device), right.to(device)
    timed = {"float32": _timed(a, b)}
    if has_tf32(device):
        multiply_in("tf32", device)
        timed["tf32"] = _timed(a, b)
        multiply_in("float32", device)
    return {**timed, "bf16": _timed(*(each.to(device) for each in half))}


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
    print(torch.cuda.get_device_name() if on_gpu else "CPU: tf32 is emulated")
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
