"""The machine that a number was measured on, and the most it can do."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SIDE = 2048
PRODUCTS = 10


def matrix_product_peak(device: "torch.device") -> float:
    """Torch's best float32 matrix product of 2048 x 2048 on a device, GFLOP/s."""
    import torch

    left, right = torch.randn(2, SIDE, SIDE, device=device)
    best = float("inf")
    for _ in range(PRODUCTS):
        started = time.perf_counter()
        (left @ right)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best / 1e9
