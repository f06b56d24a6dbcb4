"""``distvae evaluate``: the numbers of a run, where they go, and what is refused."""

import hashlib
import json
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distvae.figures import missing_name
from distvae.runs import checkpoints
from distvae.tensors import checksum, read_tensors
from tests.conftest import HANG, SHAPES, SMALL, Command, assert_refused, draw_shape, listing
from tests.warm import begin

BOUND = {"elbo", "distortion", "rate", "bits_per_dim", "active_units"}
JUDGED = {
    *("judge_accuracy", "judge_test_accuracy", "diversity"),
    *("label_adherence_swapped_z", "label_adherence_swapped_noise"),
    *(f"judge_accuracy/{name}" for name in SHAPES),
}


def measured(run: Path) -> dict[str, float]:
    """Its figures; beside them stands what they were measured of."""
    values: dict[str, Any] = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    values = {name: value for name, value in values.items() if not name.startswith("left_out/")}
    assert values.pop("sha256")
    assert values.pop("weights_sha256") == checksum(read_tensors(run / "model.safetensors"))
    return values


def shown(name: str, text: str) -> float:
    """The figure beside a name in a table."""
    found = re.search(rf"[|│] {name} +[|│] *(-?[\d.,]+) ±", text)
    assert found is not None, name
    return float(found[1].replace(",", ""))


@pytest.mark.slow
def test_a_conditional_run_is_measured(run: Path, command: Command) -> None:
    ended = command("evaluate", run)
    assert ended.code == 0, ended.err
    values = measured(run)
    assert values.keys() >= BOUND | JUDGED
    assert all(math.isfinite(value) for value in values.values())
    assert values["elbo"] == pytest.approx(-(values["distortion"] + values["rate"]))
    assert values["bits_per_dim"] == pytest.approx(-values["elbo"] / 64 / math.log(2))
    shares = [values[f"judge_accuracy/{name}"] for name in SHAPES]
    assert values["judge_accuracy"] == pytest.approx(sum(shares) / 3)
    assert values["judge_test_accuracy"] > 0.8
    for word in ("51 test images", "label by label", *SHAPES):
        assert word in ended.out
    assert shown("elbo, nats per image", ended.out) == pytest.approx(values["elbo"], abs=0.05)
    with Image.open(run / "confusion.png") as picture:
        assert picture.size[0] > 100
    card = (run / "README.md").read_text(encoding="utf-8")
    assert shown("elbo, nats per image", card) == pytest.approx(values["elbo"], abs=0.05)
    accuracy = f"{100 * values['judge_accuracy']:.2f} ±"
    assert f"judge accuracy on generated images | {accuracy}" in card
    told = (run / "evaluation.md").read_text(encoding="utf-8")
    for name in SHAPES:
        assert shown(name, told) == pytest.approx(values[f"elbo/{name}"], abs=0.05)


def test_figures_of_the_same_weights_are_kept_and_others_dropped(
    run: Path, command: Command
) -> None:
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    elbo = measured(run)["elbo"]
    of_file = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    for recorded, kept in ((of_file, True), ("0" * 64, False)):  # the first by earlier versions
        content = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
        del content["sha256"]
        (run / "evaluation.json").write_text(json.dumps({**content, "weights_sha256": recorded}))
        ended = command("evaluate", run, "--metrics", "latents")
        assert ended.code == 0, ended.err
        assert measured(run).get("elbo") == (elbo if kept else None)
        assert ("figures of other weights: they were dropped" in ended.out) is not kept


def test_evaluation_agrees_with_training(run: Path, command: Command) -> None:
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    *_, last = (line for line in lines if line["split"] == "test")
    assert measured(run)["elbo"] == pytest.approx(last["elbo"], rel=1e-5)


def test_the_judge_can_be_left_out(run: Path, command: Command) -> None:
    ended = command("evaluate", run, "--metrics", "elbo")
    assert ended.code == 0, ended.err
    assert measured(run).keys() >= BOUND
    assert not measured(run).keys() & JUDGED
    assert "the judge itself" not in ended.out


