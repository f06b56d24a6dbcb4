"""Several runs that differ in some settings: the grid, what goes on, what is told, and the best."""

import csv
import math
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr

import distvae
from distvae.errors import DistvaeError
from distvae.sweeps.grid import points, read_settings
from distvae.sweeps.picture import axes_of
from distvae.sweeps.results import Result, best_of, metric_of
from distvae.sweeps.udr import INFORMATIVE, Encoded, udr
from tests.conftest import HANG, Command, Start, assert_refused, listing

COMMON = ("--hidden", "16", "--batch-size", "12", "--max-steps", "3")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_combination_is_a_run() -> None:
    settings = read_settings(["beta=1,2", "hidden=16,8;32", "--latent_dim=3"])
    assert settings == {"beta": ("1", "2"), "hidden": ("16,8", "32"), "latent-dim": ("3",)}
    found = points(settings, ["--epochs", "2"])
    assert [each.name for each in found[:2]] == [
        "beta=1_hidden=16-8_latent-dim=3",
        "beta=1_hidden=32_latent-dim=3",
    ]
    assert len({each.name for each in found}) == 4
    assert found[2].words == ("--epochs", "2", "--beta=2", "--hidden=16,8", "--latent-dim=3")


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["betta=1,2"], "Did you mean beta?"),
        (["beta"], "--set beta=1,2,4"),
        (["beta=1,,2"], "sets nothing"),
        (["beta=1", "beta=2"], "given twice"),
        (["output=a,b"], "the same for all runs"),
        (["beta=1,x"], "beta=x is refused"),
        (["streaming=maybe"], "expected on or off"),
        ([], "at least one --set"),
    ],
)
def test_what_cannot_be_swept_is_refused(texts: list[str], told: str) -> None:
    with pytest.raises(DistvaeError, match=told):
        points(read_settings(texts), [])


@pytest.mark.slow
def test_a_sweep_trains_names_the_best_and_goes_on(
    command: Command, shapes: Path, tmp_path: Path
) -> None:
    """One run fails, as its folder holds something else; the others are done all the same."""
    folder = tmp_path / "swept"
    (folder / "latent-dim=3_seed=1").mkdir(parents=True)
    (folder / "latent-dim=3_seed=1" / "notes.txt").write_text("mine")
    words = ["sweep", "--data", shapes, *COMMON, "--output", folder, "--jobs", "2"]
    words += ["--set", "latent-dim=3", "--set", "seed=0,1,2"]
    ended = command(*words, "--select", "udr")
    assert ended.code == 2
    assert "1 of 3 runs failed (latent-dim=3_seed=1)" in ended.err
    states = {row["seed"]: row["state"] for row in rows_of(folder)}
    assert states["0"] == states["2"] == "done"
    assert "failed" in states["1"]
    assert "notes.txt" in states["1"] or "latent-dim=3_seed=1" in states["1"]
    assert rows_of(folder)[0]["udr"] == rows_of(folder)[2]["udr"] != ""  # of one pair

    (folder / "latent-dim=3_seed=1" / "notes.txt").unlink()
    before = listing(folder / "latent-dim=3_seed=0")
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert "2 of 3 runs are done already" in ended.out
    assert listing(folder / "latent-dim=3_seed=0") == before
    rows = rows_of(folder)
    best = max(rows, key=lambda row: float(row["elbo"]))
    assert f"best by elbo (highest of 3): {best['run']}" in ended.out
    assert "chosen on the test split" in ended.out
    assert best["run"] in (folder / "sweep.md").read_text()
    with Image.open(folder / "sweep.png") as picture:
        assert picture.height > 300


@pytest.mark.slow
def test_an_interrupted_sweep_says_how_to_go_on(start: Start, shapes: Path, tmp_path: Path) -> None:
    words = ["sweep", "--data", shapes, "--hidden", "16", "--epochs", "100000"]
    words += ["--set", "seed=0,1", "--jobs", "2", "--output", "swept"]
    process = start(*words)
    logs = [tmp_path / "swept" / f"seed={seed}" / "metrics.jsonl" for seed in (0, 1)]
    while not all(log.exists() for log in logs):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    one = psutil.Process(process.pid).children()[0]
    one.terminate()  # it alone: it ends with 0, at a checkpoint
    psutil.wait_procs([one])  # until the sweep has seen it
    time.sleep(1.0)  # and has told it
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=HANG)[0]
    assert process.returncode == 130, said
    assert "stopped before its end" in said
    assert "stopped; 0 of 2 runs are done" in said
    assert "distvae sweep --data" in said
    for log in logs:
        assert list((log.parent / "checkpoints").glob("step-*"))


