"""Runs that are damaged, or asked for what they do not have."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distvae.runs import checkpoints
from distvae.tensors import read_tensors, write_tensors
from tests.conftest import SMALL, Command, assert_refused, cut_short, flip_a_bit, listing


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink])
def test_damaged_weights_are_refused(
    run: Path, command: Command, damage: Callable[[Path], None]
) -> None:
    damage(run / "model.safetensors")
    before = listing(run)
    ended = command("sample", run)
    assert_refused(ended, f"{run / 'model.safetensors'} is ")
    assert listing(run) == before


def test_a_damaged_config_is_refused(run: Path, command: Command) -> None:
    cut_short(run / "config.json")
    for name in ("sample", "inspect"):
        assert_refused(command(name, run), f"{run / 'config.json'} is damaged")


REFUSED_RUN = {
    "taken": ("train --output run", ("run already holds a run", "--resume", "--overwrite")),
    "architecture": (
        "train --resume run --latent-dim 5",
        ("run/checkpoints/step-00000018", "another architecture", "there and"),
    ),
    "network": ("train --resume run --network conv", ("another architecture",)),
    "recipe": ("train --resume run --config mnist-cvae", ("--resume and --config", "Leave one")),
    "output": ("train --resume run --output other", ("--output other", "in its own folder")),
    "old checkpoint": (
        "train --resume run/checkpoints/step-00000012",
        ("step-00000012 is not the newest checkpoint", "goes on from the newest", "--resume run"),
    ),
    "resume a model": ("train --resume model", ("model is a model and not a run", "settings")),
    "evaluate a model": ("evaluate model", ("model is a model and not a run", "by --data")),
    "label": ("sample run --label 3", ("label 3", "it knows 0..2 (circle, cross, square)")),
    "name": ("sample run --label sqare", ("sqare", "Did you mean square?")),
    "range": ("sample run --label 2-0", ("2-0", "expected LOW-HIGH")),
    "count": ("sample run --count 0", ("--count is 0", "at least 1")),
    "seed": ("sample run --seed -1", ("--seed is -1", "0 or more")),
    "ending": ("sample run --output s.jpg", ("s.jpg", ".png", ".npz")),
    "file": ("sample run --output file", ("file", "expected a new folder")),
    "full": ("sample run --output run", ("run", "not empty")),
    "nearest run": ("inspect rnu", ("rnu is neither a run nor data",)),
}


@pytest.mark.parametrize(("line", "words"), REFUSED_RUN.values(), ids=REFUSED_RUN)
def test_what_a_run_refuses(
    run: Path, command: Command, here: Path, line: str, words: tuple[str, ...]
) -> None:
    Path("file").write_text("text")
    older, newest = here / "run/checkpoints/step-00000012", checkpoints(run)[-1]
    shutil.copytree(newest, older)
    shutil.copytree(newest, here / "model")
    before = listing(here)
    assert_refused(command(*line.split()), *words)
    assert listing(here) == before


def test_a_moving_average_cannot_begin_in_the_middle(
    command: Command, shapes: Path, here: Path
) -> None:
    assert command("train", "--data", shapes, *SMALL, "--ema", 0, "--output", "run").code == 0
    before = listing(here)
    ended = command("train", "--resume", "run", "--ema", 0.9)
    assert_refused(ended, "run/checkpoints/step-00000002 was written without --ema")
    assert listing(here) == before


def test_overwrite_deletes_no_folder_but_a_run(run: Path, command: Command, shapes: Path) -> None:
    model = checkpoints(run)[-1].rename("model")
    before = listing(model)
    ended = command("train", "--data", shapes, *SMALL, "--output", model, "--overwrite")
    assert_refused(ended, "model is a model and not a run")
    assert listing(model) == before


def test_overwrite_replaces_a_run(run: Path, command: Command, shapes: Path) -> None:
    (run / "mine.txt").write_text("old")
    assert command("train", "--data", shapes, *SMALL, "--output", run, "--overwrite").code == 0
    assert not (run / "mine.txt").exists()
    assert [path.name for path in checkpoints(run)] == ["step-00000002"]


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file as a person does who deletes the line of its digest too."""
    content = json.loads(path.read_text())
    del content["sha256"]
    change(content)
    path.write_text(json.dumps(content))


