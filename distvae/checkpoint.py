"""Checkpoints: a usable model beside the exact state of its training, safetensors and JSON only.

``checkpoints/step-NNNNNNNN/`` holds

- ``config.json`` and ``model.safetensors``: the weights to use (their moving average where it is
  on), a model directory for ``VAE.from_pretrained``;
- ``optimizer.safetensors``: the optimizer's moments by parameter name, where the moving average is
  on the weights that are being trained, and those of the objective's own networks;
- ``trainer.json``: the integers everything else is a function of.

The folder appears whole or not at all.
"""

import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distvae.errors import DistvaeError, MismatchError
from distvae.files import TEMPORARY, new_folder, write_json
from distvae.models import VAE
from distvae.reading import read_record
from distvae.records import Count
from distvae.runs import CONFIG, WEIGHTS, checkpoint_path, checkpoints
from distvae.tensors import load_weights, read_tensors, write_tensors
from distvae.weight_names import in_files

OPTIMIZER = "optimizer.safetensors"
TRAINER = "trainer.json"
OTHER_NUMBERS, FORMAT = 1, 2
"""Of trainer.json. In 1 the same numbers stood for other random ones: see ``draws/philox.py``."""
_TRAINED = "parameters/"
_OBJECTIVE = "objective"
_GUARD = "guard"


@dataclass
class Progress:
    """The numbers a run is at; with seed and settings they determine everything not in a tensor."""

    step: Count = 0
    """Optimizer steps taken; the epoch and the place in it follow from it."""
    best_loss: float | None = None
    """Lowest evaluated loss, nats per image."""
    evaluations_since_best: Count = 0
    """For early stopping."""
    first_loss: float | None = None
    """Training loss of the first step."""
    lowest_loss: float | None = None
    """Lowest training loss of a step."""
    seconds: float = 0.0
    """Time spent training, over all sessions."""
    scaler: dict[str, int | float] | None = None
    """State of the fp16 gradient scaler."""
    streams: tuple[dict[str, Any], ...] | None = None
    """Where each rank is in its part of streamed training images."""
    best_step: Count | None = None
    """Steps taken when the best loss was evaluated."""
    format: int = FORMAT


@dataclass(frozen=True)
class Trained:
    """The tensors a checkpoint holds, live ones: saving reads them, loading fills them."""

    model: VAE
    """The weights being trained."""
    averaged: VAE | None
    """Their moving average, where it is on."""
    optimizer: torch.optim.Optimizer
    objective: nn.Module | None = None
    """Trained beside the model, where it has weights of its own; no part of what is used."""
    guard: nn.Module | None = None
    """What tells which steps are left out, where some are."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All that the optimizer changes, those of the objective after the model's."""
        for name, parameter in self.model.named_parameters():
            yield in_files(name), parameter
        if self.objective is not None:
            yield from self.objective.named_parameters(_OBJECTIVE)

    def objective_state(self) -> dict[str, Tensor]:
        """The objective's weights, live ones, by name."""
        if self.objective is None:
            return {}
        held: dict[str, Tensor] = self.objective.state_dict(prefix=f"{_OBJECTIVE}.")
        return held

    def guard_state(self) -> dict[str, Tensor]:
        """What the guard knows, live tensors, by name."""
        if self.guard is None:
            return {}
        held: dict[str, Tensor] = self.guard.state_dict(prefix=f"{_GUARD}.")
        return held

    @property
    def usable(self) -> VAE:
        """The weights to evaluate, sample from and ship."""
        return self.averaged if self.averaged is not None else self.model


