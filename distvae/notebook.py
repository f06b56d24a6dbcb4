"""Training from Python, as in a notebook, and what can be done with a run then.

Legend: N examples, S the axes of an example, Z latent dimensions.
"""

import base64
import os
import signal
import sys
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.arguments import Train, training_called
from distvae.card import best_sheet, is_finished, last_metrics, measured, numbers_of
from distvae.figures import rows_of
from distvae.keywords import filled, signature
from distvae.labels import Labels
from distvae.reading import read_lines
from distvae.records import MetricsLine
from distvae.runs import (
    METRICS,
    ONNX,
    Run,
    checkpoints,
    domain_recorded,
    find_run,
    read_model_record,
)
from distvae.samples import Metrics, Samples, draw
from distvae.terminal import PROGRESS, QUIET, in_kernel, progress_bar, say
from distvae.text import counted
from distvae.tools.html import table
from distvae.tools.methods import Tools

if TYPE_CHECKING:
    from distvae.config import TrainConfig
    from distvae.models import VAE


def train(
    data: Any = None, *, quiet: bool = False, progress: str | None = None, **flags: Any
) -> "TrainedRun":
    """Train a variational autoencoder: ``distvae train`` as a call.

    Every flag of the command is a keyword, with underscores: ``epochs=5``, ``config="mnist-cvae"``,
    ``resume="runs/photos"``. ``distvae train --help-all`` explains them. On several processes each
    makes the same call, as under ``accelerate.notebook_launcher``.

    Ctrl-C, in a notebook or at a prompt, writes a checkpoint and returns the run as far as it is
    trained; ``run.resume()`` goes on exactly. In a script the signal acts after the checkpoint.

    Args:
        data: what to train on: a path, a Hub id or a bundled name, as on the command line; or what
            is in memory. Images are an array or tensor ``[N, H, W]``, ``[N, H, W, C]`` or
            ``[N, C, H, W]``, of whole numbers or of floating point, or a list of PIL images. They
            stand alone or with labels, ``(images, labels)``: names or numbers ``[N]``, one-hot, or
            a dictionary of several columns; None is a label that is not known. A torch ``Dataset``
            is read once; a ``datasets.Dataset``, a pandas frame of numbers, and a dictionary of any
            of these by split (``{"train": ..., "test": ...}``) do as well.
        quiet: say nothing but warnings.
        progress: ``auto``, ``bars``, ``plain`` or ``off``.
        flags: of ``distvae train``.

    Returns:
        The run. Its folder holds all that the command would have left there.

    Raises:
        DistvaeError: what the command would refuse, with the same words.
    """
    from distvae.data.sources.in_memory import hold, is_in_memory
    from distvae.training.run import run_training
    from distvae.training.surroundings import undisturbed

    with undisturbed():
        os.environ.update({QUIET: "1"} if quiet else {})
        os.environ.update({PROGRESS: progress} if progress is not None else {})
        held = hold(data, progress_bar) if is_in_memory(data) else None
        named = {} if data is None else {"data": held.name if held else data}
        outcome = run_training(*training_called({**named, **flags}), stays=True)
        run = TrainedRun(outcome.folder)
        if outcome.idle:
            say(f"{run.folder} is finished: nothing was done. run.resume(epochs=...) goes on")
    if outcome.signal_name is not None:
        again = f"distvae.open({str(run.folder)!r}).resume()"
        stopped(
            outcome.signal_name,
            f"a checkpoint is written. run.resume() goes on exactly from it; later, {again}",
        )
    return run


train.__signature__ = signature(Train, "data")  # type: ignore[attr-defined]


def stopped(name: str, told: str) -> None:
    """Say how to go on after a signal; but for Ctrl-C of a person who is there, let it act."""
    say(f"{name}: {told}")
    there = in_kernel() or hasattr(sys, "ps1")
    main = threading.current_thread() is threading.main_thread()
    if main and not (there and name == signal.SIGINT.name):
        signal.raise_signal(signal.Signals[name])


def open(run: str | os.PathLike[str] | None = None) -> "TrainedRun":
    """A run that was trained before.

    Args:
        run: its folder, or its name in ``runs/``; None is the newest one there. A folder of
            ``save_pretrained`` does as well.

    Raises:
        DistvaeError: there is none.
    """
    return TrainedRun(find_run(None if run is None else os.fspath(run)).folder)