def test_an_edited_file_is_refused_until_its_digest_is_deleted(run: Path, command: Command) -> None:
    path = run / "config.json"
    path.write_text(path.read_text().replace("circle", "round"))
    for name in ("sample", "inspect", "evaluate", "export"):
        flags = ["--onnx"] if name == "export" else []
        assert_refused(command(name, run, *flags), "was edited", "delete its line sha256")
    edited(path, lambda content: None)
    assert command("sample", run, "--label", "round").code == 0


def test_numbers_that_are_none_are_refused_by_the_name_of_the_tensor(
    run: Path, command: Command
) -> None:
    tensors = read_tensors(run / "model.safetensors")
    tensors["decoder.out.bias"][3] = float("nan")
    write_tensors(run / "model.safetensors", tensors)
    before = listing(run)
    for words in (["sample", run], ["evaluate", run], ["export", run, "--onnx"]):
        assert_refused(command(*words), "model.safetensors", "1 of 64 numbers of decoder.out.bias")
    assert listing(run) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": [60_000, 60_000]}, "is of another architecture"),
        ({"latent_dim": 65_536}, "is of another architecture"),
        ({"prior_components": 10**7}, "--prior-components is 10000000"),
        ({"width": 1e9}, "--width is 1000000000.0"),
        ({"hidden": [8] * 5000}, "--hidden is [8, 8, 8, 8, ...]"),
        ({"flow_layers": 10**9}, "--flow-layers is 1000000000"),
    ],
)
def test_a_model_larger_than_its_file_is_refused_before_it_is_made(
    run: Path, command: Command, change: dict[str, Any], words: str
) -> None:
    for_both = ("model", "settings")
    edited(run / "config.json", lambda content: [content[part].update(change) for part in for_both])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_refused(command("sample", run), words)
    assert_refused(command("train", "--resume", run), words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < largest + 200_000  # kB


def test_no_message_grows_with_what_is_wrong(run: Path, command: Command) -> None:
    path = run / "config.json"
    whole = path.read_text()
    names = [f"name {number}" for number in range(150_000)]
    edited(path, lambda content: content.update(label_names=names))
    assert_refused(command("sample", run), "label_names is 150,000 items")
    for text in ("[" * 10**6, "x" * 10**6, '{"' + "x" * 10**6 + '": 1}', " " * 40_000_000):
        path.write_text(text)
        ended = command("sample", run)
        assert_refused(ended, "config.json is damaged")
        assert len(ended.err) < 600
    path.write_text(whole)
    assert command("sample", run).code == 0


def test_a_damaged_header_is_no_traceback(run: Path, command: Command) -> None:
    path = run / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    for content in (
        whole[:4],
        (2**62).to_bytes(8, "little") + whole[8:],
        whole[:8] + b"[" * length + whole[8 + length :],
        whole.replace(b'"F32"', b'"F99"', 1),
        whole.replace(b'"shape":[', b'"shape":{', 1),
        whole + b"more",
    ):
        path.write_bytes(content)
        for name in ("inspect", "sample"):
            assert_refused(command(name, run), "model.safetensors")


def of_the_run(told: str) -> list[str]:
    """What is told of a run, but for what any file that is written changes."""
    files = ("size of the folder", "last trained")
    return [line for line in told.splitlines() if not any(row in line for row in files)]


@pytest.mark.parametrize(
    "tail", [b'{"step": 19, "ep', b"\xff\xfe\n", b"\0" * 100, b'{"step": []}\n']
)
def test_a_damaged_tail_of_the_log_is_told_once_and_left_out(
    run: Path, command: Command, tail: bytes
) -> None:
    whole = of_the_run(command("inspect", run).out)
    log = run / "metrics.jsonl"
    lines = log.read_bytes().count(b"\n")
    log.write_bytes(log.read_bytes() + tail)
    ended = command("inspect", run)
    assert (ended.code, of_the_run(ended.out)) == (0, whole)
    assert ended.err.count("warning: ") == 1
    assert f"1 damaged line, left out: line {lines + 1}" in ended.err
    ended = command("evaluate", run, "--metrics", "elbo")
    assert ended.code == 0
    assert ended.err.count("damaged line") == 1


def test_an_evaluation_with_other_than_figures_is_refused(run: Path, command: Command) -> None:
    path = run / "evaluation.json"
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    edited(path, lambda content: content.update(elbo_stan6="0f3b"))
    assert_refused(
        command("evaluate", run, "--metrics", "elbo"), "'elbo_stan6' is '0f3b'", "Delete"
    )