def save_checkpoint(
    run: Path, trained: Trained, progress: Progress, keep: int, keep_best: bool = False
) -> Path:
    """Write a checkpoint of this step, then delete all but ``keep`` of those up to it.

    With ``keep_best`` those also stay that any of the kept ones knows as the best.

    Raises:
        OSError: there is no room; those before are as they were.
    """
    path = checkpoint_path(run, progress.step)
    held = trained.model.state_dict() if trained.averaged is not None else {}
    tensors = optimizer_tensors(trained)
    for name, value in {**held, **trained.objective_state(), **trained.guard_state()}.items():
        tensors[_TRAINED + name] = value
    with new_folder(path) as folder:
        write_json(folder / CONFIG, trained.usable.hub_config())
        write_tensors(folder / WEIGHTS, trained.usable.state_dict())
        write_tensors(folder / OPTIMIZER, tensors)
        write_json(folder / TRAINER, asdict(progress))
    written = checkpoints(run)
    # a later one is the damaged one that the run went on without
    first = max(0, written.index(path) + 1 - keep)
    best = {_best_of(kept) for kept in written[first:]} if keep_best else set()
    for old in written[:first]:
        if old not in best:
            shutil.rmtree(old)
    for leftover in path.parent.glob(f"{TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return path


def load_checkpoint(path: Path, trained: Trained) -> Progress:
    """Fill model, moving average and optimizer from a checkpoint.

    Raises:
        DistvaeError: a file is missing or damaged.
        MismatchError: it is whole, but of another architecture or written without --ema.
    """
    progress = read_record(path / TRAINER, Progress)
    if progress.format not in (OTHER_NUMBERS, FORMAT):
        raise DistvaeError(
            f"{path / TRAINER} has format {progress.format}", f"this version reads format {FORMAT}"
        )
    tensors = read_tensors(path / OPTIMIZER)
    load_weights(trained.usable, path / WEIGHTS)
    names = trained.model.state_dict()
    held = {name: tensors[_TRAINED + name] for name in names if _TRAINED + name in tensors}
    if trained.averaged is not None and len(held) < len(names):
        absent = next(name for name in names if name not in held)
        raise MismatchError(f"{path} was written without --ema", f"it lacks {_TRAINED}{absent}")
    own = trained.objective_state()
    for name, value in own.items():
        there = tensors.get(_TRAINED + name)
        if there is None or there.shape != value.shape:
            found = "absent" if there is None else tuple(there.shape)
            raise MismatchError(
                f"{path} was written with another objective",
                f"{name} is {found} there and {tuple(value.shape)} here",
                "Go on with the objective it was written with.",
            )
    _fill_optimizer(trained, tensors, path)
    if held:  # also without --ema now: the moments belong to these weights, not to their average
        trained.model.load_state_dict(held)
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[_TRAINED + name])
        for name, value in trained.guard_state().items():
            if _TRAINED + name in tensors:  # else it is asked for from here on
                value.copy_(tensors[_TRAINED + name])
    return progress


def refuse_other_numbers(path: Path | None, progress: Progress) -> None:
    """Refuse to go on from where other random numbers would follow.

    Raises:
        MismatchError: an earlier version wrote the checkpoint.
    """
    if path is None or progress.format != OTHER_NUMBERS:
        return
    raise MismatchError(
        f"{path} is of an earlier version, in which a seed gave other random numbers",
        "only that version can go on with the run exactly",
        "Begin a new run with its weights: distvae train --init-from "
        f"{shlex.quote(str(path.parent.parent))} --output NEW.",
    )


def load_newest(run: Path, trained: Trained) -> tuple[Progress | None, Path | None, list[str]]:
    """Load the newest checkpoint that is whole.

    Returns:
        The progress and the checkpoint (None twice if the run has none at all), and a message for
        every damaged one that was passed over.

    Raises:
        DistvaeError: there are checkpoints and all are damaged.
        MismatchError: one is whole, but of another architecture or written without --ema.
    """
    damaged: list[str] = []
    found: list[str] = []
    for path in reversed(checkpoints(run)):
        try:
            return load_checkpoint(path, trained), path, damaged
        except MismatchError:
            raise
        except DistvaeError as error:
            damaged.append(str(error))
            found.append(error.thing)
    if damaged:
        raise DistvaeError(
            f"no checkpoint of {run} can be read",
            "; ".join(found),
            "Start anew with --overwrite.",
        )
    return None, None, damaged


def _best_of(path: Path) -> Path | None:
    """The checkpoint that one knows as the best, if it knows any."""
    with suppress(DistvaeError):
        step = read_record(path / TRAINER, Progress).best_step
        return None if step is None else checkpoint_path(path.parent.parent, step)
    return None


def optimizer_tensors(trained: Trained) -> dict[str, Tensor]:
    """Copies of the moments by the name of their parameter, as they stand in a checkpoint."""
    return {
        f"{name}/{key}": value.clone()  # the count of steps may be one tensor for all
        for name, parameter in trained.named_parameters()
        for key, value in trained.optimizer.state.get(parameter, {}).items()
    }


def _fill_optimizer(trained: Trained, tensors: Mapping[str, Tensor], path: Path) -> None:
    keys = {key.rpartition("/")[2] for key in tensors if not key.startswith(_TRAINED)}
    for name, parameter in trained.named_parameters():
        state = {key: tensors[f"{name}/{key}"] for key in keys if f"{name}/{key}" in tensors}
        held = trained.optimizer.state[parameter]
        for key, value in state.items():
            if value.dim() and value.shape != parameter.shape:
                raise MismatchError(
                    f"{path / OPTIMIZER} is of another architecture",
                    f"{name}/{key} is {tuple(value.shape)} there and {tuple(parameter.shape)} here",
                )
            if key not in held:
                held[key] = torch.empty_like(parameter) if value.dim() else torch.empty_like(value)
            held[key].copy_(value)
