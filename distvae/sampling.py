"""`distvae sample`: images from a run, as a sheet, arrays or a folder of pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.files import new_folder, replacing_file
from distvae.images import save_grid, save_png, to_uint8
from distvae.labels import parse_labels
from distvae.runs import SAMPLES, Run, find_run
from distvae.terminal import make_console, progress_bar

if TYPE_CHECKING:
    from distvae.models import VAE

COLUMNS = 10


@dataclass(frozen=True)
class SampleConfig:
    """Draw images from a trained model, by label where it has labels."""

    run: Annotated[str | None, tyro.conf.Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    label: Annotated[str | None, tyro.conf.arg(aliases=["--labels"])] = None
    """Labels by number, name, range or list: `7`, `shirt`, `0-9`, `3,1,4`; left out: every label."""
    count: int = 10
    """Images for each label."""
    seed: int = 0
    """Seed of the noise: the same seed gives the same images on every machine."""
    temperature: float = 1.0
    """Factor of the noise; below 1 images are more typical and less diverse."""
    output: str | None = None
    """A .png sheet, an .npz of arrays, or a folder of PNG files; left out: a sheet in the run."""


def write_samples(config: SampleConfig) -> None:
    """Draw and write what ``distvae sample`` was asked for.

    Raises:
        DistvaeError: no such run or label, a wrong number, or an output that cannot be written.
    """
    if config.count < 1:
        raise DistvaeError(f"--count is {config.count}", "expected at least 1")
    if config.seed < 0:
        raise DistvaeError(f"--seed is {config.seed}", "expected 0 or more")
    run = find_run(config.run)
    if config.output is not None and Path(config.output).suffix not in (".png", ".npz", ""):
        raise DistvaeError(
            f"--output {config.output} has an unknown ending",
            "expected .png for a sheet, .npz for arrays, or a folder",
        )
    output = _output(config, run)
    if not output.suffix and output.exists() and (output.is_file() or any(output.iterdir())):
        raise DistvaeError(
            f"--output {output} is {'a file' if output.is_file() else 'not empty'}",
            "expected a new folder",
            "Take another --output.",
        )
    from distvae.models import VAE

    model = VAE.from_pretrained(run.model)
    labels = _labels(config, model)
    images = _draw(config, model, labels)
    _write(output, images, labels, model.label_names)
    console = make_console()
    if config.run is None:
        console.print(f"newest run: {run.folder}")
    console.print(f"{len(images)} images from {run.model / 'model.safetensors'} in {output}")


def _labels(config: SampleConfig, model: "VAE") -> list[int] | None:
    """Label of every image, or None for an unconditional model."""
    if not model.conditional:
        if config.label is not None:
            parse_labels(config.label, ())  # says that there are none
        return None
    chosen = (
        range(len(model.label_names))
        if config.label is None
        else parse_labels(config.label, model.label_names)
    )
    return [label for label in chosen for _ in range(config.count)]


def _draw(config: SampleConfig, model: "VAE", labels: list[int] | None) -> NDArray[np.uint8]:
    total = config.count if labels is None else len(labels)
    batches = []
    with progress_bar("sampling", total) as advance:
        for batch in model.sample_batches(
            labels,
            n=1 if labels is not None else config.count,
            seed=config.seed,
            temperature=config.temperature,
        ):
            batches.append(to_uint8(batch.numpy()))
            advance(len(batch))
    return np.concatenate(batches)


def _output(config: SampleConfig, run: Run) -> Path:
    if config.output is not None:
        return Path(config.output)
    label = f"label-{config.label}-" if config.label is not None else ""
    return run.folder / SAMPLES / f"{label}seed-{config.seed}.png"


def _write(
    output: Path, images: NDArray[np.uint8], labels: list[int] | None, names: tuple[str, ...]
) -> None:
    if output.suffix == ".png":
        save_grid(output, images, min(COLUMNS, len(images)))
    elif output.suffix == ".npz":
        arrays: dict[str, NDArray[np.generic]] = {"images": images}
        if labels is not None:
            arrays |= {"labels": np.array(labels), "label_names": np.array(names)}
        with replacing_file(output) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    else:
        with new_folder(output) as folder:
            for number, image in enumerate(images):
                name = "" if labels is None else names[labels[number]].replace("/", "-") + "-"
                save_png(folder / f"{name}{number:05d}.png", image)