def test_figures_of_the_same_weights_are_kept_and_of_others_are_not(
    run: Path, command: Command
) -> None:
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    assert command("evaluate", run, "--metrics", "likelihood", "--draws", "20").code == 0
    both = measured(run)
    assert both.keys() >= BOUND | {"log_likelihood"}
    table = (run / "evaluation.md").read_text(encoding="utf-8")
    assert shown("elbo, nats per image", table) == pytest.approx(both["elbo"], abs=0.05)
    assert command("train", "--resume", run, "--epochs", "5").code == 0
    assert command("evaluate", run, "--metrics", "likelihood", "--draws", "20").code == 0
    assert not measured(run).keys() & BOUND
    assert measured(run)["log_likelihood"] != both["log_likelihood"]


def test_distances_and_neighbours(run: Path, command: Command) -> None:
    ended = command("evaluate", run, "--metrics", "distances,neighbours")
    assert ended.code == 0, ended.err
    values = measured(run)
    names = {"fid_judge", "kid_judge", "inception_score_judge", "precision_judge", "recall_judge"}
    assert values.keys() >= names | {f"{name}_real" for name in names} | {"copies"}
    assert "fid" not in values
    assert 0.0 <= values["fid_judge_real"] < values["fid_judge"]
    with Image.open(run / "neighbours.png") as picture:
        assert picture.size[0] > 100
    assert "![neighbours](neighbours.png)" in (run / "evaluation.md").read_text(encoding="utf-8")
    assert "| FID in the judge's features |" in (run / "evaluation.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_processes_measure_what_one_does(
    run: Path, command: Command, environment: dict[str, str], here: Path
) -> None:
    words = ["evaluate", str(run), "--metrics", "elbo,likelihood,judge", "--draws", "70"]
    assert command(*words).code == 0
    alone = measured(run)
    (run / "evaluation.json").unlink()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = begin([sys.executable, *launcher, "-m", "distvae.cli", *words], here, environment)
    out, err = both.communicate(timeout=HANG)
    assert both.wait() == 0, err
    assert out.count("log-likelihood of an image, given") == 1
    assert measured(run) == pytest.approx(alone, rel=1e-6)


def test_another_seed_gives_other_draws(run: Path, command: Command) -> None:
    found = []
    for seed in (0, 0, 1):
        assert command("evaluate", run, "--metrics", "elbo", "--seed", seed).code == 0
        found.append(measured(run)["elbo"])
    assert found[0] == found[1] != found[2]
    for seed in (-1, 2**63):
        ended = command("evaluate", run, "--metrics", "elbo", "--seed", seed)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == f"error: --seed is {seed}: expected 0 or more, less than 2**63\n"
    assert command("evaluate", run, "--metrics", "elbo", "--seed", 2**63 - 1).code == 0


def test_a_checkpoint_is_measured_and_the_run_left_alone(run: Path, command: Command) -> None:
    before = listing(run)
    ended = command("evaluate", checkpoints(run)[-1])
    assert ended.code == 0, ended.err
    assert listing(run) == before
    assert command("evaluate", run).code == 0
    elbo = measured(run)["elbo"]
    assert shown("elbo, nats per image", ended.out) == pytest.approx(elbo, abs=0.05)
    assert f"{100 * measured(run)['judge_accuracy']:.2f} ±" in ended.out


def test_an_unconditional_run_has_no_judge(command: Command, shapes: Path, here: Path) -> None:
    kind = ("--model", "vae", "--prior", "normal", "--output", "vae")
    assert command("train", "--data", shapes, *SMALL, *kind).code == 0
    ended = command("evaluate", "vae")
    assert ended.code == 0, ended.err
    assert measured(here / "vae").keys() >= BOUND
    assert not measured(here / "vae").keys() & JUDGED
    assert "the judge itself" not in ended.out


