"""Runs of one to many real processes that write down what every step of every process saw.

Each process runs this file with a JSON file of runs to do, one after the other.
"""

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState
from numpy.typing import NDArray
from torch import Tensor

from distvae.batch import Batch
from distvae.cli import end_process
from distvae.composition import Terms
from distvae.conditions import Context
from distvae.config import TrainConfig
from distvae.data.batches import ResidentImages
from distvae.data.store import open_data
from distvae.errors import DistvaeError
from distvae.objectives import Summary
from distvae.training import run
from distvae.training.accelerator import build_accelerator
from distvae.training.engine import Engine, build_engine
from distvae.training.judging import evaluate
from distvae.training.players import Turn
from tests.conftest import HANG
from tests.training.conftest import WatchedImages, step_on
from tests.warm import begin

Seen = dict[str, NDArray[Any]]


def launch(processes: int, runs: list[dict[str, Any]], environment: dict[str, str]) -> None:
    """Do these runs with that many processes over gloo, each given by its settings and ``output``.

    The last may train or be refused, which ends the processes' connection; those before evaluate so
    many random ``images``, or take so many ``steps``.
    """
    script = Path(runs[0]["output"]).with_suffix(f".{processes}.json")
    script.write_text(json.dumps(runs))
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
    words = [sys.executable, *(launcher if processes > 1 else ()), "-m", __name__, str(script)]
    process = begin(words, Path.cwd(), {**environment, "ACCELERATE_USE_CPU": "1"})
    said = process.communicate(timeout=HANG)
    assert process.wait() == 0, said


def record(config: TrainConfig, folder: Path) -> None:
    """A run in this process; beside its folder, what this process saw or why it was refused."""
    saw: dict[str, list[NDArray[Any]]] = {}

    def build(*arguments: Any, **options: Any) -> Engine:
        return _watched(build_engine(*arguments, **options), saw)

    rank = os.environ.get("RANK", "0")
    vars(run)["build_engine"] = build
    try:
        run.run_training(config, folder, resume=False)
    except DistvaeError as error:
        folder.with_suffix(f".{rank}.txt").write_text(str(error))
    else:
        stacked = {name: np.concatenate(values) for name, values in saw.items()}
        np.savez(folder.with_suffix(f".{rank}.npz"), allow_pickle=False, **stacked)
    finally:
        vars(run)["build_engine"] = build_engine


def record_evaluation(config: TrainConfig, images: int, folder: Path) -> None:
    """Evaluate an untrained model on so many random images; what was found and which rows read."""
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(folder)))
    generator = torch.Generator().manual_seed(0)
    shape = (images, *data.image_shape)
    levels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(images) % data.num_labels
    watched = WatchedImages(levels, labels, engine.test_images.device)
    found = evaluate(engine, watched)
    rows = torch.cat([torch.empty(0, dtype=torch.int64), *watched.asked]).numpy()
    rank = engine.accelerator.process_index
    np.savez(folder.with_suffix(f".{rank}.npz"), rows=rows, found=json.dumps(found))


def record_steps(config: TrainConfig, steps: int, folder: Path) -> None:
    """Take so many steps without a run around them; the losses and the weights at the end."""
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(folder)))
    losses = []
    for step in range(steps):
        rows = torch.arange(step, step + config.optim.batch) % len(data.train)
        (found,) = step_on(engine, step, rows)
        losses.append(engine.accelerator.reduce(found, "mean").numpy())
    weights = torch.cat(
        [parameter.detach().flatten() for parameter in engine.training.parameters()]
    )
    rank = engine.accelerator.process_index
    np.savez(folder.with_suffix(f".{rank}.npz"), losses=np.stack(losses), weights=weights.numpy())


def seen(folder: Path) -> list[Seen]:
    """What every process of a run saw, by rank."""
    found = sorted(folder.parent.glob(f"{folder.name}.*.npz"))
    return [dict(np.load(file)) for file in found]


def refusals(folder: Path) -> list[str]:
    """Why each process was refused, by rank."""
    return [file.read_text() for file in sorted(folder.parent.glob(f"{folder.name}.*.txt"))]


def _watched(engine: Engine, saw: dict[str, list[NDArray[Any]]]) -> Engine:
    """The engine, writing down inputs of the model, dtypes, and weights after each step."""
    model = engine.trained.model
    images = engine.train_images
    assert isinstance(images, ResidentImages)
    watched = WatchedImages(images.stored, images.labels, images.device)
    gradients: set[torch.dtype] = set()
    for name in ("rows", "inputs", "labels", "noise", "weights", "dtypes"):
        saw[name] = []

    compute = model.terms_of

    def terms_of(inputs: Tensor, context: Context, noise: Tensor, *asked: Any) -> Terms:
        labels = context.label
        for name, value in (("inputs", inputs), ("labels", labels), ("noise", noise)):
            saw[name].append(value.numpy().copy())
        return compute(inputs, context, noise, *asked)

    def note(parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradients.add(parameter.grad.dtype)

    def update(turns: tuple[Turn, ...], batches: Sequence[Batch], row: Tensor) -> Summary:
        found = engine.update(turns, batches, row)
        saw["rows"] += [rows.numpy() for rows in watched.asked[-len(batches) :]]
        digest = hashlib.sha256()
        for parameter in model.parameters():
            digest.update(parameter.detach().numpy().tobytes())
        saw["weights"].append(np.array([digest.hexdigest()]))
        dtypes = {found.values.dtype} | gradients
        saw["dtypes"].append(np.array([" ".join(sorted(map(str, dtypes)))]))
        return found

    vars(model)["terms_of"] = terms_of
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
    return dataclasses.replace(engine, update=update, train_images=watched)


def main(script: str) -> None:
    """Every run and evaluation of a JSON file."""
    for settings in json.loads(Path(script).read_text()):
        folder, images = Path(settings.pop("output")), settings.pop("images", None)
        steps = settings.pop("steps", None)
        config = TrainConfig().updated(settings, "the test")
        if steps is not None:
            record_steps(config, steps, folder)
        elif images is None:
            record(config, folder)
        else:
            record_evaluation(config, images, folder)
        AcceleratorState._reset_state()
        GradientState._reset_state()


if __name__ == "__main__":
    main(sys.argv[1])
    end_process(0)
