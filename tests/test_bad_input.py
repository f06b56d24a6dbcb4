"""Data, flags and recipes that are refused: one line that helps, and nothing left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SIDE, Command, assert_refused, listing, write_shapes


def write_colour(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.full((SIDE, SIDE, 3), (number, 90, 200), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def write_mixed(folder: Path) -> None:
    write_shapes(folder, 8, 0)
    Image.new("L", (SIDE + 2, SIDE)).save(folder / "cross" / "wide.png")


def write_broken(folder: Path) -> None:
    write_shapes(folder, 8, 0)
    (folder / "square" / "broken.png").write_bytes(b"\x89PNG no more")


def write_unlabelled(folder: Path) -> None:
    write_shapes(folder.with_name("with labels"), 8, 0)
    folder.mkdir()
    for path in folder.with_name("with labels").rglob("*.png"):
        path.rename(folder / f"{path.parent.name}-{path.name}")
    shutil.rmtree(folder.with_name("with labels"))


def write_table(folder: Path) -> None:
    """Pictures and a csv that names them, its columns called ``file`` and ``kind``."""
    write_unlabelled(folder)
    rows = [f"{path.name},{path.name.split('-')[0]}" for path in sorted(folder.glob("*.png"))]
    (folder / "table.csv").write_text("\n".join(["file,kind", *rows]) + "\n")


def write_empty_table(folder: Path) -> None:
    folder.mkdir()
    (folder / "train.csv").write_text("file,label\n")


REFUSED_DATA: list[tuple[str, Callable[[Path], None] | None, str, tuple[str, ...]]] = [
    ("unknown name", None, "--data mnits", ("mnits", "Did you mean mnist?")),
    ("no such folder", None, "--data ./none/here", ("there is no data called", "none/here")),
    ("image column", write_table, "--image-column pic", ("--image-column", "pic", "file, kind")),
    ("label column", write_table, "--label-column knid", ("knid", "Did you mean kind?")),
    ("unreadable", write_broken, "", ("broken.png", "cannot read", "Repair or remove")),
    ("mixed sizes", write_mixed, "", ("wide.png", "10 x 8", "8 x 8", "--image-size")),
    ("empty split", write_empty_table, "", ("data", "at least one row")),
    ("no such split", write_mixed, "--split-test tset", ("tset", "its splits are train")),
    ("batch", write_colour, "--batch-size 100", ("--batch-size 100", "36 images")),
    ("unlabelled", write_unlabelled, "", ("--model cvae", "labels", "--model vae")),
    (
        "likelihood",
        write_colour,
        "--likelihood bernoulli --binarize none",
        ("--likelihood bernoulli", "3 channels", "discretized_logistic"),
    ),
]


@pytest.mark.parametrize(
    ("write", "flags", "words"),
    [case[1:] for case in REFUSED_DATA],
    ids=[case[0] for case in REFUSED_DATA],
)
def test_data_that_is_refused(
    command: Command,
    here: Path,
    write: Callable[[Path], None] | None,
    flags: str,
    words: tuple[str, ...],
) -> None:
    data: tuple[str, ...] = ()
    if write is not None:
        write(here / "data")
        data = ("--data", "data", "--batch-size", "12")
    before = listing(here)
    assert_refused(command("train", *data, *flags.split()), *words)
    assert listing(here) == before


REFUSED = {
    "unknown command": ("tran", ("unknown command 'tran'", "Did you mean train?")),
    "no run": ("sample nothing", ("nothing is not a run", "config.json")),
    "no runs": ("sample", ("no run in", "distvae train")),
    "nothing to resume": ("train --resume", ("no run in", "distvae train")),
    "resume of nothing": ("train --resume nothing", ("nothing is not a run",)),
    "neither run nor data": ("inspect mnits", ("mnits is neither", "Did you mean mnist?")),
    "recipe": ("train --config mnist-tutoral", ("mnist-tutoral", "Did you mean mnist-tutorial?")),
    "zero steps": ("train --max-steps 0", ("--max-steps is 0", "at least 1")),
    "ema": ("train --ema 1.5", ("--ema is 1.5", "expected below 1")),
    "rate": ("train --learning-rate 0", ("--learning-rate is 0", "above 0")),
    "micro-batches": ("train --batch-size 10 --accumulate 3", ("--batch-size 10", "3 equal")),
    "prior": ("train --model vae --prior label", ("--prior label", "--model vae")),
    "grey": ("train --likelihood gaussian --binarize dynamic", ("gaussian", "dynamic")),
    "tracker": ("train --tracker tensorbord", ("tensorbord", "Did you mean tensorboard?")),
    "output": ("train --output full", ("full", "holds no run", "Take another --output")),
    "output is a file": ("train --output file", ("file", "expected a new folder")),
}


@pytest.mark.parametrize(("line", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(command: Command, here: Path, line: str, words: tuple[str, ...]) -> None:
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("all of it")
    Path("file").write_text("text")
    before = listing(here)
    assert_refused(command(*line.split()), *words)
    assert listing(here) == before


RECIPE_MISTAKES = {
    "key": ("latnet_dim: 5", ("latnet_dim", "mine.yaml", "Did you mean latent_dim?")),
    "type": ("latent_dim: many", ("latent_dim is 'many'", "expected a whole number")),
    "choice": (
        "network: cnov",
        ("network is 'cnov'", "conv, fcn, mlp, resnet", "Did you mean conv?"),
    ),
    "no settings": ("- latent_dim", ("mine.yaml", "expected lines of `name: value`")),
    "not YAML": ("latent_dim: [1\nhidden: 3", ("mine.yaml", "cannot be read")),
    "not text": ("latent_dim: \x00", ("mine.yaml", "cannot be read")),
}


@pytest.mark.parametrize(("text", "words"), RECIPE_MISTAKES.values(), ids=RECIPE_MISTAKES)
def test_a_recipe_that_is_refused(
    command: Command, here: Path, text: str, words: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text(text)
    assert_refused(command("train", "--config", "mine.yaml"), *words)
    assert [path.name for path in here.iterdir()] == ["mine.yaml"]


REFUSED_FLAGS = {
    "flag": ("train --latnet-dim 5", "--latnet-dim", "Did you mean --latent-dim?"),
    "flag of sample": ("sample --cuont 3", "--cuont", "Did you mean --count?"),
    "number": ("train --epochs many", "--epochs is 'many'", "expected a whole number"),
    "widths": ("train --hidden a,b", "--hidden is 'a,b'", "expected a whole number, or several"),
    "choice": ("train --network cnn", "--network is 'cnn'", "expected one of conv, fcn, mlp"),
    "flag of others": ("train --lr 1e-3", "--lr", "Did you mean --learning-rate?"),
    "its value": ("train --fp16", "--fp16", "Did you mean --mixed-precision fp16?"),
    "no value": ("train --epochs", "--epochs", "distvae train --help"),
}


@pytest.mark.parametrize(("line", *"ab"), REFUSED_FLAGS.values(), ids=REFUSED_FLAGS)
def test_flags_that_are_refused(command: Command, here: Path, line: str, a: str, b: str) -> None:
    assert_refused(command(*line.split()), a, b)
    assert not list(here.iterdir())


@pytest.mark.slow
def test_a_refusal_of_the_real_command(distvae: Command, tmp_path: Path) -> None:
    write_table(tmp_path / "data")
    before = listing(tmp_path)
    ended = distvae("train", "--data", "data", "--label-column", "knid")
    assert_refused(ended, "knid", "Did you mean kind?")
    assert ended.out == ""
    assert listing(tmp_path) == before


def test_debug_shows_the_traceback(command: Command) -> None:
    ended = command("train", "--data", "mnits", "--debug")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert "DistvaeError: there is no data called 'mnits'" in ended.err


def test_a_name_in_a_folder_that_is_here_is_no_id(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[str] = []
    monkeypatch.setattr(datasets, "load_dataset", asked.append)
    write_table(here / "photos" / "tulips")
    assert_refused(command("inspect", "photos/tulip"), "Did you mean photos/tulips?")
    assert_refused(command("train", "--data", "photos/tulip"), "there is no data called")
    assert asked == []
    assert_refused(command("train", "--data", "owner/tulip"), "Hugging Face Hub")
    assert asked == ["owner/tulip"]
