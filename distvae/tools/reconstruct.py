"""`distvae reconstruct`: what a model keeps of images, beside them.

Legend: N examples, S the axes of an example.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.data.identity import combined
from distvae.domains import Images
from distvae.domains.volumes import Volumes
from distvae.drawings import write_rows
from distvae.files import replacing_file
from distvae.flags import Positional
from distvae.labels import Labels
from distvae.places import evenly
from distvae.ranges import check_seed
from distvae.terminal import say
from distvae.tools.collected import collected
from distvae.tools.examples import Examples, open_examples
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.pair_figures import ROWS, PairFigures
from distvae.tools.parts import Parts
from distvae.tools.reconstruction import (
    COUNT,
    Reconstruction,
    reconstructed,
    reconstructed_whole,
)
from distvae.tools.trained import ENCODER, Trained, open_trained, weights_of
from distvae.tools.whole_volumes import write_whole
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName

PART_ROWS = 20_000
"""Examples whose figures are kept at once."""
MOST = 10_000
"""Examples of an .npz that nobody asked for."""


@dataclass(frozen=True)
class ReconstructConfig:
    """Show what a model keeps of images: each beside the decoder's mean for its posterior mean.

    Of pictures PSNR and SSIM say how near they come, of rows the error of each column in its
    deviations; nats are those of `distvae evaluate`, with one draw of the posterior. ONNX files
    tell no nats.

    Volumes are reconstructed whole, by patches that overlap by half and are blended, and written
    with the type of numbers and the spacing of their files.
    """

    EXAMPLES = (
        "distvae reconstruct",
        "distvae reconstruct runs/photos --data photos --count 100",
        "distvae reconstruct --data a.png --label 7 --output pair.png",
        "distvae reconstruct runs/photos/onnx --data photos",
        "distvae reconstruct runs/scans --data scan.nii.gz --output again.nii.gz",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or its folder of ONNX files, which needs no PyTorch; left out: the newest run."""
    data: DataName | None = None
    """What to reconstruct: a folder, file, table, array file, Hub id, bundled set or picture; left out: the test split of the run."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """Of which split; left out: `test` of the run's own data, `all` of other data."""
    label: LabelNames | None = None
    """What a conditional model is given of every example; left out: the labels of the data, and where they are not known the label under which the bound is largest."""
    label_column: Name | None = None
    """Column of the labels, where it is not found."""
    count: Count = COUNT
    """Examples on the sheet, taken evenly from all."""
    part_rows: Count = PART_ROWS
    """Examples after which figures are kept on the way into a folder, where there are more than 10,000; a command that was killed goes on after the last ones kept."""
    output: PathName | None = None
    """A folder, or a file that ends in .png, .csv or .npz; left out: RUN/reconstruct."""
    seed: int = 0
    """Seed of the draws of the posterior, for the nats."""


def reconstruct(
    model: Any, images: Any = None, labels: Labels | None = None, seed: int = 0
) -> Reconstruction:
    """What a model makes of every example.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run, a checkpoint or a folder of ONNX files.
        images: as :func:`distvae.tools.embed.embed` takes them; None is the run's test split.
        labels: of the images, where they are not in the data: one for all or one for each.
        seed: of the draws for the nats.

    Raises:
        DistvaeError: the images do not fit the model, or cannot be read.
    """
    trained = Trained.of(model, onnx=ENCODER)
    data = images if labels is None or images is None else (images, labels)
    return reconstructed_whole(trained, open_examples(trained, data, tell=False), seed)


