"""Every objective trains, stops and goes on, and is the same on any number of processes."""

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from distvae.models import VAE
from distvae.objectives import OBJECTIVES
from distvae.runs import checkpoints
from tests.conftest import Command, Start, assert_refused, train_apart
from tests.spaces import ABOUT_LABELS
from tests.training.conftest import SMALL, Settings, lines, trained
from tests.training.recorder import launch, seen
from tests.training.test_resume import assert_same_end, wait_for_step

NORMAL: dict[str, Any] = {"prior": "normal"}
CASES: dict[str, dict[str, Any]] = {
    "elbo of three draws": {"objective": "elbo", "importance_samples": 3},
    "elbo with free bits": {"objective": "elbo", "free_bits": 0.2, "prior": "label"},
    "elbo with a capacity": {"objective": "elbo", "capacity": 3.0, "capacity_epochs": 1.0},
    "iwae": {"objective": "iwae", "importance_samples": 4, "prior": "label"},
    "dreg": {"objective": "dreg", "importance_samples": 4, "prior": "label"},
    "beta_tc": {"objective": "beta_tc", **NORMAL},
    "factor": {"objective": "factor", "discriminator": [16, 16], **NORMAL},
    "factor with a discriminator of its own": {
        "objective": "factor",
        "discriminator": [16, 16],
        **NORMAL,
        "discriminator_learning_rate": 0.02,
        "discriminator_betas": [0.5, 0.9],
        "discriminator_schedule": "constant",
        "discriminator_start": 2,
        "discriminator_steps": 3,
    },
    "dip_i": {"objective": "dip_i", **NORMAL},
    "dip_ii": {"objective": "dip_ii", **NORMAL},
    "mmd": {"objective": "mmd", "prior": "label"},
    "elbo with a critic": {
        "objective": "elbo",
        "critic": "features",
        "critic_width": 4,
        "critic_start": 4,
        "critic_lead": 2,
        "prior": "label",
    },
    "elbo by a classifier": {"objective": "elbo", "perceptual": "classifier", "prior": "label"},
    "obedience": {"objective": "obedience", "prior": "label", "obedience_weight": 3.0},
    "m2": {"objective": "m2", "keep_labels": 60, "prior": "label"},
}
OF_CODES: dict[str, dict[str, Any]] = {
    "obedience of codes": {
        "objective": "obedience",
        "latent_space": "fsq",
        "prior_width": 8,
        "prior_blocks": 1,
        "learning_rate": 0.01,
    }
}
"""In two stages."""
PARTS: list[dict[str, Any]] = [
    *({"prior": prior} for prior in ("mixture", "vamp", "flow")),
    *({"prior": prior, "posterior": "flow"} for prior in ("label", "mixture")),
]
STEPS, FEW = 20, 8
FACTOR = (
    *("--objective", "factor", "--prior", "normal", "--discriminator", "16,16"),
    *("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--epochs", "20"),
    *("--log-every", "1", "--checkpoint-every", "20", "--clip", "50"),
    *("--discriminator-learning-rate", "1e-3", "--discriminator-betas", "0.5,0.9"),
    *("--discriminator-start", "30", "--discriminator-steps", "2"),
)


def test_no_objective_is_left_out() -> None:
    assert {case["objective"] for case in CASES.values()} == set(OBJECTIVES)