class TrainedRun(Tools):
    """A run in its folder: its model, its numbers, and every tool that works on it.

    Args:
        folder: of the run, or of a model that ``save_pretrained`` wrote.

    Raises:
        DistvaeError: it holds none.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        """Where everything of the run lies."""
        self.record = read_model_record(self.folder)
        """What config.json says."""

    @property
    def config(self) -> "TrainConfig":
        """All its settings as resolved; of a model that was saved alone, what it says of them."""
        return Run(self.folder, self.folder).settings()

    @cached_property
    def model(self) -> "VAE":
        """The model with the weights that the run leaves, in evaluation mode, on the CPU."""
        from distvae.models import VAE

        return VAE.from_pretrained(self.folder)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels; none of an unconditional model."""
        return self.record.label_names

    @property
    def step(self) -> int:
        """Steps that its newest checkpoint has taken."""
        saved = checkpoints(self.folder)
        return int(saved[-1].name.partition("-")[2]) if saved else 0

    @property
    def finished(self) -> bool:
        """Whether it is as long as it was to be, or was stopped early."""
        return is_finished(self.folder)

    @property
    def metrics(self) -> Metrics:
        """What was logged: ``step``, ``epoch``, ``split`` and numbers in nats per example."""
        path, damaged = self.folder / METRICS, list[str]()
        lines = read_lines(path, MetricsLine, damaged) if path.exists() else ()
        return Metrics(
            {"step": line.step, "epoch": line.epoch, "split": line.split, **line.values}
            for _, line in lines
        )

    @property
    def numbers(self) -> dict[str, float]:
        """What is known of the test split: while training, and by :meth:`evaluate`."""
        return measured(self.folder)

    def samples(
        self, label: Labels | None = None, n: int = 16, seed: int = 0, temperature: float = 1.0
    ) -> Samples:
        """Examples drawn from the prior; a notebook shows them.

        Args:
            label: one or several, by name or number; None draws every label. Of several attributes
                a dictionary, ``{"digit": 7, "colour": "red"}``.
            n: how many of each label, or in all of a model without labels.
            seed: of the noise: it gives the same examples on every machine.
            temperature: factor of the noise; below 1 they are more typical and less diverse.

        Raises:
            DistvaeError: the model does not know the label, or a number is out of range.
        """
        return draw(self.model, label, n, seed, temperature)

    def evaluate(self, **flags: Any) -> dict[str, float]:
        """Measure it on its test split: ``distvae evaluate`` with its flags as keywords.

        Returns:
            All numbers that are known of it then, by name, with ``NAME_se`` for their errors.
        """
        from distvae.evaluation.evaluate import EvaluateConfig, evaluate_run

        self._command(EvaluateConfig, evaluate_run, "run.evaluate", flags)
        return self.numbers

    def export(self, **flags: Any) -> Path:
        """Write it as verified ONNX files: ``distvae export`` with its flags as keywords.

        Returns:
            The folder of decoder.onnx and encoder.onnx.
        """
        from distvae.export.command import ExportConfig, export_run

        config = self._command(ExportConfig, export_run, "run.export", flags)
        return Path(config.output) if config.output else self.folder / ONNX

    def resume(self, data: Any = None, **flags: Any) -> "TrainedRun":
        """Go on with it from its newest checkpoint, exactly; with more ``epochs`` it gets longer.

        Args:
            data: needed where it was in memory and its decoded copy is gone: the same again.
            flags: as :func:`distvae.train` takes them.

        Raises:
            DistvaeError: the data is not the same, or is not there any more.
        """
        self.__dict__.pop("model", None)  # its weights will be others
        return train(data, resume=self.folder, **flags)

    def _command(self, kind: type[Any], command: Any, call: str, flags: dict[str, Any]) -> Any:
        """Run a command on the run; gives its settings."""
        import dataclasses

        from distvae.training.surroundings import undisturbed

        config = dataclasses.replace(filled(kind, flags, call), run=str(self.folder))
        with undisturbed():
            command(config)
        return config

    def __repr__(self) -> str:
        told = f"step {self.step:,}{'' if self.finished else ', not finished'}"
        return f"<distvae run {self.folder}: {self._what()}; {told}>"

    def _what(self) -> str:
        config = self.config.model
        kind = "conditional VAE" if config.model == "cvae" else "VAE"
        domain = domain_recorded(self.folder, self.record)
        return (
            f"{kind} ({config.network}, {counted(config.latent_dim, 'latents')}) of {domain.told}"
        )

    def _repr_html_(self) -> str:
        """What it is, its test numbers and its newest sheet."""
        examples = domain_recorded(self.folder, self.record).examples
        line = last_metrics(self.folder, "test")
        numbers = rows_of(numbers_of(line.values), examples) if line else []
        state = f"step {self.step:,}{'' if self.finished else ', not finished'}"
        rows = [("run", str(self.folder)), ("model", self._what()), ("trained", state), *numbers]
        sheet = best_sheet(self.folder)
        picture = ""
        if sheet is not None:
            content = base64.b64encode(sheet.read_bytes()).decode()
            picture = f'<img alt="generated" src="data:image/png;base64,{content}">'
        return table(rows) + picture