def write_reconstructions(config: ReconstructConfig) -> None:
    """Reconstruct and write what ``distvae reconstruct`` was asked for.

    Raises:
        DistvaeError: no such run or data, an output that cannot be written, or, once all else is
            done, images that could not be read.
    """
    check_seed(config.seed)
    trained = open_trained(config.run, onnx=ENCODER)
    if isinstance(trained.domain, Volumes):
        given = config.data, config.split, config.label, config.label_column
        return write_whole(trained, *given, config.output)
    outputs = Outputs(trained, "reconstruct", config.output, (".png", ".csv", ".npz"))
    examples = open_examples(
        trained, config.data, config.split, config.label, label_column=config.label_column
    )
    pictures, nats = isinstance(trained.domain, Images), trained.onnx is None
    asked = outputs.only is not None and outputs.only.suffix == ".npz"
    parts = None
    if outputs.wants(".npz") and (asked or len(examples) <= MOST):
        together = reconstructed_whole(trained, examples, config.seed)
        figures = PairFigures(PairFigures.columns_of(together, pictures), pictures, nats)
        _write_npz(outputs, together)
        shown = together.part(evenly(len(together.ids), config.count))
    else:
        parts = _kept_on_the_way(trained, examples, outputs, config)
        kept = _measured(trained, examples, config, pictures, parts)
        figures = PairFigures(kept, pictures, nats)
        rows = kept[ROWS][evenly(len(kept[ROWS]), config.count)]
        shown = reconstructed_whole(trained, examples.only(rows), config.seed)
    if outputs.wants(".csv"):
        write_csv(outputs.path("reconstructions.csv"), *figures.table(examples))
    if not asked and parts is not None:
        say(f"more than {MOST:,}: no .npz is written unless --output names one")
    if outputs.wants(".png"):
        _write_sheet(outputs, trained, shown, figures.caption)
    if parts is not None:
        parts.remove()
    outputs.tell(figures.line(trained.domain.examples))
    examples.refuse_lost()


def _kept_on_the_way(
    trained: Trained, examples: Examples, outputs: Outputs, config: ReconstructConfig
) -> Parts | None:
    """Where figures are kept for a command that goes on; None where one file was asked for."""
    if outputs.only is not None:
        return None
    what = [examples.identity, len(examples), config.seed, config.part_rows]
    return Parts(outputs.working(".figures"), ".npz", combined([weights_of(trained), *what]))


def _measured(
    trained: Trained,
    examples: Examples,
    config: ReconstructConfig,
    pictures: bool,
    parts: Parts | None,
) -> dict[str, NDArray[Any]]:
    """The figures of examples that are too many to keep, with flat memory."""

    def blocks(start: int) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        for stop, found in reconstructed(trained, examples, config.seed, start):
            yield stop, PairFigures.columns_of(found, pictures)

    kept = collected(examples, blocks, parts, config.part_rows)
    return {name: kept.column(name) for name in kept.names}


def _write_npz(outputs: Outputs, found: Reconstruction) -> None:
    arrays: dict[str, Any] = {
        "originals": found.originals,
        "reconstructions": found.decoded,
        "ids": np.array(found.ids),
    }
    if not np.isnan(found.nats.rate).all():
        arrays |= found.nats._asdict()
    if found.labels is not None:
        arrays |= {"labels": found.labels, "label_names": np.array(found.label_names)}
    with (
        replacing_file(outputs.path("reconstructions.npz")) as temporary,
        temporary.open("wb") as file,
    ):
        np.savez_compressed(file, **arrays)


def _write_sheet(outputs: Outputs, trained: Trained, found: Reconstruction, caption: str) -> None:
    """Pictures in pairs, the original above; rows of a table in pairs, one below the other."""
    if not isinstance(trained.domain, Images):
        header = ["id", "what", *trained.domain.names]
        pairs = np.stack([found.originals, found.decoded], 1).reshape(-1, *found.scale.shape)
        names = [name for name in found.ids for _ in range(2)]
        whats = ["original", "reconstruction"] * len(found.ids)
        write_rows(outputs.path("pairs.csv"), [*header[2:], *header[:2]], [(pairs, [names, whats])])
        return
    found.sheet(len(found.ids), caption).write(outputs.path("reconstructions.png"))
