"""How near repaired pictures come to the truth, beside what is done without a model.

Legend: N pictures, K draws for each, B pictures of a part, J judges, C channels, H height, W width.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import main_label
from distvae.errors import DistvaeError
from distvae.evaluation.similarity import psnr, ssim
from distvae.terminal import make_console, progress_bar, say, table
from distvae.text import counted
from distvae.tools import classical
from distvae.tools.repaired import COLUMNS, GREY, joined
from distvae.tools.trained import Trained

if TYPE_CHECKING:
    from distvae.tools.repaired import Asked, Repair

TUNING = 16
"""Training pictures on which the parameters of other methods are chosen."""
BEFORE, LIKELIEST, MEAN = "before", "likeliest (MAP)", "mean of the draws"
Pictures = NDArray[np.float32]
Judge = Callable[[Pictures], NDArray[np.int64]]
"""Pictures ``[N, C, H, W]`` to their labels ``[N]``."""


class Tally:
    """Figures of repaired pictures, part by part, of which few are kept for the sheet.

    Args:
        trained: the model.
        asked: what was done to the pictures.
        size: how many pictures there will be, or a few less.
        judged: whether judges of the run's own data look at the answers.

    Raises:
        DistvaeError: the run's data have no labels, or are not at hand.
    """

    def __init__(self, trained: Trained, asked: "Asked", size: int, judged: bool) -> None:
        self._trained, self._asked = trained, asked
        self._rivals: dict[str, classical.Parameters] | None = None
        self._judge: Judge | None = None
        self._judge_names: tuple[str, ...] = ()
        if judged:
            self._judge, self._judge_names = _judge_of(trained)
        self._columns: dict[str, list[NDArray[np.float64]]] = {}
        self._every = max(1, size // COLUMNS)
        self._ids: list[str] = []
        self._shown: list[Repair] = []

    def add(self, part: "Repair") -> None:
        """Take in some pictures."""
        places = np.arange(len(self._ids), len(self._ids) + len(part.ids))
        self._shown.append(part.at(np.flatnonzero(places % self._every == 0)))
        self._ids += part.ids
        self._take("spread", part.spread)
        self._take("log_evidence", part.log_evidence)
        if part.truth is not None:
            if self._rivals is None:
                self._rivals = _rivals(self._trained, self._asked)
            before = np.nan_to_num(part.before, nan=float(GREY))
            rivals = {
                name: classical.apply(name.partition(",")[0], part.before, parameters)
                for name, parameters in self._rivals.items()
            }
            ours = {LIKELIEST: part.likeliest, MEAN: part.mean}
            for name, pictures in ({BEFORE: before} | rivals | ours).items():
                self._take(f"psnr {name}", _psnr(part.truth, pictures))
                self._take(f"ssim {name}", _ssim(part.truth, pictures))
        self._add_labels(part)
        if self._judge is not None:
            self._add_judged(part, self._judge)

    def _take(self, name: str, values: NDArray[np.generic]) -> None:
        self._columns.setdefault(name, []).append(values.astype(np.float64))

    def _add_labels(self, part: "Repair") -> None:
        """Whether draws have the label of their picture, where the model was not told it."""
        attributes = self._trained.attributes
        main = main_label(attributes)
        if not self._asked.unknown or part.given is None or part.labels is None or main is None:
            return
        drawn = part.given[:, :, main]
        if np.isnan(drawn).any():
            return
        own = _matched(part, attributes[main].labels)
        self._take("own", (drawn == own[:, None]).mean(1))
        self._take("several", (drawn != drawn[:, :1]).any(1))

    def _add_judged(self, part: "Repair", judge: Judge) -> None:
        own = _matched(part, self._judge_names)
        count, draws = part.draws.shape[:2]
        of_draws = judge(part.draws.reshape(count * draws, *part.draws.shape[2:]))
        of_draws = of_draws.reshape(count, draws)
        self._take("judged draws", (of_draws == own[:, None]).mean(1))
        self._take("judged means", judge(part.mean) == own)
        self._take("judged likeliest", judge(part.likeliest) == own)
        self._take("judged several", (of_draws != of_draws[:, :1]).any(1))

    @property
    def count(self) -> int:
        """Pictures so far."""
        return len(self._ids)

    @property
    def shown(self) -> "Repair":
        """Some of the pictures, evenly from all."""
        return joined(self._shown)

    def _all(self, name: str) -> NDArray[np.float64]:
        return np.concatenate(self._columns[name])

    def lines(self) -> list[str]:
        """Lines of figures; a table of them is printed where the truth is known."""
        lines = []
        if self._rivals is not None:
            self._print()
            lines.append(self._gain([BEFORE, *self._rivals]))
        told = f"draws differ by {_with_error(self._all('spread'), 4)} of a range of 1"
        if self._asked.hidden is not None:
            told += " in a hidden pixel"
        if "own" in self._columns:
            told += f"; {self._percent('own')} of them have the picture's label"
            told += f", {self._percent('several')} of the pictures have draws of several"
        lines.append(told)
        if self._judge is not None:
            parts = [
                f"{self._percent(f'judged {name}')} of the {name}"
                for name in ("draws", "means", "likeliest")
            ]
            lines.append(
                f"judges take {', '.join(parts)} for their picture's label; "
                f"{self._percent('judged several')} of the pictures have draws of several labels"
            )
        return lines

    def _percent(self, name: str) -> str:
        return f"{_with_error(100.0 * self._all(name), 1)} %"

    def _print(self) -> None:
        asked = self._asked
        names = [name.removeprefix("psnr ") for name in self._columns if name.startswith("psnr ")]
        body = [
            [
                name,
                _with_error(self._all(f"psnr {name}"), 2),
                _with_error(self._all(f"ssim {name}"), 4),
            ]
            for name in names
        ]
        done = [str(asked.noise)] if asked.noise else []
        done += ["pixels hidden"] if asked.hidden is not None else []
        title = f"{counted(self.count, 'pictures')}, {', '.join(done)}"
        header = ["", "PSNR, dB", "SSIM"]
        make_console().print(table(title, [header, *body], header=True))

    def _gain(self, rivals: list[str]) -> str:
        """The gain of the mean over the input, and over the better of other methods."""
        parts = []
        best = max(rivals, key=lambda name: float(self._all(f"psnr {name}").mean()))
        for name in dict.fromkeys((BEFORE, best)):
            gain = self._all(f"psnr {MEAN}") - self._all(f"psnr {name}")
            other = self._all(f"ssim {MEAN}") - self._all(f"ssim {name}")
            what = "what was seen" if name == BEFORE else name.partition(",")[0]
            parts.append(f"{_with_error(gain, 2)} dB, SSIM {_with_error(other, 4)} over {what}")
        return f"PSNR {_with_error(self._all(f'psnr {MEAN}'), 2)} dB: gain {'; '.join(parts)}"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Figures of each picture: names of columns, and rows."""
        columns = {name: self._all(name) for name in ("spread", "log_evidence")}
        if self._rivals is not None:
            for short, name in (("before", BEFORE), ("likeliest", LIKELIEST), ("mean", MEAN)):
                columns[f"psnr_{short}"] = self._all(f"psnr {name}")
                columns[f"ssim_{short}"] = self._all(f"ssim {name}")
        rows = [
            [name, *(f"{values[row]:.6g}" for values in columns.values())]
            for row, name in enumerate(self._ids)
        ]
        return ["id", *columns], rows


