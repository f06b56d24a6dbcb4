"""What torch is told about the machine before long work."""

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
EXACT = 1e-6
ONEDNN, BLAS = "onednn", "blas"
"""Who can multiply float32 matrices on a CPU: oneDNN, or what torch was built with, mostly MKL."""


def prepare(threads: int | None) -> int:
    """All of this module, to be called before torch starts its threads.

    Args:
        threads: of this process on the CPU; None for its share of the cores.

    Returns:
        The number of threads.
    """
    flush_denormals()
    keep_freed_memory()
    threads = use_threads(threads)
    fast_exact_matmul()
    return threads


def use_threads(threads: int | None) -> int:
    """Set the number of CPU threads of this process, and return it.

    ``accelerate launch`` sets OMP_NUM_THREADS to 1 for whoever has not set it, which leaves all but
    one core idle; there a 1 counts as not set.
    """
    if threads is None:
        asked = os.environ.get("OMP_NUM_THREADS")
        launched = "ACCELERATE_MIXED_PRECISION" in os.environ
        if asked is None or (launched and asked == "1"):
            cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
            threads = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        else:
            threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    return threads


def keep_freed_memory() -> None:
    """Tell glibc to keep the memory that tensors free instead of returning it to the kernel.

    A training step frees and takes the same megabytes again and again; given back, every page of
    them is faulted in anew. The price is that the process keeps its largest step's memory.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
    libc.mallopt(_TRIM_THRESHOLD, 1 << 30)
    libc.mallopt(_TOP_PAD, 64 << 20)


def flush_denormals() -> None:
    """Let numbers below 1e-38 be zero, which they are to any sum they enter.

    The optimizer's moments of a weight whose gradient stays zero decay into that range after some
    hundred steps, and a processor computes with such numbers many times more slowly. To be called
    before torch starts its threads, which take the setting over.
    """
    torch.set_flush_denormal(True)


def fast_exact_matmul() -> bool:
    """Let oneDNN multiply float32 matrices where that is fast and float32; whether it does.

    Torch's default, MKL, leaves AVX-512 unused on processors that are not Intel's.
    """
    fast = "GenuineIntel" not in _processor() and onednn_is_exact()
    multiply_by(ONEDNN if fast else BLAS)
    return fast


def onednn_is_exact() -> bool:
    """Whether oneDNN multiplies float32 matrices in float32 on this processor.

    It is reached by a switch that permits bfloat16, and on processors with AMX it then really
    rounds. So a product is checked against float64.
    """
    if not hasattr(torch.backends.mkldnn, "matmul"):
        return False
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(128, 512, generator=generator)
    right = torch.randn(512, 256, generator=generator)
    exact = left.double() @ right.double()
    with multiplying_by(ONEDNN):
        error = ((left @ right).double() - exact).abs().max() / exact.abs().max()
    return bool(error <= EXACT)


def multiply_by(library: str) -> None:
    """Let a library multiply float32 matrices on the CPU from now on: ``onednn`` or ``blas``."""
    if hasattr(torch.backends.mkldnn, "matmul"):
        torch.backends.mkldnn.matmul.fp32_precision = "bf16" if library == ONEDNN else "ieee"


@contextlib.contextmanager
def multiplying_by(library: str) -> Iterator[None]:
    """The same for what is inside."""
    before = multiplies()
    multiply_by(library)
    try:
        yield
    finally:
        multiply_by(before)


def multiplies() -> str:
    """The library that multiplies float32 matrices on the CPU: ``onednn`` or ``blas``."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    return ONEDNN if matmul is not None and matmul.fp32_precision == "bf16" else BLAS


def library_name() -> str:
    """The same as a person knows it."""
    if multiplies() == ONEDNN:
        return "oneDNN"
    return "MKL" if torch.backends.mkl.is_available() else "BLAS"  # type: ignore[no-untyped-call]


def native_bf16(device_type: str) -> bool:
    """Whether this machine has instructions for bf16 products, which it can emulate without.

    ``ONEDNN_MAX_CPU_ISA=AVX2`` makes a processor one that has none. Of devices that are neither
    CPUs nor CUDA's nothing is known here, so they count as those that have none.
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    able: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if platform.machine() in ("x86_64", "AMD64"):  # of which oneDNN counts all with AVX-512
        cpu = torch.cpu
        able = able and (cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
    return able


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            return file.read(1000)
    except OSError:
        return platform.processor()
