"""Whether torch's compiler works here, and what is said where it does not."""

import os
import tempfile
from collections.abc import Sequence

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.errors import DistvaeError
from distvae.objectives import Summary
from distvae.training import native
from distvae.training.players import Turn
from distvae.training.update import Update

SWITCHES = "TORCH_COMPILE_DISABLE and TORCHDYNAMO_DISABLE"
"""Variables of the environment by which torch compiles nothing."""


def obstacle(device: torch.device) -> str:
    """Why nothing can be compiled for a device; the empty string where something was.

    A function of one sum is compiled and called: what that needs is there for a step as well.
    """
    if device.type == "cpu" and native.compiler() is None:
        return "there is no C++ compiler, neither g++, nor clang++, nor the one named by $CXX"
    try:
        from distvae.training.lowering import compile_loss  # torch's compiler takes a second

        found = compile_loss(_compiled_sum, device_type=device.type)(torch.zeros(8, device=device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler, its cache or the disk has to say
        return _reason(error)
    if bool((found > 0).all()):
        return ""
    return f"it is switched off, as by {SWITCHES} in the environment"


def refusal(why: str) -> DistvaeError:
    """The error of a step that cannot be compiled."""
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or f"{tempfile.gettempdir()}/torchinductor_*"
    return DistvaeError(
        "--compile on: torch's compiler does not work here",
        why,
        f"Mend that, delete the compiler's cache ({cache}) in case it is damaged, or take "
        "--compile off.",
    )


def telling(update: Update) -> Update:
    """A compiled update whose compiler's failures are told as what they are.

    It may fail in any step that is compiled anew, as where another player joins. Nothing has been
    changed by then.
    """
    from torch._dynamo.exc import TorchDynamoException  # imported where there is a compiler alone

    def told(turns: tuple[Turn, ...], batches: Sequence[Batch], row: Tensor) -> Summary:
        try:
            return update(turns, batches, row)
        except TorchDynamoException as error:
            inner = getattr(error, "inner_exception", error)
            if isinstance(inner, torch.OutOfMemoryError):
                raise inner from error
            raise refusal(_reason(inner)) from error

    return told


def _compiled_sum(numbers: Tensor) -> Tensor:
    """Ones more than the numbers where it is compiled, else the numbers."""
    return numbers + 1.0 if torch.compiler.is_compiling() else numbers


def _reason(error: BaseException) -> str:
    """What an error says, in few words: a compiler repeats its command first."""
    inner = getattr(error, "inner_exception", error)
    said = [line.strip() for line in str(inner).splitlines() if line.strip()]
    of_compiler = [line for line in said if "error:" in line]
    return f"{type(inner).__name__}: {(of_compiler or said or ['it does not say why'])[0]}"
