"""`distvae import`: the autoencoder under a diffusion model as a model of ours."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from distvae.errors import DistvaeError
from distvae.files import new_folder, reporting_disk_errors
from distvae.flags import Positional
from distvae.terminal import say
from distvae.values import FolderName


@dataclass(frozen=True)
class ImportConfig:
    """Take over an `AutoencoderKL` of the library diffusers as a model of --network sd.

    What is written is a saved model: `latents`, `decode`, `reconstruct`, `export` and `train
    --init-from` take it. Its likelihood is `laplace`, whose scale is not learned yet.
    """

    EXAMPLES = ("distvae import stable-diffusion/vae --output runs/sd-vae",)

    folder: Annotated[FolderName | None, Positional] = None
    """A folder with config.json and diffusion_pytorch_model.safetensors."""
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
    model = read_folder(Path(config.folder))
    with (
        reporting_disk_errors(f"the model cannot be written to {output}", output.parent),
        new_folder(output) as folder,
    ):
        model.save_pretrained(folder)
    sides = " x ".join(map(str, model.latents.levels[0].shape))
    say(f"{output}: {model.domain.told}, latents of {sides}")
    say(f"next: distvae latents {shlex.quote(str(output))} --data PICTURES")
