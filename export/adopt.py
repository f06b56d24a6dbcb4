"""`distvae import` and `distvae export --diffusers`: the autoencoder under a diffusion model."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from distvae.errors import DistvaeError
from distvae.files import new_folder, reporting_disk_errors, write_json
from distvae.flags import Positional
from distvae.reading import read_json
from distvae.runs import Run
from distvae.terminal import say
from distvae.values import FolderName

DIFFUSERS = "diffusers"
"""Folder of a run that the library diffusers reads."""
FACTS = Path("latents", "latents.json")
"""What `distvae latents` measured of a run, or a folder said that was taken over."""


@dataclass(frozen=True)
class ImportConfig:
    """Take over an `AutoencoderKL` of the library diffusers as a model of --network sd.

    What is written is a saved model: `latents`, `decode`, `reconstruct`, `export` and `train
    --init-from` take it. Its likelihood is `laplace`, whose scale is not learned yet.
    """

    EXAMPLES = ("distvae import stable-diffusion/vae --output runs/sd-vae",)

    folder: Annotated[FolderName | None, Positional] = None
    """A folder with config.json and diffusion_pytorch_model.safetensors, or with a part `vae` that
    has them; the weights may be of half precision, or in shards."""
    output: FolderName | None = None
    """A new folder; needed."""


def import_model(config: ImportConfig) -> None:
    """Read the folder and write ours.

    Raises:
        DistvaeError: the folder holds something else, or the output exists.
    """
    from distvae.export.autoencoder_kl import read_folder

    if config.folder is None or config.output is None:
        raise DistvaeError(
            "distvae import takes a folder and --output",
            "expected both",
            f"Such as: {ImportConfig.EXAMPLES[0]}",
        )
    output = Path(config.output)
    if output.exists():
        raise DistvaeError(f"{output} exists", "expected a new folder", "Choose another --output.")
    adopted = read_folder(Path(config.folder))
    model = adopted.model
    with (
        reporting_disk_errors(f"the model cannot be written to {output}", output.parent),
        new_folder(output) as folder,
    ):
        model.save_pretrained(folder)
        (folder / FACTS).parent.mkdir()
        write_json(folder / FACTS, adopted.scale)
    for note in adopted.notes:
        say(note)
    sides = " x ".join(map(str, model.latents.levels[0].shape))
    factor = adopted.scale["scaling_factor"]
    say(f"{output}: {model.domain.told}, latents of {sides}, scaling_factor {factor:.6g}")
    say(f"next: distvae latents {shlex.quote(str(output))} --data PICTURES")


def write_diffusers(run: Run, output: str | None) -> None:
    """Write what the library diffusers reads, with the scale of latents that were written.

    Raises:
        DistvaeError: the model has no place in that layout, or the output holds something else.
    """
    from distvae.export.autoencoder_kl import write_folder
    from distvae.export.library_files import is_layout
    from distvae.models import VAE

    folder = Path(output) if output is not None else run.folder / DIFFUSERS
    if folder.exists() and not is_layout(folder):
        raise DistvaeError(
            f"{folder} holds something else", "expected a new folder", "Choose another --output."
        )
    facts: Any = read_json(run.folder / FACTS) if (run.folder / FACTS).is_file() else {}
    facts = facts if isinstance(facts, dict) else {}
    factor, shift = facts.get("scaling_factor"), facts.get("shift_factor")
    with reporting_disk_errors(f"the export cannot be written to {folder}", folder.parent):
        write_folder(VAE.from_pretrained(run.model), folder, factor, shift)
    if factor is None:
        say("scaling_factor is 1: `distvae latents` measures it, and an export after it has it")
    say(f"written to {folder}: AutoencoderKL.from_pretrained reads it")
