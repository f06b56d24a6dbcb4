"""Examples and what a model makes of them, by its weights or by its exported files.

Legend: N examples, S the axes of an example.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.domains.levels import LEVELS
from distvae.evaluation.similarity import psnr, ssim
from distvae.places import evenly
from distvae.terminal import progress_bar
from distvae.tools.encoding import labels_of
from distvae.tools.examples import Examples, Part
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.trained import DECODER, ENCODER, Trained

COUNT = 50
"""Pairs on a sheet."""


class Nats(NamedTuple):
    """The parts of the bound of each example, nats ``[N]``; NaN by exported files."""

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
        return psnr(self.originals, self.decoded, self._white)

    @property
    def ssim(self) -> NDArray[np.float64]:
        """Of pictures ``[N]``."""
        return ssim(self.originals, self.decoded, self._white)

    @property
    def _white(self) -> float:
        return float((self.depth or LEVELS) - 1)

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
        images = paired(self.pictures(found.originals), self.pictures(found.decoded), columns)
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
            *(*pair, nats, self.rows[rows], ids, labels, self.label_names, self.scale, self.notes),
            depth=self.depth,
        )


def reconstructed(
    trained: Trained, examples: Examples, seed: int, start: int = 0
) -> Iterator[tuple[int, Reconstruction]]:
    """What a model makes of examples that are open, from a number on, block by block.

    Each with the number of the example after it.

    Raises:
        DistvaeError: none of them can be read.
    """
    made = _by_weights if trained.onnx is None else _by_files
    with progress_bar("reconstructing", len(examples)) as advance:
        advance(start)
        for part, decoded, nats in made(trained, examples, seed, start):
            if len(part.rows):
                found = Reconstruction(
                    part.stored,
                    decoded,
                    nats,
                    part.rows,
                    examples.names(part.rows),
                    part.labels,
                    examples.label_names,
                    trained.domain.scale,
                    examples.notes,
                    depth=trained.domain.levels,
                )
                yield part.asked.stop, found
            advance(part.asked.stop - part.asked.start)
    examples.refuse_none()


def _by_weights(
    trained: Trained, examples: Examples, seed: int, start: int
) -> Iterator[tuple[Part, NDArray[Any], Nats]]:
    import torch

    from distvae.tools.batches import batches

    model = trained.model
    for seen in batches(trained, examples, seed, start=start):
        with torch.no_grad():
            terms = model.terms(seen.batch)
            found = model.render(model.means(seen.expected, seen.context), seen.context)
            decoded = model.domain.to_stored(found).cpu().numpy()
        distortion = -terms.log_likelihood.double().cpu().numpy()
        yield seen.part, decoded, Nats(distortion, terms.rate.double().sum(1).cpu().numpy())


def _by_files(
    trained: Trained, examples: Examples, seed: int, start: int
) -> Iterator[tuple[Part, NDArray[Any], Nats]]:
    from distvae.export.encoder import Encoder
    from distvae.export.sampler import Sampler

    encoder, decoder = Encoder(trained.file(ENCODER)), Sampler(trained.file(DECODER))
    for part in examples.parts(start=start):
        labels = labels_of(trained, part.given)
        unknown = np.full(len(part.rows), np.nan)
        decoded = part.stored
        if len(part.rows):
            decoded = decoder.decode(encoder.noise(part.stored, labels), labels)
        yield part, decoded, Nats(unknown, unknown)


def reconstructed_whole(trained: Trained, examples: Examples, seed: int) -> Reconstruction:
    """The same of all examples at once."""
    return joined([found for _, found in reconstructed(trained, examples, seed)])


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
        depth=first.depth,
    )
