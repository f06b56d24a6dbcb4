"""The trained model that a tool works on: a run, a checkpoint, a saved model or an ONNX file.

Legend: B batch, A attributes.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.attributes import Attribute
from distvae.domains import Domain
from distvae.errors import DistvaeError
from distvae.runs import RUNS, Run, domain_recorded, find_run, is_run, read_model_record
from distvae.terminal import say

if TYPE_CHECKING:
    from distvae.models import VAE

DECODER, ENCODER = "decoder.onnx", "encoder.onnx"
LATENT_DECODER, LATENT_ENCODER = "latent_decoder.onnx", "latent_encoder.onnx"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model, whose weights are read when they are asked for."""

    name: str
    """For people."""
    folder: Path
    """Below which tools write."""
    domain: Domain
    attributes: tuple[Attribute, ...]
    """What it is given of each example; none of an unconditional model."""
    run: Run | None = None
    """None of a model in memory, and of an ONNX file that lies alone."""
    onnx: Path | None = None
    """A file to take in place of the weights, without torch."""
    built: "VAE | None" = None
    """The model, where it is in memory already."""

    @classmethod
    def of(cls, model: "VAE | Trained | str | Path", onnx: str | None = None) -> "Trained":
        """A model as Python has it: itself, or what :func:`open_trained` takes."""
        if isinstance(model, Trained):
            return model
        if isinstance(model, str | Path):
            return open_trained(str(model), onnx, quiet=True)
        attributes = model.attributes if model.conditional else ()
        return cls("the model", Path(), model.domain, attributes, built=model.eval())

    def run_with_data(self, what: str) -> Run:
        """The run, which says what data it was trained on.

        Args:
            what: the command needs, in the plural, for a message.

        Raises:
            DistvaeError: the model does not say.
        """
        if self.run is None or self.run.bare:
            raise DistvaeError(
                f"{self.name} does not say what data it was trained on",
                f"this command needs {what}",
                "Name some by --data.",
            )
        return self.run

    @functools.cached_property
    def model(self) -> "VAE":
        """The model in evaluation mode, on the fastest device."""
        from distvae.blocks import fastest_device
        from distvae.models import VAE
        from distvae.platform import prepare

        if self.built is not None:
            return self.built
        assert self.run is not None
        prepare(None)
        return VAE.from_pretrained(self.run.model).to(fastest_device())

    @property
    def conditional(self) -> bool:
        """Whether it is given something of each example."""
        return bool(self.attributes)

    def file(self, name: str) -> Path:
        """An exported file of this name, beside the one that was opened.

        Raises:
            DistvaeError: there is none.
        """
        assert self.onnx is not None
        return _beside(self.onnx.parent, name)


def open_trained(name: str | None, onnx: str | None = None, quiet: bool = False) -> Trained:
    """What a command was given as RUN; weights are not read yet.

    Args:
        name: a run, a checkpoint, a folder of ``save_pretrained``, a folder of exported files or
            one of them; None is the newest run, which is told.
        onnx: the name of the exported file that the tool can work on, such as ``encoder.onnx``;
            None of a tool that needs the weights.
        quiet: tell nothing.

    Raises:
        DistvaeError: there is no such run, or the tool needs its weights.
    """
    if name is not None and (folder := _exported(Path(name))) is not None:
        return _of_file(Path(name), folder, onnx)
    run = find_run(name)
    if name is None and not quiet:
        say(f"newest run: {run.folder}")
    record = read_model_record(run.model)
    settings: Any = getattr(record, "settings", None) or record.model
    domain = domain_recorded(run.model, record)
    given = record.given if settings.get("model") != "vae" else ()
    return Trained(str(run.model), run.folder, domain, given, run)


def _exported(path: Path) -> Path | None:
    """The folder of exported files that a name stands for; None of a run."""
    if path.suffix == ".onnx":
        return path.parent
    folder = path if path.exists() else RUNS / path
    return folder if not is_run(folder) and any(folder.glob("*.onnx")) else None


def _beside(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("*.onnx"))) or "no ONNX file"
        left_out = "score.onnx is left out where it is not as exact as the model"
        if name in (LATENT_DECODER, LATENT_ENCODER):
            left_out = f"{name} is of latents at every place alone: --latents spatial"
        raise DistvaeError(
            f"there is no {file}",
            f"{folder} has {there}; earlier versions wrote fewer files, and {left_out}",
            "Write it: distvae export --onnx",
        )
    return file


def _of_file(path: Path, folder: Path, wanted: str | None) -> Trained:
    if wanted is None:
        raise DistvaeError(
            f"{path} is {'an ONNX file' if path.suffix else 'a folder of ONNX files'}",
            "this command needs the weights",
            "Name the run folder.",
        )
    from distvae.export.session import read_manifest

    file = _beside(folder, wanted)
    manifest = read_manifest(file)
    given = manifest.attributes
    if manifest.label_names:
        from distvae.attributes import label_attribute

        given = label_attribute(manifest.label_names)
    above = Path(os.path.realpath(file)).parent.parent
    run = find_run(above) if is_run(above) else None
    below = above if run else file.parent
    return Trained(str(file), below, manifest.domain, given, run, file)


def weights_of(trained: Trained) -> str:
    """What tells the weights of a model from others."""
    if trained.onnx is not None:
        from distvae.export.session import read_manifest

        return read_manifest(trained.onnx).weights_sha256
    from distvae.headers import stored_checksum

    assert trained.run is not None
    return str(stored_checksum(trained.run.model / "model.safetensors"))