def test_what_was_measured_on_other_weights_is_dropped(run: Path, command: Command) -> None:
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    before = (run / "evaluation.json").read_bytes()
    assert command("train", "--resume", run).code == 0  # it was done already
    assert (run / "evaluation.json").read_bytes() == before
    old = shown("elbo, nats per image", (run / "README.md").read_text(encoding="utf-8"))
    assert command("train", "--resume", run, "--epochs", 5, "--learning-rate", 0.02).code == 0
    assert not (run / "evaluation.json").exists()
    assert shown("elbo, nats per image", (run / "README.md").read_text(encoding="utf-8")) != old


@pytest.mark.parametrize("change", ["gone", "more", "other"])
def test_data_that_is_not_what_it_was_is_refused(
    command: Command, shapes: Path, here: Path, change: str
) -> None:
    data = shutil.copytree(shapes, here / "mine")
    assert command("train", "--data", "mine", *SMALL, "--output", "run").code == 0
    if change == "gone":
        shutil.rmtree(data)
    else:
        name = "new.png" if change == "more" else "000.png"
        draw_shape("cross", np.random.default_rng(7)).save(data / "train" / "circle" / name)
    before = listing(here)
    words = (
        ("there is no data of",) if change == "gone" else ("is not what the run was trained on",)
    )
    assert_refused(command("evaluate", "run"), "mine", *words)
    assert listing(here) == before


EVERY = (
    "elbo,likelihood,marginal,latents,factors,judge,distances,neighbours,downstream,augmentation,"
    "reconstruction"
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one image of a label", "one label", "constant", "no labels"])
def test_what_odd_data_cannot_give_is_left_out_with_a_reason(
    command: Command, shapes: Path, here: Path, kind: str
) -> None:
    """Every metric on data that has too little of something: no traceback, no NaN."""
    data = shutil.copytree(shapes, here / "odd")
    images = sorted(data.rglob("*.png"))
    if kind == "one image of a label":
        for image in images:
            if image.stem != "000":
                image.unlink()
    elif kind == "one label":
        for folder in [*data.glob("*/cross"), *data.glob("*/square")]:
            shutil.rmtree(folder)
    elif kind == "constant":
        for image in images:
            Image.new("L", (8, 8), 90).save(image)
    else:
        for number, image in enumerate(images):
            image.rename(image.parent.parent / f"{number}.png")
        for folder in data.glob("*/*"):
            if folder.is_dir():
                folder.rmdir()
    unconditional = ["--model", "vae", "--prior", "normal"]
    words = unconditional if kind in ("one label", "no labels") else []
    small = [*SMALL, "--batch-size", "1", "--binarize", "none", *words]
    ended = command("train", "--data", "odd", *small, "--output", "run")
    assert ended.code == 0, ended.err
    ended = command("evaluate", "run", "--metrics", EVERY, "--draws", "5")
    assert ended.code == 0, ended.err
    values = json.loads((here / "run" / "evaluation.json").read_text(encoding="utf-8"))
    reasons = {name for name in values if name.startswith("left_out/")}
    numbers = [value for value in values.values() if isinstance(value, float)]
    assert all(math.isfinite(value) for value in numbers)
    assert "nan" not in ended.out
    expected = {
        "one image of a label": {"distances", "factors", "likelihood", "bits_per_dim"},
        "one label": {"judge", "distances", "downstream", "augmentation", "factors"},
        "constant": {"factors", "diversity/circle", "neighbour_distance_ratio"},
        "no labels": {"marginal", "judge", "distances", "downstream", "augmentation", "factors"},
    }[kind]
    assert reasons >= {f"left_out/{name}" for name in expected}
    table = (here / "run" / "evaluation.md").read_text(encoding="utf-8")
    for name in expected:
        assert f"left out: {missing_name(name)}: " in ended.out
    assert table.count("Left out:") == len(reasons)


def test_where_nothing_can_be_had_it_is_refused(run: Path, command: Command) -> None:
    assert_refused(command("evaluate", run, "--metrics", "factors"), "factors are known")
