"""What a GPU multiplies float32 matrices in: float32, or TF32 on its tensor cores.

TF32 rounds both operands to 11 significant bits and sums in float32. Left alone, torch takes it for
convolutions and not for matrix products; here one setting holds for both.
"""

import warnings

import torch

from distvae.errors import DistvaeError

FLOAT32, TF32 = "float32", "tf32"
CAPABILITY = 8, 0
"""Of the first GPUs with tensor cores that take float32."""


def has_tf32(device: torch.device) -> bool:
    """Whether a device can round products to TF32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABILITY


def multiply_in(kind: str, device: torch.device) -> None:
    """Compute products and convolutions of float32 in ``kind`` from here on.

    Raises:
        DistvaeError: it is TF32, which the device does not have.
    """
    if kind == TF32 and not has_tf32(device):
        raise DistvaeError(
            f"--matmul tf32 was asked for, and the device is {_called(device)}",
            "expected an NVIDIA GPU of compute capability 8.0 or more, as A100 and H100 are",
            "Take --matmul float32.",
        )
    if device.type == "cuda":
        _switch(kind == TF32)


def as_trained(kind: str, device: torch.device) -> list[str]:
    """Compute as a run was trained, where the device can; what to say where it cannot."""
    able = kind == FLOAT32 or has_tf32(device)
    multiply_in(kind if able else FLOAT32, device)
    return [] if able else ["trained with --matmul tf32, measured in float32: no GPU here has tf32"]


def _switch(on: bool) -> None:
    """Set torch's switches for CUDA, those of before and since 2.9, which then agree.

    The older ones set the newer, not the other way round; where they are at odds, whatever reads
    the older ones fails, and TorchDynamo does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions say that they will go
        torch.backends.cuda.matmul.allow_tf32 = on
        torch.backends.cudnn.allow_tf32 = on


def _called(device: torch.device) -> str:
    if device.type != "cuda":
        return "a CPU" if device.type == "cpu" else device.type
    name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability()
    return f"a {name} of compute capability {major}.{minor}"