def _matched(part: "Repair", names: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels of pictures among other names ``[B]``, -1 of those that are not there."""
    assert part.labels is not None
    index = {name: number for number, name in enumerate(names)}
    places = [index.get(name, -1) for name in part.label_names]
    return np.array([*places, -1], np.int64)[part.labels]


def _judge_of(trained: Trained) -> tuple[Judge, tuple[str, ...]]:
    """What most judges of the run's own data take pictures for, and the names of labels."""
    import torch

    from distvae.data.provenance import open_recorded
    from distvae.data.store import cache_folder
    from distvae.evaluation.ensemble import get_judges

    run = trained.run
    data = None if run is None or run.bare else open_recorded(run, None, progress_bar)
    if run is None or data is None or data.num_labels < 2:
        raise DistvaeError(
            "--judge needs labels of the pictures and the data of the run",
            "judges are trained on pictures with labels",
            "Leave it out.",
        )
    judges = get_judges(data, cache_folder(run.settings().data), trained.model.device, progress_bar)

    def judge(pictures: Pictures) -> NDArray[np.int64]:
        votes = judges.classify(torch.from_numpy(pictures)).cpu()
        most: NDArray[np.int64] = votes.mode(1).values.numpy()
        return most

    return judge, tuple(data.label_names)


def _rivals(trained: Trained, asked: "Asked") -> dict[str, classical.Parameters]:
    """Total variation and non-local means, by name and parameters."""
    if asked.hidden is not None or asked.noise is None or asked.noise.kind != "gaussian":
        return {}
    if not classical.available():
        say(
            "total variation and non-local means are left out: they need scikit-image. "
            "Install it: pip install scikit-image"
        )
        return {}
    from distvae.tools.law import training_pictures

    clean = training_pictures(trained, TUNING)
    if clean is None:
        say("total variation and non-local means are left out: no training pictures are at hand")
        return {}
    noisy = asked.noise.draw(clean, np.random.default_rng([asked.seed, 1]))
    chosen = classical.tuned(clean, noisy, asked.noise.amount)
    return {
        f"{name}, {', '.join(f'{key} {value:g}' for key, value in parameters.items())}": parameters
        for name, parameters in chosen.items()
    }


def _psnr(truth: Pictures, pictures: Pictures) -> NDArray[np.float64]:
    return psnr(255.0 * truth.astype(np.float64), 255.0 * pictures.astype(np.float64))


def _ssim(truth: Pictures, pictures: Pictures) -> NDArray[np.float64]:
    return ssim(255.0 * truth.astype(np.float64), 255.0 * pictures.astype(np.float64))


def _with_error(values: NDArray[np.float64], decimals: int) -> str:
    """A mean with its standard error over pictures."""
    if len(values) < 2 or not np.isfinite(values).all():
        return f"{values.mean():.{decimals}f}"
    error = values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.{decimals}f} ± {error:.{decimals}f}"
