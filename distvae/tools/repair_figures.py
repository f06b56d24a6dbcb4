"""How near repaired pictures come to the truth, beside what is done without a model; and the files.

Legend: N pictures, C channels, H height, W width.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.files import replacing_file
from distvae.terminal import make_console, progress_bar, say, table
from distvae.tools import classical
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.repaired import GREY
from distvae.tools.similarity import psnr, ssim
from distvae.tools.trained import Trained

if TYPE_CHECKING:
    from distvae.tools.repaired import Asked, Repair

TUNING = 16
"""Training pictures on which the parameters of other methods are chosen."""
Pictures = NDArray[np.float32]


def figures(trained: Trained, found: "Repair", asked: "Asked") -> list[str]:
    """Lines of figures; a table of them is printed where the truth is known."""
    lines = []
    if found.truth is not None:
        rivals = {"before": np.nan_to_num(found.before, nan=float(GREY))}
        rivals |= _rivals(trained, found, asked)
        ours = {"likeliest (MAP)": found.likeliest, "mean of the draws": found.mean}
        _print(found.truth, {**rivals, **ours}, asked)
        lines.append(_gain(found, rivals))
    spread = found.spread
    told = f"draws differ by {_with_error(spread, 4)} of a range of 1"
    if asked.hidden is not None:
        told += " in a hidden pixel"
    if asked.unknown and found.given is not None and found.labels is not None:
        own = found.given[:, :, 0] == found.labels[:, None]
        several = (found.given[:, :, 0] != found.given[:, :1, 0]).any(1).mean()
        told += f"; {own.mean():.1%} of them have the picture's label"
        told += f", {several:.1%} of the pictures have draws of several"
    return [*lines, told]


def _rivals(trained: Trained, found: "Repair", asked: "Asked") -> dict[str, Pictures]:
    """What total variation and non-local means make of the pictures, by name."""
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
        f"{name}, {', '.join(f'{key} {value:g}' for key, value in parameters.items())}": (
            classical.apply(name, found.before, parameters)
        )
        for name, parameters in chosen.items()
    }


def _print(truth: Pictures, rows: dict[str, Pictures], asked: "Asked") -> None:
    header = ["", "PSNR, dB", "SSIM"]
    body = [
        [name, _with_error(_psnr(truth, each), 2), _with_error(_ssim(truth, each), 4)]
        for name, each in rows.items()
    ]
    done = [str(asked.noise)] if asked.noise else []
    done += ["pixels hidden"] if asked.hidden is not None else []
    title = f"{len(truth):,} pictures, {', '.join(done)}"
    make_console().print(table(title, [header, *body], header=True))


def _gain(found: "Repair", rivals: dict[str, Pictures]) -> str:
    """The gain of the mean over the input, and over the better of other methods."""
    assert found.truth is not None
    truth, ours = found.truth, (_psnr(found.truth, found.mean), _ssim(found.truth, found.mean))
    parts = []
    best = max(rivals, key=lambda name: float(_psnr(truth, rivals[name]).mean()))
    for name in dict.fromkeys(("before", best)):
        gain = ours[0] - _psnr(truth, rivals[name])
        other = ours[1] - _ssim(truth, rivals[name])
        what = "what was seen" if name == "before" else name.partition(",")[0]
        parts.append(f"{_with_error(gain, 2)} dB, SSIM {_with_error(other, 4)} over {what}")
    return f"PSNR {_with_error(ours[0], 2)} dB: gain {'; '.join(parts)}"


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


def judged(trained: Trained, found: "Repair") -> str:
    """How often judges of the run's own data take answers for their picture's label.

    Raises:
        DistvaeError: the run's data have no labels, or are not at hand.
    """
    import torch

    from distvae.data.provenance import open_recorded
    from distvae.data.store import cache_folder
    from distvae.evaluation.ensemble import get_judges

    run = trained.run
    data = None if run is None or run.bare else open_recorded(run, None, progress_bar)
    if run is None or data is None or found.labels is None or data.num_labels < 2:
        raise DistvaeError(
            "--judge needs labels of the pictures and the data of the run",
            "judges are trained on pictures with labels",
            "Leave it out.",
        )
    judges = get_judges(data, cache_folder(run.settings().data), trained.model.device, progress_bar)

    def labels(pictures: Pictures) -> NDArray[np.int64]:
        votes = judges.classify(torch.from_numpy(pictures)).cpu()
        most: NDArray[np.int64] = votes.mode(1).values.numpy()
        return most

    count, draws = found.draws.shape[:2]
    of_draws = labels(found.draws.reshape(count * draws, *found.draws.shape[2:]))
    of_draws = of_draws.reshape(count, draws)
    own = found.labels[:, None]
    parts = [
        f"{_with_error(100.0 * (of_draws == own).mean(1), 1)} % of the draws",
        *(
            f"{_with_error(100.0 * (labels(pictures) == found.labels), 1)} % of the {name}"
            for name, pictures in (("means", found.mean), ("likeliest", found.likeliest))
        ),
    ]
    several = 100.0 * (of_draws != of_draws[:, :1]).any(1)
    return (
        f"judges take {', '.join(parts)} for their picture's label; "
        f"{_with_error(several, 1)} % of the pictures have draws of several labels"
    )


def write_files(outputs: Outputs, found: "Repair", lines: list[str]) -> None:
    """The sheet, the figures of each picture, and the arrays."""
    if outputs.wants(".csv"):
        write_csv(outputs.path("repaired.csv"), *_table(found))
    if outputs.wants(".npz"):
        _write_npz(outputs, found)
    if outputs.wants(".png"):
        found.sheet(lines[0]).write(outputs.path("repaired.png"))


def _table(found: "Repair") -> tuple[list[str], list[list[str]]]:
    columns = {"spread": found.spread, "log_evidence": found.log_evidence}
    if found.truth is not None:
        before = np.nan_to_num(found.before, nan=float(GREY))
        for name, each in (
            ("before", before),
            ("likeliest", found.likeliest),
            ("mean", found.mean),
        ):
            columns[f"psnr_{name}"] = _psnr(found.truth, each)
            columns[f"ssim_{name}"] = _ssim(found.truth, each)
    rows = [
        [name, *(f"{values[row]:.6g}" for values in columns.values())]
        for row, name in enumerate(found.ids)
    ]
    return ["id", *columns], rows


def _write_npz(outputs: Outputs, found: "Repair") -> None:
    names = ("before", "mean", "likeliest", "draws", "truth", "given", "log_evidence", "labels")
    arrays = {name: getattr(found, name) for name in names}
    arrays = {name: each for name, each in arrays.items() if each is not None}
    with replacing_file(outputs.path("repaired.npz")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays, ids=np.array(found.ids))
