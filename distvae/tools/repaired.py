"""Pictures and what may be behind them, some at once.

Legend: N pictures, K draws for each, C channels, H height, W width, A attributes.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import named
from distvae.images import to_uint8
from distvae.places import evenly
from distvae.terminal import progress_bar, say
from distvae.tools.corruption import Noise
from distvae.tools.examples import Examples
from distvae.tools.reading import Part
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.trained import Trained

if TYPE_CHECKING:
    from distvae.tools.evidence import PixelLaw

TOGETHER = 50
"""Pictures that are repaired together at most."""
ROOM = 2**28
"""Bytes that these take at most."""
PART = 2**26
"""Bytes of a part of a file, where nobody says how many pictures."""
LAW = 2000
"""Training pictures on which pixels around the decoder's mean are counted."""
ANSWERS = 5
"""Pictures that are kept of each besides its draws."""
WORK = 100
"""Pictures of each that what its pixels say takes as much memory as."""
COLUMNS = 10
"""Pictures on a sheet."""
SHOWN = 5
"""Draws on a sheet."""
GREY = np.float32(0.5)
"""Of hidden pixels on a sheet."""
Pictures = NDArray[np.float32]
ARRAYS = (
    *("before", "mean", "likeliest", "draws", "truth", "given", "log_evidence"),
    *("rows", "labels"),
)
"""Of a :class:`Repair`, a row for each picture."""


class Asked(NamedTuple):
    """What was done to pictures, and how they are repaired."""

    noise: Noise | None
    """On seen pixels; None where they are as they were."""
    spoil: bool
    """Whether pictures are spoilt first: they are the truth."""
    hidden: NDArray[np.bool_] | None
    """``[H, W]``."""
    unknown: bool
    """Whether labels are not told."""
    draws: int
    seed: int

    @property
    def identity(self) -> str:
        """The same for the same."""
        plain = self._replace(hidden=None)
        return f"{plain!r} {None if self.hidden is None else self.hidden.tobytes().hex()}"


