"""What a training changes of its process, put back at its end: for calls from Python."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from distvae.platform import multiplies, multiply_by


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Run with a state of Accelerate of its own, and leave all as it was.

    That is Accelerate's state, the environment, the threads and products of a CPU, how products are
    rounded on a GPU, its stream, and what warnings are shown. So trainings with other settings may
    follow each other, and what a caller does with Accelerate goes on. What is left changed is how
    freed memory is kept and that numbers below 1e-38 are zero, which threads take over for good.
    A group of processes stays together, and PartialState with it.
    """
    kept: list[Any] = [AcceleratorState, GradientState]
    kept += [] if torch.distributed.is_initialized() else [PartialState]
    states = [(state, dict(state._shared_state)) for state in kept]
    environment, threads, library = dict(os.environ), torch.get_num_threads(), multiplies()
    gpu = _gpu()
    for state in kept:
        state._shared_state.clear()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for state, before in states:
            if state is not PartialState or not torch.distributed.is_initialized():
                state._shared_state.clear()
                state._shared_state.update(before)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        torch.set_num_threads(threads)
        multiply_by(library)
        gpu()


def _gpu() -> Any:
    """What puts back how a GPU computes; nothing where CUDA was not started."""
    if not torch.cuda.is_available():
        return lambda: None
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    stream = torch.cuda.current_stream() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    def put_back() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some versions say that these will go
            matmul.allow_tf32, cudnn.allow_tf32 = before
        torch.cuda.set_stream(stream or torch.cuda.default_stream())

    return put_back
