"""Kernels of formulas, for GPUs; whether they are launched is asked here, without their language.

A GPU takes two microseconds for every kernel of a recorded step, however small it is, and torch's
operations take three to sixty for a formula and its gradient.
"""

import functools

import torch
from torch import Tensor

from distvae.packages import is_installed

BY_TRITON = "cuda"
"""The kind of device on which formulas are launched, if Triton is installed."""

MOST_DIMENSIONS = 64
"""Of latents, for which a program holds the matrix of a label."""


def launched(*tensors: Tensor) -> bool:
    """Whether a formula of these tensors is launched as one kernel.

    That is where all lie on a GPU and are float32 or less, and Triton can compile for it. A
    compiler is given the plain formula.
    """
    return (
        tensors[0].device.type == BY_TRITON
        and not torch.compiler.is_compiling()
        and all(tensor.dtype.itemsize <= 4 for tensor in tensors)
        and _able(tensors[0].device)
    )


@functools.cache
def _able(device: torch.device) -> bool:
    """Whether Triton compiles for a device, which is tried once."""
    if not is_installed("triton"):
        return False
    try:
        from distvae.kernels import formulas

        formulas.rate(*torch.zeros(2, 1, 1, device=device))
    except Exception:  # of its compiler, the C compiler, or the driver; whoever draws tells why
        return False
    return True