@pytest.mark.parametrize("model", ["vae", "cvae"])
@pytest.mark.parametrize("name", CASES)
def test_an_objective_trains(settings: Settings, here: Path, name: str, model: str) -> None:
    if model == "vae" and CASES[name]["objective"] in ABOUT_LABELS:
        pytest.skip("it is about labels")
    case = CASES[name] if model == "cvae" else {**CASES[name], **NORMAL}
    quick = {"learning_rate": 0.02, "schedule": "constant", "warmup_epochs": 0.0, "start": "zeros"}
    config = settings(max_steps=STEPS, model=model, **quick, **case)
    run = trained(config, here / "run")
    told = lines(run)
    assert len(told) == STEPS
    assert np.mean([line["distortion"] for line in told[-5:]]) < 0.7 * told[0]["distortion"]
    assert all(np.isfinite(value) for line in told for value in line.values() if value != "train")
    model_there = VAE.from_pretrained(run)
    assert type(model_there).__name__ == ("VAE" if model == "vae" else "ConditionalVAE")
    assert not [
        key
        for key in load_file(run / "model.safetensors")
        if "discriminator" in key or "critic" in key
    ]


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(parts.values()))
@pytest.mark.parametrize("name", ["elbo with a capacity", "iwae", "dreg", "mmd"])
def test_an_objective_trains_every_prior_and_posterior(
    settings: Settings, here: Path, name: str, parts: dict[str, Any]
) -> None:
    case = {**CASES[name], **parts, "max_steps": 4, "clip": 40.0}
    told = lines(trained(settings(**case), here / "run"))
    assert np.isfinite([line["loss"] for line in told]).all()
    assert len({line["rate"] for line in told}) == 4


@pytest.fixture(scope="module")
def worlds(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], shapes: Path
) -> Path:
    """A folder with the steps of every case on one process and on two."""
    root = tmp_path_factory.mktemp("worlds")
    common = {
        **SMALL,
        "data": str(shapes),
        "learning_rate": 0.01,
        "clip": 40.0,
        "kl_warmup_epochs": 1.0,
        "steps": FEW,
    }
    for processes in (1, 2):
        runs = [
            {**common, **case, "output": str(root / f"{name.replace(' ', '-')}-{processes}")}
            for name, case in {**CASES, **OF_CODES}.items()
        ]
        launch(processes, runs, environment)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *OF_CODES])
def test_two_processes_do_what_one_does(worlds: Path, name: str) -> None:
    (one,) = seen(worlds / f"{name.replace(' ', '-')}-1")
    two = seen(worlds / f"{name.replace(' ', '-')}-2")
    assert len(two) == 2
    assert len({float(loss) for loss in one["losses"][:, 0]}) == FEW
    np.testing.assert_array_equal(two[0]["weights"], two[1]["weights"])
    for rank in two:
        np.testing.assert_allclose(rank["losses"], one["losses"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rank["weights"], one["weights"], rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, shapes: Path, environment: dict[str, str]
) -> Path:
    """A run of ``factor`` that nothing happened to."""
    flags = f"--data {shapes} {' '.join(map(str, FACTOR))}"
    return train_apart(flags, tmp_path_factory.mktemp("undisturbed") / "run", environment)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_discriminator(
    start: Start, shapes: Path, tmp_path: Path, undisturbed: Path
) -> None:
    run = tmp_path / "run"
    process = start("train", "--data", shapes, *FACTOR, "--output", run)
    wait_for_step(process, run, 90)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start("train", "--resume", run, "--checkpoint-every", 13)
    told = process.communicate()[0]
    assert process.returncode == 0, told
    assert_same_end(run, undisturbed)


@pytest.mark.slow
def test_the_discriminator_and_its_moments_are_in_the_checkpoint(undisturbed: Path) -> None:
    before, last = (load_file(path / "optimizer.safetensors") for path in checkpoints(undisturbed))
    names = [f"objective.discriminator.{layer}.weight" for layer in (0, 2, 4)]
    shapes = [(16, 3), (16, 16), (1, 16)]
    for name, shape in zip(names, shapes, strict=True):
        for key in (f"parameters/{name}", f"{name}/exp_avg", f"{name}/exp_avg_sq"):
            assert last[key].shape == shape
            assert (last[key] != before[key]).any()
    assert len(VAE.from_pretrained(checkpoints(undisturbed)[-1]).state_dict()) > 0


@pytest.mark.slow
def test_another_discriminator_does_not_go_on(
    undisturbed: Path, command: Command, here: Path
) -> None:
    run = shutil.copytree(undisturbed, here / "run")
    ended = command("train", "--resume", run, "--epochs", 21, "--discriminator", "8,16")
    assert_refused(ended, "(16, 3) there and (8, 3) here", "Go on with the objective")
