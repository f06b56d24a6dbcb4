"""`distvae sample`: images from a run or an ONNX file, as a sheet, arrays or a folder of pictures."""

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError, shown
from distvae.files import disk_told, new_folder, replacing_file
from distvae.flags import Positional, arg
from distvae.headers import stored_checksum
from distvae.labels import numbers_of, parse_labels
from distvae.memory import check_memory
from distvae.runs import ONNX, SAMPLES, find_run, is_run
from distvae.terminal import make_console, progress_bar
from distvae.text import file_name

COLUMNS, MOST_COLUMNS = 10, 20
SEED_BITS = 128  # Philox's key
COUNT_BITS = 63
SMALLEST_PNG = 67
"""Bytes of a picture of one pixel."""
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class SampleConfig:
    """Draw images from a trained model, by label where it has labels."""

    run: Annotated[str | None, Positional] = None
    """Run folder, one of its checkpoints, or an ONNX file, which needs no PyTorch; left out: the newest run."""
    label: Annotated[str | None, arg(aliases=["--labels"])] = None
    """Labels by number, name, range or list: `7`, `shirt`, `0-9`, `3,1,4`; left out: every label. Where all names are whole numbers, a number is a name. In a list, a name with a comma, a dash or spaces around it may stand in double quotes: `'"red, dark",blue'`."""
    count: int = 10
    """Images for each label."""
    seed: int = 0
    """Seed of the noise: the same seed gives the same images on every machine."""
    temperature: float = 1.0
    """Factor of the noise; below 1 images are more typical and less diverse."""
    output: str | None = None
    """A .png sheet, an .npz or .npy of arrays (.npy for any number: memory stays flat), or a folder of PNG files; left out: a sheet in the run."""
    prior: Literal["model", "fitted"] = "model"
    """Where the latents come from: the model's own prior, or the one that `distvae fit-prior` fitted to the run."""
    provider: Literal["cpu", "cuda", "tensorrt", "coreml", "openvino"] = "cpu"
    """What runs an ONNX file."""
    verify: Literal["auto", "on", "off"] = "auto"
    """Compare an ONNX file with its checksum, and what this machine draws with the file's probe; `auto` spares files above 200 MB the checksum."""


@dataclass(frozen=True)
class Source:
    """Where images come from: the weights of a run or an ONNX file."""

    folder: Path
    """Under which samples are kept."""
    weights: Path
    onnx: bool
    remark: str = ""
    """Why it is not what one might think."""


@dataclass(frozen=True)
class Drawing:
    """Images about to be drawn, in batches."""

    image_shape: tuple[int, int, int]
    label_names: tuple[str, ...]
    labels: list[int] | None
    """Labels to draw, ``count`` images each; None without labels."""
    count: int
    batches: Callable[[], Iterator[Images]]

    @property
    def total(self) -> int:
        """Number of images."""
        return self.count * (1 if self.labels is None else len(self.labels))

    def __iter__(self) -> Iterator[tuple[Images, Labels | None]]:
        """Images ``[B, C, H, W]`` and the label of each ``[B]``, with a progress bar."""
        start = 0
        labels = None if self.labels is None else np.array(self.labels, np.int64)
        with progress_bar("sampling", self.total) as advance:
            for images in self.batches():
                numbers = np.arange(start, start + len(images)) // self.count
                yield images, None if labels is None else labels[numbers]
                start += len(images)
                advance(len(images))


def write_samples(config: SampleConfig) -> None:
    """Draw and write what ``distvae sample`` was asked for.

    Raises:
        DistvaeError: no such run, file, label or provider, a wrong number, or an output that
            cannot be written.
    """
    _check_numbers(config)
    source = find_source(config.run, config.prior == "fitted")
    output = _output(config, source.folder)
    if config.provider != "cpu" and not source.onnx:
        raise DistvaeError(
            f"--provider {config.provider} is for ONNX files",
            source.remark or f"{source.weights.parent} is sampled with PyTorch",
            "Export it first: distvae export --onnx",
        )
    drawing = (_from_onnx if source.onnx else _from_weights)(config, source.weights)
    with disk_told(f"the images cannot be written to {output}", output.parent):
        WRITERS[output.suffix](output, drawing)
    console = make_console()
    if config.run is None:
        console.print(f"newest run: {source.folder}")
    if source.remark:
        console.print(source.remark)
    console.print(f"{drawing.total} images from {source.weights} in {output}")


