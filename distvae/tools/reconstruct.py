"""`distvae reconstruct`: what a model keeps of images, beside them.

Legend: N examples, S the axes of an example.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.domains import Images
from distvae.drawings import write_rows
from distvae.files import replacing_file
from distvae.flags import Positional
from distvae.labels import Labels
from distvae.places import evenly
from distvae.ranges import check_seed
from distvae.terminal import progress_bar, say
from distvae.tools.examples import Examples, open_examples
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.pair_figures import PairFigures
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.similarity import psnr, ssim
from distvae.tools.trained import Trained, open_trained
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName

COUNT = 50
"""Pairs on a sheet."""
MOST = 10_000
"""Examples of an .npz that nobody asked for."""


@dataclass(frozen=True)
class ReconstructConfig:
    """Show what a model keeps of images: each beside the decoder's mean for its posterior mean.

    Of pictures PSNR and SSIM say how near they come, of rows the error of each column in its
    deviations; nats are those of `distvae evaluate`, with one draw of the posterior.
    """

    EXAMPLES = (
        "distvae reconstruct",
        "distvae reconstruct runs/photos --data photos --count 100",
        "distvae reconstruct --data a.png --label 7 --output pair.png",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
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


class Nats(NamedTuple):
    """The parts of the bound of each example, nats ``[N]``."""

    distortion: NDArray[np.float64]
    rate: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reconstruction(Pictured):
    """Examples and what a model makes of them, as they are stored."""

    originals: NDArray[Any]
    """``[N, *S]``."""
    decoded: NDArray[Any]
    """The mean of the likelihood for the mean of the posterior ``[N, *S]``."""
    nats: Nats
    rows: NDArray[np.int64]
    """Numbers of the examples ``[N]``; those are missing that could not be read."""
    ids: list[str]
    labels: NDArray[np.int64] | None
    """Among ``label_names`` ``[N]``, -1 where one is not known; None without labels."""
    label_names: tuple[str, ...]
    scale: NDArray[np.float64]
    """By how much each number varies ``[*S]``: of pictures a level."""
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> NDArray[np.float64]:
        """Root mean square error of each example ``[N]``, in units of ``scale``."""
        off = (self.originals.astype(np.float64) - self.decoded) / self.scale
        result: NDArray[np.float64] = np.sqrt(np.square(off).reshape(len(off), -1).mean(1))
        return result

    @property
    def psnr(self) -> NDArray[np.float64]:
        """Of pictures, dB ``[N]``."""
        return psnr(self.originals, self.decoded)

    @property
    def ssim(self) -> NDArray[np.float64]:
        """Of pictures ``[N]``."""
        return ssim(self.originals, self.decoded)

    @property
    def words(self) -> list[str]:
        """The label of each example ``[N]``; empty where it is not known."""
        if self.labels is None:
            return [""] * len(self.ids)
        return [self.label_names[label] if label >= 0 else "" for label in self.labels]

    def figures(self, pictures: bool) -> dict[str, NDArray[np.float64]]:
        """Figures of each example ``[N]`` by name; PSNR and SSIM are of pictures."""
        distortion, rate = self.nats
        near = {"psnr": self.psnr, "ssim": self.ssim} if pictures else {"rmse": self.error}
        return {**near, "elbo": -(distortion + rate), "distortion": distortion, "rate": rate}

    @property
    def examples(self) -> NDArray[Any]:
        """``[N, *S]``."""
        return self.originals

    def sheet(self, count: int = COUNT, told: str = "") -> Sheet:
        """Pairs, the original above.

        Args:
            count: of the most pairs, taken evenly.
            told: of all images, in words; empty gives their mean PSNR and SSIM.
        """
        from distvae.images import paired

        size = len(self.ids)
        found = self.part(evenly(size, count))
        columns = min(10, len(found.ids))
        images = paired(found.originals, found.decoded, columns)
        names = ["original", "reconstruction"] * -(-len(found.ids) // columns)
        told = told or f"PSNR {self.psnr.mean():.2f} dB, SSIM {self.ssim.mean():.4f}"
        caption = f"the decoder's mean for the posterior's mean; over all images {told}"
        return Sheet(images, columns, names, caption)

    def part(self, rows: NDArray[np.int64]) -> "Reconstruction":
        """The same of some of them, by place."""
        labels = None if self.labels is None else self.labels[rows]
        nats = Nats(*(each[rows] for each in self.nats))
        ids = [self.ids[row] for row in rows]
        pair = self.originals[rows], self.decoded[rows]
        return Reconstruction(
            *(*pair, nats, self.rows[rows], ids, labels, self.label_names, self.scale, self.notes)
        )


def reconstruct(
    model: Any, images: Any = None, labels: Labels | None = None, seed: int = 0
) -> Reconstruction:
    """What a model makes of every example.

    Args:
        model: a :class:`distvae.VAE`, or the name of a run or a checkpoint.
        images: as :func:`distvae.tools.embed.embed` takes them; None is the run's test split.
        labels: of the images, where they are not in the data: one for all or one for each.
        seed: of the draws for the nats.

    Raises:
        DistvaeError: the images do not fit the model, or cannot be read.
    """
    trained = Trained.of(model)
    data = images if labels is None or images is None else (images, labels)
    return joined(list(reconstructed(trained, open_examples(trained, data, tell=False), seed)))


def reconstructed(trained: Trained, examples: Examples, seed: int) -> Iterator[Reconstruction]:
    """The same of examples that are open, block by block."""
    import torch

    from distvae.tools.batches import batches

    model = trained.model
    with progress_bar("reconstructing", len(examples)) as advance:
        for seen in batches(trained, examples, seed, advance=advance):
            with torch.no_grad():
                terms = model.terms(seen.batch)
                found = model.render(model.means(seen.expected, seen.context), seen.context)
                decoded = model.domain.to_stored(found).cpu().numpy()
            part = seen.part
            yield Reconstruction(
                part.stored,
                decoded,
                Nats(
                    -terms.log_likelihood.double().cpu().numpy(),
                    terms.rate.double().sum(1).cpu().numpy(),
                ),
                part.rows,
                examples.names(part.rows),
                part.labels,
                examples.label_names,
                model.domain.scale,
                examples.notes,
            )
    examples.refuse_none()


def joined(parts: Sequence[Reconstruction]) -> Reconstruction:
    """Blocks one after another, at least one."""
    first = parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    return Reconstruction(
        np.concatenate([part.originals for part in parts]),
        np.concatenate([part.decoded for part in parts]),
        Nats(*(np.concatenate(each) for each in zip(*(part.nats for part in parts), strict=True))),
        np.concatenate([part.rows for part in parts]),
        [name for part in parts for name in part.ids],
        np.concatenate(labels) if labels else None,
        *(first.label_names, first.scale, first.notes),
    )


def write_reconstructions(config: ReconstructConfig) -> None:
    """Reconstruct and write what ``distvae reconstruct`` was asked for.

    Raises:
        DistvaeError: no such run or data, an output that cannot be written, or, once all else is
            done, images that could not be read.
    """
    check_seed(config.seed)
    trained = open_trained(config.run)
    outputs = Outputs(trained, "reconstruct", config.output, (".png", ".csv", ".npz"))
    examples = open_examples(
        trained, config.data, config.split, config.label, label_column=config.label_column
    )
    size = len(examples)
    asked = outputs.only is not None and outputs.only.suffix == ".npz"
    whole = outputs.wants(".npz") and (asked or size <= MOST)
    shown = evenly(size, config.count)
    kept, figures = [], PairFigures()
    for part in reconstructed(trained, examples, config.seed):
        figures.add(part.ids, part.words, part.figures(isinstance(trained.domain, Images)))
        kept.append(part if whole else part.part(np.flatnonzero(np.isin(part.rows, shown))))
    if not asked and not whole and outputs.only is None:
        say(f"more than {MOST:,}: no .npz is written unless --output names one")
    together = joined(kept)
    if outputs.wants(".csv"):
        write_csv(outputs.path("reconstructions.csv"), *figures.table)
    if whole:
        _write_npz(outputs, together)
    if outputs.wants(".png"):
        sheet = together.part(np.flatnonzero(np.isin(together.rows, shown)))
        _write_sheet(outputs, trained, sheet, figures.caption)
    outputs.tell(figures.line(trained.domain.examples))
    examples.refuse_lost()


def _write_npz(outputs: Outputs, found: Reconstruction) -> None:
    arrays: dict[str, Any] = {
        "originals": found.originals,
        "reconstructions": found.decoded,
        "distortion": found.nats.distortion,
        "rate": found.nats.rate,
        "ids": np.array(found.ids),
    }
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
