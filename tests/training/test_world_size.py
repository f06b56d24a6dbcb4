"""One seed and one global batch are one run, however many processes and micro-batches share it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distvae.evaluation.passes import BLOCK
from tests.conftest import TEST_IMAGES, TRAIN_IMAGES
from tests.training.conftest import lines, losses
from tests.training.recorder import launch, refusals, seen

BATCH, STEPS = 24, 200
WORLDS = [(1, 1), (1, 2), (1, 4), (2, 2), (4, 1)]
"""(processes, micro-batches)"""
RAGGED = 3 * BLOCK + 233
RUN: dict[str, Any] = {
    "model": "cvae",
    "hidden": [16],
    "latent_dim": 3,
    "binarize": "dynamic",
    "clip": 40.0,
    "beta": 0.1,
    "learning_rate": 0.01,
    "schedule": "constant",
    "warmup_epochs": 2.0,
    "ema": 0.9,
    "batch_size": BATCH,
    "epochs": STEPS,
    "max_steps": STEPS,
    "log_every": 1,
    "eval_every": 10,
    "sample_every": STEPS,
}


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], shapes: Path
) -> Path:
    """A folder with a run for each world, and what its processes saw."""
    root = tmp_path_factory.mktemp("worlds")
    common = {**RUN, "data": str(shapes)}
    for processes in (1, 2, 3, 4):
        evaluations = [
            {**common, "images": images, "output": str(root / f"evaluation-{processes}-{images}")}
            for images in (RAGGED, TEST_IMAGES)
            if processes in (1, 3)
        ]
        trained = [
            {**common, "accumulate": micro, "output": str(root / f"run-{count}-{micro}")}
            for count, micro in WORLDS
            if count == processes
        ]
        launch(processes, [*evaluations, *trained], environment)
    batch = {"batch_size": BATCH + 2, "output": str(root / "refused")}
    launch(4, [{**common, **batch}], environment)  # its end is that of the processes' connection
    return root


def whole(run: Path, what: str, processes: int, micro: int) -> NDArray[Any]:
    """What all processes saw, put together by step and position in the global batch."""
    each = [one[what] for one in seen(run)]
    assert len(each) == processes
    size = BATCH // processes // micro
    blocks = [part.reshape(STEPS, micro, 1, size, *part.shape[1:]) for part in each]
    joined = np.concatenate(blocks, axis=2)
    return joined.reshape(STEPS, BATCH, *each[0].shape[1:])


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "micro"), WORLDS)
def test_every_step_sees_the_same(runs: Path, processes: int, micro: int) -> None:
    one, run = runs / "run-1-1", runs / f"run-{processes}-{micro}"
    for what in ("rows", "labels", "inputs", "noise"):
        expected = whole(one, what, 1, 1)
        np.testing.assert_array_equal(whole(run, what, processes, micro), expected, what)
    rows = whole(run, "rows", processes, micro).reshape(-1, TRAIN_IMAGES)
    assert (np.sort(rows) == np.arange(TRAIN_IMAGES)).all(), "an epoch sees each image once"
    assert len(np.unique(rows, axis=0)) == len(rows), "no two epochs have one order"


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "micro"), WORLDS[1:])
def test_losses_and_elbo_agree(runs: Path, processes: int, micro: int) -> None:
    one, run = runs / "run-1-1", runs / f"run-{processes}-{micro}"
    expected = losses(one)
    assert len(expected) == STEPS
    assert np.mean(expected[-10:]) < 0.5 * expected[0], "it learns"
    assert losses(run) == pytest.approx(expected, rel=1e-5)
    found, wanted = (lines(folder, "test")[-1]["elbo"] for folder in (run, one))
    assert found == pytest.approx(wanted, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "micro"), WORLDS)
def test_all_processes_hold_the_same_weights_after_every_step(
    runs: Path, processes: int, micro: int
) -> None:
    first, *others = (one["weights"] for one in seen(runs / f"run-{processes}-{micro}"))
    assert len(set(first.tolist())) == STEPS
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.slow
@pytest.mark.parametrize("images", [RAGGED, TEST_IMAGES])
def test_evaluation_counts_every_image_once(runs: Path, images: int) -> None:
    one, *ranks = (*seen(runs / f"evaluation-1-{images}"), *seen(runs / f"evaluation-3-{images}"))
    assert len(ranks) == 3
    rows = np.concatenate([rank["rows"] for rank in ranks])
    np.testing.assert_array_equal(np.sort(rows), np.arange(images))
    expected = json.loads(str(one["found"]))
    assert expected["elbo"] < -1
    for rank in ranks:
        assert json.loads(str(rank["found"])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_batch_that_four_cannot_share_names_those_that_they_can(runs: Path) -> None:
    told = refusals(runs / "refused")
    assert len(told) == 4
    for message in told:
        assert f"--batch-size {BATCH + 2} cannot be shared equally by 4 processes" in message
        assert f"Take --batch-size {BATCH} or {BATCH + 4}." in message
    assert not (runs / "refused").exists()