def find_source(name: str | None, fitted: bool = False) -> Source:
    """What a command draws from, given a run, a checkpoint, an ONNX file or None.

    The exported file of a run is taken where it was made from the run's present weights, unless the
    latents come from a fitted prior, which only the weights take.

    Raises:
        DistvaeError: there is no such run, or an ONNX file was given for a fitted prior.
    """
    if name is not None and (Path(name).suffix == ".onnx" or Path(name).is_file()):
        if fitted:
            raise DistvaeError(
                f"--prior fitted does not fit {name}",
                "an ONNX file draws from the prior that it was exported with",
                "Name the run folder.",
            )
        path = Path(name)
        above = Path(os.path.realpath(path)).parent.parent
        return Source(above if is_run(above) else path.parent, path, onnx=True)
    run = find_run(name)
    weights, decoder = run.model / "model.safetensors", run.folder / ONNX / "decoder.onnx"
    if fitted or run.model != run.folder or not decoder.is_file():
        return Source(run.folder, weights, onnx=False)
    reason = _unfit(decoder, weights)
    if not reason:
        return Source(run.folder, decoder, onnx=True)
    remark = f"{ONNX}/{decoder.name} is {reason}: sampled from {weights.name}"
    return Source(run.folder, weights, onnx=False, remark=remark)


def _unfit(decoder: Path, weights: Path) -> str:
    """Why the exported file of a run does not stand for its weights; empty if it does."""
    from distvae.export.session import read_manifest

    try:
        manifest = read_manifest(decoder)
    except DistvaeError:
        return "damaged or of another version"
    return "" if manifest.weights_sha256 == stored_checksum(weights) else "of older weights"


def _check_numbers(config: SampleConfig) -> None:
    if not 1 <= config.count < 2**COUNT_BITS:
        told = shown(config.count)
        raise DistvaeError(f"--count is {told}", f"expected at least 1, below 2**{COUNT_BITS}")
    if not 0 <= config.seed < 2**SEED_BITS:
        raise DistvaeError(
            f"--seed is {config.seed}", f"expected 0 or more, less than 2**{SEED_BITS}"
        )
    if not 0 <= config.temperature < math.inf:
        raise DistvaeError(f"--temperature is {config.temperature}", "expected 0 or more")
    if config.output is not None and Path(config.output).suffix not in WRITERS:
        raise DistvaeError(
            f"--output {config.output} has an unknown ending",
            "expected .png for a sheet, .npz or .npy for arrays, or a folder",
        )


def _output(config: SampleConfig, folder: Path) -> Path:
    """Where the images go, which must be a new folder if it is one."""
    if config.output is None:
        label = f"label-{file_name(config.label)}-" if config.label is not None else ""
        fitted = "fitted-" if config.prior == "fitted" else ""
        return folder / SAMPLES / f"{fitted}{label}seed-{config.seed}.png"
    output = Path(config.output)
    if output.suffix and output.is_dir():
        raise DistvaeError(f"--output {output} is a folder", "expected a file to write")
    if not output.suffix and output.exists() and (output.is_file() or any(output.iterdir())):
        raise DistvaeError(
            f"--output {output} is {'a file' if output.is_file() else 'not empty'}",
            "expected a new folder",
            "Take another --output.",
        )
    return output


def _from_onnx(config: SampleConfig, path: Path) -> Drawing:
    from distvae.export.sampler import Sampler

    verify = {"auto": None, "on": True, "off": False}[config.verify]
    sampler = Sampler(path, config.provider, verify=verify)
    if sampler.spared:
        make_console().print(f"{path} is large: not compared with its checksum; --verify on does")
    labels = _labels(config, sampler.label_names)

    def batches() -> Iterator[Images]:
        asked = None if labels is None else numbers_of(sampler.label_names)[labels]
        return sampler.stream(asked, config.count, config.seed, config.temperature)

    shape = sampler.manifest.image_shape
    return Drawing(shape, sampler.label_names, labels, config.count, batches)