@dataclass(frozen=True, eq=False)
class Repair(Pictured):
    """Pictures and what may be behind them, float32 in [0, 1]."""

    before: Pictures
    """What is seen ``[N, C, H, W]``; NaN where nothing is. Noise may leave [0, 1]."""
    mean: Pictures
    """The answer: pixels expected behind what is seen, the mean over draws ``[N, C, H, W]``."""
    likeliest: Pictures
    """Those for the likeliest latents (MAP) ``[N, C, H, W]``."""
    draws: Pictures
    """Decoder's means for draws of the latents ``[N, K, C, H, W]``; pixels that are seen without
    noise are kept."""
    truth: Pictures | None
    """``[N, C, H, W]``, where it is known."""
    given: NDArray[np.float32] | None
    """What the model was given for each draw ``[N, K, A]``; None of an unconditional one."""
    log_evidence: NDArray[np.float64]
    """Estimate of log p(what is seen), nats ``[N]``."""
    rows: NDArray[np.int64]
    """Numbers of the pictures ``[N]``."""
    ids: list[str]
    labels: NDArray[np.int64] | None
    """Among ``label_names`` ``[N]``, -1 where one is not known; None without labels."""
    label_names: tuple[str, ...]
    noise: Noise | None

    @property
    def spread(self) -> NDArray[np.float64]:
        """Deviation of a pixel over the draws, the mean over pixels that are not seen ``[N]``.

        Over all pixels where all are seen.
        """
        deviation = self.draws.std(1, dtype=np.float64)
        hidden = np.isnan(self.before)
        weights = hidden if hidden.any() else np.ones_like(hidden)
        result: NDArray[np.float64] = (deviation * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
        return result

    @property
    def examples(self) -> NDArray[Any]:
        """The answers as levels ``[N, C, H, W]``."""
        return to_uint8(self.mean)

    def at(self, places: NDArray[Any]) -> "Repair":
        """Some of them."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        chosen: dict[str, Any]
        chosen = {name: None if each is None else each[places] for name, each in arrays.items()}
        ids = np.array(self.ids, object)[places].tolist()
        return dataclasses.replace(self, **chosen, ids=ids)

    def sheet(self, caption: str = "") -> Sheet:
        """A column for each of some pictures: before, the answers, draws, and the truth."""
        count = min(COLUMNS, len(self.rows))
        places = evenly(len(self.rows), count)
        draws = min(SHOWN, self.draws.shape[1])
        rows = {
            "before": np.nan_to_num(self.before[places], nan=float(GREY)),
            "mean of the draws": self.mean[places],
            "likeliest": self.likeliest[places],
            **{f"draw {draw + 1}": self.draws[places, draw] for draw in range(draws)},
        }
        if self.truth is not None:
            rows["truth"] = self.truth[places]
        images = np.concatenate([to_uint8(each) for each in rows.values()])
        return Sheet(images, len(places), [*rows], caption)


def repaired(
    trained: Trained,
    examples: Examples,
    rows: NDArray[np.int64],
    asked: Asked,
    start: int = 0,
    most: int = TOGETHER,
) -> Iterator[tuple[int, Repair | None]]:
    """The same of examples that are open, some at once.

    Args:
        trained: the model.
        examples: of which some are repaired.
        rows: their numbers ``[N]``.
        asked: how.
        start: which of the rows is the first, where those before are done: the end of a block.
        most: pictures of a block.

    Yields:
        How many of the rows are done, and those of a block that could be read, if any.
    """
    from distvae.tools.evidence import exact_law
    from distvae.tools.law import law_of

    law = law_of(trained, LAW)
    if law is None:
        say("no training pictures at hand: a picture is taken to be what the decoder draws")
        law = exact_law()
    size = min(most, together(trained, asked))
    with progress_bar("repairing", len(rows)) as advance:
        advance(start)
        for begin in range(start, len(rows), size):
            stop = min(begin + size, len(rows))
            part = examples.at(rows[begin:stop])
            some = len(part.rows) > 0
            found = _answered(trained, examples, part, asked, law, begin) if some else None
            advance(stop - begin)
            yield stop, found


def _answered(
    trained: Trained, examples: Examples, part: Part, asked: Asked, law: "PixelLaw", begin: int
) -> Repair:
    """A block that begins at some place among all."""
    import torch

    from distvae.tools.repairing import Settings, answers

    model = trained.model
    seen, known, truth = _spoilt(model.domain, part, asked)
    given = None if part.given is None else torch.from_numpy(np.array(part.given))
    if given is not None and asked.unknown:
        given[:, named(model.attributes)] = math.nan
    found = answers(
        model,
        torch.from_numpy(seen).to(model.device),
        torch.from_numpy(known).to(model.device),
        None if given is None else given.to(model.device),
        asked.noise,
        law,
        Settings(draws=asked.draws),
        torch.Generator().manual_seed(asked.seed + 1 + begin),
    )
    return Repair(
        np.where(known, seen, np.float32(np.nan)),
        *(found.mean, found.best, found.draws, truth, found.given),
        *(found.log_evidence, part.rows, examples.names(part.rows), part.labels),
        *(examples.label_names, asked.noise),
    )


def together(trained: Trained, asked: Asked) -> int:
    """How many pictures are repaired together, that memory suffices."""
    from distvae.tools.repairing import Settings
    from distvae.tools.unknown import most_values

    settings = Settings(draws=asked.draws)
    most = max(settings.draws, settings.each * most_values(trained.attributes))
    each = 4 * math.prod(trained.domain.shape) * (most + WORK)
    return max(1, min(TOGETHER, ROOM // each))


def usual_part(trained: Trained, asked: Asked) -> int:
    """How many pictures go to one part of a file, where nobody says."""
    return max(1, PART // (4 * math.prod(trained.domain.shape) * (asked.draws + ANSWERS)))


def _spoilt(
    domain: Any, part: Part, asked: Asked
) -> tuple[Pictures, NDArray[np.bool_], Pictures | None]:
    """What is seen of pictures, where, and the truth where it is known."""
    import torch

    clean = domain.to_expected_input(torch.from_numpy(part.stored)).numpy().astype(np.float32)
    known = np.ones(clean.shape, np.bool_)
    if asked.hidden is not None:
        known &= ~asked.hidden
    seen = clean
    if asked.spoil:
        assert asked.noise is not None
        seen = np.stack(
            [
                asked.noise.draw(one, np.random.default_rng([asked.seed, int(row)]))
                for one, row in zip(clean, part.rows, strict=True)
            ]
        )
    truth = clean if asked.spoil or asked.noise is None else None
    return seen, known, truth


def joined(parts: Sequence[Repair]) -> Repair:
    """Blocks one after another, at least one."""
    first = parts[0]

    def whole(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    ids = [name for part in parts for name in part.ids]
    return dataclasses.replace(first, **{name: whole(name) for name in ARRAYS}, ids=ids)