@pytest.mark.slow
def test_a_sweep_from_python_of_arrays(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One run fails at first; the same call goes on, and the numbers are those of sweep.csv."""
    random = np.random.default_rng(3)
    data = random.integers(0, 256, (40, 8, 8), np.uint8), random.integers(0, 2, 40)
    blocked = here / "runs/arrays-cvae-sweep/latent-dim=2_hidden=16-8"  # by a file of mine
    blocked.mkdir(parents=True)
    (blocked / "notes.txt").write_text("mine")
    sets = {"latent_dim": np.array([2, 3]), "hidden": [(16, 8)]}
    asked: dict[str, Any] = {"batch_size": 12, "max_steps": 3, "threads": 1, "quiet": True}
    with pytest.raises(DistvaeError, match="1 of 1 runs failed"):
        distvae.sweep(data, set={**sets, "latent_dim": 2}, **asked)
    found = distvae.sweep(data, set=sets, jobs=2, **asked)
    assert "1 of 2 runs failed (latent-dim=2_hidden=16-8)" in capfd.readouterr().err
    assert "failed" in found[0]["state"]
    assert found.best is not None
    assert str(found.best.folder) == found[1]["run"]
    assert found.best.config.model.hidden == found[1]["hidden"] == (16, 8)
    (blocked / "notes.txt").unlink()
    before = listing(found.best.folder)
    found = distvae.sweep(data, set=sets, **asked)
    table = pandas.DataFrame(found)
    assert listing(Path(table.run[1])) == before
    assert list(table.state) == ["done", "done"]
    assert list(table.latent_dim) == [2, 3]
    written = rows_of(found.folder)
    assert [float(row["elbo"]) for row in written] == list(table.elbo)
    best = table.run[table.elbo.idxmax()]
    assert best in (found.folder / "sweep.md").read_text()
    assert "data:image/png;base64," in found._repr_html_()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "at least one --set"),
        ({"set": {"beta": []}}, "at least one --set"),
        ({"set": {"betta": [1]}}, "Did you mean beta?"),
        ({"set": {"beta": [1, "x"]}}, "expected a number"),
        ({"set": "beta=1,x"}, "beta=x is refused"),
        ({"set": "beta=1,2", "resume": True}, "takes no --resume"),
        ({"set": ["beta=1,2"], "epoch": 2}, "Did you mean epochs?"),
    ],
)
def test_a_call_is_refused_as_the_command_is(here: Path, flags: Any, told: str) -> None:
    with pytest.raises(DistvaeError, match=re.escape(told)):
        distvae.sweep("mnist", **flags)
    assert not list(here.iterdir())


def test_flags_are_refused_before_anything_is_made(command: Command, tmp_path: Path) -> None:
    cases = {
        "--set beta=1,2 --resume": "Give the same command again",
        "--set beta=1,2 --select udr": "seed=0,1,2,3,4",
        "--set beta=1,2 --by elbow": "Did you mean elbo?",
        "--set beta=1,2 --bettas 3": "is not known",
    }
    for words, told in cases.items():
        assert_refused(command("sweep", *words.split()), told)
    assert not list(tmp_path.iterdir())


def made_up(numbers: list[dict[str, float]]) -> list[Result]:
    found = points({"beta": tuple(map(str, range(1, len(numbers) + 1)))}, [])
    return [
        Result(point, Path(point.name), "done", values)
        for point, values in zip(found, numbers, strict=True)
    ]


def test_less_of_some_numbers_is_better() -> None:
    results = made_up([{"elbo": -3.0, "loss": 3.0}, {"elbo": -2.0, "loss": 2.0}, {}])
    assert best_of(results, "elbo") is best_of(results, "loss") is results[1]
    assert best_of(results, "mig") is None
    results[1].state = "failed: no memory"
    assert best_of(results, "elbo") is results[0]
    assert [metric_of(name) for name in ("mig_x", "fid", "elbo")] == [
        "factors",
        "distances",
        "elbo",
    ]
    axes = {axis.name: axis.heights for axis in axes_of(results, "elbo")}
    assert axes == {"beta": [0.0, 0.5, 1.0], "elbo": [0.0, 1.0, None]}


def latents(seed: int, examples: int = 2000, count: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((examples, count))


def encoded(means: NDArray[np.float64]) -> Encoded:
    return Encoded(means, np.ones(means.shape[1]))


def by_the_paper(models: list[Encoded]) -> list[float]:
    """Equation 1 of Duan et al. written out, with the rank correlation of SciPy."""
    scores = []
    for i, first in enumerate(models):
        pairs = []
        for j, second in enumerate(models):
            if i == j:
                continue
            a = [column for column, rate in enumerate(first.rates) if rate > INFORMATIVE]
            b = [column for column, rate in enumerate(second.rates) if rate > INFORMATIVE]
            table = [
                [abs(spearmanr(first.means[:, x], second.means[:, y])[0]) for y in b] for x in a
            ]
            total = sum(max(row) ** 2 / sum(row) for row in table)
            total += sum(max(column) ** 2 / sum(column) for column in zip(*table, strict=True))
            pairs.append(total / (len(a) + len(b)))
        scores.append(float(np.median(pairs)))
    return scores


def test_udr_knows_latents_by_another_order_sign_and_scale() -> None:
    means = latents(0)
    means -= means.mean(0)
    means = np.linalg.qr(means)[0]
    others = [-means[:, [2, 0, 3, 1]], np.exp(30 * means[:, ::-1])]
    assert min(udr([encoded(means), *map(encoded, others)])) > 0.9
    rotated = means @ np.linalg.qr(latents(5, 4))[0]
    assert max(udr([encoded(means), encoded(rotated)])) < 0.7
    assert max(udr([encoded(latents(seed)) for seed in range(4)])) < 0.1


def test_udr_is_what_the_paper_says() -> None:
    shared = latents(1)
    models = []
    for seed in range(4):
        mixed = (shared @ latents(seed + 20, 4)).round(1)  # with ties
        rates = np.array([1.0, 0.0, 0.02, 0.5]) if seed % 2 else np.ones(4)
        models.append(Encoded(mixed, rates))
    assert udr(models) == pytest.approx(by_the_paper(models), abs=1e-12)
    nothing = Encoded(shared, np.zeros(4))
    assert udr([nothing, models[0]]) == [0.0, 0.0]
    assert all(map(math.isfinite, udr([encoded(np.ones((9, 2))), encoded(np.ones((9, 2)))])))