def _from_weights(config: SampleConfig, path: Path) -> Drawing:
    from distvae.images import to_uint8
    from distvae.models import VAE
    from distvae.priors.fitted import FittedPrior

    model = VAE.from_pretrained(path.parent)
    names = model.label_names if model.conditional else ()
    prior = None
    if config.prior == "fitted":
        prior = FittedPrior.load(path.parent, model.config.latent_dim, len(names))
    labels = _labels(config, names)

    def batches() -> Iterator[Images]:
        asked = None if labels is None else numbers_of(names)[labels]
        drawing = config.count, config.seed, config.temperature
        for batch in model.sample_batches(asked, *drawing, prior):
            yield to_uint8(batch.numpy())

    return Drawing(model.image_shape, names, labels, config.count, batches)


def _labels(config: SampleConfig, names: tuple[str, ...]) -> list[int] | None:
    """Indices of the labels that were asked for, or None for a model without."""
    if config.label is not None:
        return parse_labels(config.label, names)  # refuses where there are none
    return list(range(len(names))) or None


def _write_sheet(output: Path, drawing: Drawing) -> None:
    from distvae.images import save_grid

    _check_memory(output, drawing)
    images = np.concatenate([images for images, _ in drawing])
    columns = drawing.count if 1 < drawing.count <= MOST_COLUMNS else COLUMNS  # a row is a label
    save_grid(output, images, min(columns, len(images)))


def _write_arrays(output: Path, drawing: Drawing) -> None:
    _check_memory(output, drawing)
    batches = list(drawing)
    arrays: dict[str, NDArray[np.generic]] = {
        "images": np.concatenate([images for images, _ in batches])
    }
    if drawing.label_names:
        labels = [labels for _, labels in batches if labels is not None]
        arrays |= {"labels": np.concatenate(labels), "label_names": np.array(drawing.label_names)}
    with replacing_file(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _write_array(output: Path, drawing: Drawing) -> None:
    """Images as they are drawn, so any number; their labels go to NAME-labels.npy beside them."""
    shape = (drawing.total, *drawing.image_shape)
    _check_room(output, math.prod(shape))
    parts: list[tuple[Path, str, tuple[int, ...]]] = [(output, "|u1", shape)]
    if drawing.labels is not None:
        parts.append((output.with_name(f"{output.stem}-labels.npy"), "<i8", shape[:1]))
    with contextlib.ExitStack() as stack:
        temporary = [stack.enter_context(replacing_file(path)) for path, *_ in parts]
        files = [stack.enter_context(path.open("wb")) for path in temporary]
        for file, (_, kind, sides) in zip(files, parts, strict=True):
            header = {"descr": kind, "fortran_order": False, "shape": sides}
            np.lib.format.write_array_header_1_0(file, header)
        for images, labels in drawing:
            files[0].write(images.tobytes())
            if labels is not None:
                files[1].write(labels.astype("<i8").tobytes())


def _check_memory(output: Path, drawing: Drawing) -> None:
    """Images that are written all at once, for which they are copied once."""
    check_memory(
        2 * drawing.total * math.prod(drawing.image_shape),
        f"{drawing.total:,} images at once for {output}",
        "Draw fewer, or take an .npy or a folder, which are written as they are drawn.",
    )


def _check_room(output: Path, needed: int) -> None:
    above = next(folder for folder in output.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise DistvaeError(
            f"--output {output} needs {needed / 1e9:,.1f} GB",
            f"{free / 1e9:,.1f} GB are free there",
            "Draw fewer images, or name another disk.",
        )


def _write_pictures(output: Path, drawing: Drawing) -> None:
    from distvae.images import save_png

    _check_room(output, SMALLEST_PNG * drawing.total)
    number, names = 0, [file_name(name) for name in drawing.label_names]
    with new_folder(output) as folder:
        for images, labels in drawing:
            for row, image in enumerate(images):
                name = "" if labels is None else f"{names[labels[row]]}-"
                save_png(folder / f"{name}{number:05d}.png", image)
                number += 1


WRITERS: dict[str, Callable[[Path, Drawing], None]] = {
    ".png": _write_sheet,
    ".npz": _write_arrays,
    ".npy": _write_array,
    "": _write_pictures,
}
"""How images are written, by the ending of the output."""
