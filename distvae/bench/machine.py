"""The machine that a number was measured on, and the most it can do."""

import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SIDE = 2048
PRODUCTS = 10


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


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
