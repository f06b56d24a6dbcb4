"""`distvae reconstruct`: what a model keeps of images, beside them.

Legend: N examples, S the axes of an example.
"""

import collections
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from distvae.domains import Images
from distvae.drawings import write_rows
from distvae.files import replacing_file
from distvae.flags import Positional
from distvae.labels import Labels
from distvae.places import evenly
from distvae.ranges import check_seed
from distvae.terminal import say
from distvae.tools.examples import open_examples
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.pair_figures import PairFigures
from distvae.tools.reconstruction import COUNT, Reconstruction, joined, reconstructed
from distvae.tools.trained import ENCODER, Trained, open_trained
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName

MOST = 10_000
"""Examples of an .npz that nobody asked for."""


@dataclass(frozen=True)
class ReconstructConfig:
    """Show what a model keeps of images: each beside the decoder's mean for its posterior mean.

    Of pictures PSNR and SSIM say how near they come, of rows the error of each column in its
    deviations; nats are those of `distvae evaluate`, with one draw of the posterior. ONNX files
    tell no nats.
    """

    EXAMPLES = (
        "distvae reconstruct",
        "distvae reconstruct runs/photos --data photos --count 100",
        "distvae reconstruct --data a.png --label 7 --output pair.png",
        "distvae reconstruct runs/photos/onnx --data photos",
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
    return joined(list(reconstructed(trained, open_examples(trained, data, tell=False), seed)))


def write_reconstructions(config: ReconstructConfig) -> None:
    """Reconstruct and write what ``distvae reconstruct`` was asked for.

    Raises:
        DistvaeError: no such run or data, an output that cannot be written, or, once all else is
            done, images that could not be read.
    """
    check_seed(config.seed)
    trained = open_trained(config.run, onnx=ENCODER)
    outputs = Outputs(trained, "reconstruct", config.output, (".png", ".csv", ".npz"))
    examples = open_examples(
        trained, config.data, config.split, config.label, label_column=config.label_column
    )
    size, pictures = len(examples), isinstance(trained.domain, Images)
    asked = outputs.only is not None and outputs.only.suffix == ".npz"
    whole = outputs.wants(".npz") and (asked or size <= MOST)
    shown = evenly(size, config.count)
    kept, figures = [], PairFigures(size, pictures, nats=trained.onnx is None)

    def rows() -> Iterator[list[str]]:
        for part in reconstructed(trained, examples, config.seed):
            chosen = np.flatnonzero(np.isin(part.rows, shown))
            if whole or len(chosen):
                kept.append(part if whole else part.part(chosen))
            yield from figures.rows(part.ids, part.words, part.figures(pictures))

    if outputs.wants(".csv"):
        write_csv(outputs.path("reconstructions.csv"), figures.header, rows())
    else:
        collections.deque(rows(), maxlen=0)
    if not asked and not whole and outputs.only is None:
        say(f"more than {MOST:,}: no .npz is written unless --output names one")
    together = joined(kept) if kept else None  # none: those to be shown cannot be read
    if whole and together:
        _write_npz(outputs, together)
    if outputs.wants(".png") and together:
        sheet = together.part(np.flatnonzero(np.isin(together.rows, shown)))
        _write_sheet(outputs, trained, sheet, figures.caption)
    outputs.tell(figures.line(trained.domain.examples))
    examples.refuse_lost()


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
