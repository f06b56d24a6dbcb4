"""The command line: help, flags and recipes, sampling, inspection, and what is refused."""

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from distvae.cli import _recipe
from distvae.config import TrainConfig
from distvae.runs import checkpoints
from tests.conftest import CHECKOUT, SHAPES, SIDE, Command, Ended, write_shapes

RECIPES = sorted(path.stem for path in (CHECKOUT / "launch" / "recipes").glob("*.yaml"))
SMALL = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--max-steps", "2")


@pytest.mark.parametrize("name", ["train", "sample", "inspect"])
def test_help_of_a_command(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"usage: distvae {name} ")
    assert ended.err == ""


def test_help_names_every_setting(command: Command) -> None:
    told = command("train", "--help").out
    for name in TrainConfig().to_flat():
        assert f"--{name.replace('_', '-')}" in told


def test_help_and_version(command: Command) -> None:
    import distvae

    ended = command("--help")
    assert ended.code == 0
    for name in ("train", "sample", "evaluate", "inspect", "bench"):
        assert f"  {name} " in ended.out
    assert command("--version").out == f"{distvae.__version__}\n"
    assert command().code == 2


@pytest.mark.parametrize(
    "words",
    [
        "import distvae; dir(distvae)",
        "from distvae.cli import main; assert main(['--help']) == 0",
        "from distvae.cli import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass",
        "from distvae.cli import main; assert main(['sampel']) == 2",
    ],
)
def test_help_imports_nothing_heavy(words: str, environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"{words}\nimport sys; print(*sys.modules, file=sys.stderr)"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"torch", "accelerate", "datasets", "numpy", "PIL", "huggingface_hub", "onnxruntime"}
    assert not heavy & set(ended.stderr.split())


def train(command: Command, shapes: Path, here: Path, *words: object) -> dict[str, Any]:
    """The settings of a run of two steps."""
    ended = command(
        "train", "--data", shapes, "--batch-size", 12, "--max-steps", 2, "--output", "new", *words
    )
    assert ended.code == 0, ended.err
    settings: dict[str, Any] = json.loads((here / "new" / "config.json").read_text())["settings"]
    shutil.rmtree(here / "new")
    return settings


def test_hyphens_and_underscores_are_one(command: Command, shapes: Path, here: Path) -> None:
    for flags in (("--latent-dim", 5), ("--latent_dim", 5), ("--latent-dim=5",)):
        assert train(command, shapes, here, "--hidden", 16, *flags)["latent_dim"] == 5


@pytest.mark.parametrize(("text", "widths"), [("64,32", [64, 32]), ("24", [24]), ("8,", [8])])
def test_widths_with_commas(
    command: Command, shapes: Path, here: Path, text: str, widths: list[int]
) -> None:
    assert train(command, shapes, here, "--hidden", text)["hidden"] == widths


def test_a_flag_beats_the_recipe_and_the_recipe_the_default(
    command: Command, shapes: Path, here: Path
) -> None:
    Path("mine.yaml").write_text("hidden: [8]\nlatent_dim: 2\nlearning_rate: 2e-4\n")
    found = train(command, shapes, here, "--config", "mine.yaml", "--latent-dim", 6)
    assert (found["hidden"], found["latent_dim"], found["learning_rate"]) == ([8], 6, 2e-4)
    assert found["activation"] == TrainConfig().model.activation


def test_a_run_is_named_after_its_recipe_or_its_data(
    command: Command, shapes: Path, here: Path
) -> None:
    Path("mine.yaml").write_text("hidden: [8]\n")
    few = ("--data", shapes, "--batch-size", 12, "--max-steps", 1)
    assert command("train", *few, "--config", "mine.yaml").code == 0
    assert command("train", *few, "--model", "vae", "--prior", "normal", "--hidden", 8).code == 0
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["mine", "shapes-vae"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_parses(name: str) -> None:
    content = yaml.safe_load((CHECKOUT / "launch" / "recipes" / f"{name}.yaml").read_text())
    flat = _recipe(name).to_flat()
    for key, value in content.items():
        assert flat[key] == (tuple(value) if isinstance(value, list) else value)


def test_the_default_is_the_recipe_of_the_default() -> None:
    assert "mnist-cvae" in RECIPES
    assert _recipe("mnist-cvae").resolved(1) == TrainConfig().resolved(1)


def test_what_to_type_next_can_be_typed(command: Command, shapes: Path, here: Path) -> None:
    ended = command("train", "--data", shapes, *SMALL, "--output", "my [bold] run")
    assert ended.code == 0, ended.err
    (line,) = (line for line in ended.out.splitlines() if "distvae sample" in line)
    words = shlex.split(line)
    assert words == ["distvae", "sample", "my [bold] run", "--label", "square", "--count", "64"]
    assert command(*words[1:]).code == 0


# Sampling


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def test_sample_writes_arrays_by_name_and_range(run: Path, command: Command, here: Path) -> None:
    ended = command("sample", run, "--label", "square,0-1", "--count", 4, "--output", "s.npz")
    assert ended.code == 0, ended.err
    found = arrays(here / "s.npz")
    assert found["images"].shape == (12, 1, SIDE, SIDE)
    assert found["images"].dtype == np.uint8
    assert found["labels"].tolist() == [2] * 4 + [0] * 4 + [1] * 4
    assert found["label_names"].tolist() == list(SHAPES)


def test_sample_without_labels_draws_all(run: Path, command: Command, here: Path) -> None:
    assert command("sample", run, "--count", 2, "--output", "s.npz").code == 0
    assert arrays(here / "s.npz")["labels"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_seed_is_its_images_whatever_else_is_drawn(
    run: Path, command: Command, here: Path
) -> None:
    for name, seed, count in (("a", 3, 5), ("b", 3, 5), ("c", 4, 5), ("d", 3, 2)):
        words = ("--label", 1, "--seed", seed, "--count", count, "--output", f"{name}.npz")
        assert command("sample", run, *words).code == 0
    a, b, c, d = ((here / f"{name}.npz").read_bytes() for name in "abcd")
    assert a == b != c
    assert len(d) < len(a)
    images = arrays(here / "a.npz")["images"]
    np.testing.assert_array_equal(images[:2], arrays(here / "d.npz")["images"])
    assert (images != arrays(here / "c.npz")["images"]).any()


def test_sample_writes_a_sheet_into_the_run_or_where_told(run: Path, command: Command) -> None:
    for words, path in (
        (("--label", "cross"), run / "samples" / "label-cross-seed-0.png"),
        (("--seed", 2), run / "samples" / "seed-2.png"),
        (("--output", "deep/sheet.png"), Path("deep/sheet.png")),
    ):
        ended = command("sample", run, *words)
        assert ended.code == 0, ended.err
        assert path.name in ended.out
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"


def test_sample_writes_a_folder_of_pictures(run: Path, command: Command, here: Path) -> None:
    assert command("sample", run, "--label", "0,2", "--count", 3, "--output", "pictures").code == 0
    assert command("sample", run, "--label", "0,2", "--count", 3, "--output", "a.npz").code == 0
    found = sorted((here / "pictures").iterdir())
    assert [path.name.split("-")[0] for path in found] == ["circle"] * 3 + ["square"] * 3
    for path, image in zip(found, arrays(here / "a.npz")["images"], strict=True):
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image[0])


def test_sample_of_a_checkpoint(run: Path, command: Command, here: Path) -> None:
    for name, model in (("run", run), ("checkpoint", checkpoints(run)[-1])):
        assert command("sample", model, "--output", f"{name}.npz").code == 0
    assert (here / "run.npz").read_bytes() == (here / "checkpoint.npz").read_bytes()


def test_the_newest_run_is_taken_and_told(run: Path, command: Command, here: Path) -> None:
    shutil.copytree(run, here / "runs" / "mine")
    for name in ("sample", "inspect"):
        ended = command(name)
        assert ended.code == 0, ended.err
        assert "runs/mine" in ended.out


def test_sample_of_an_unconditional_model(command: Command, shapes: Path, here: Path) -> None:
    kind = ("--model", "vae", "--prior", "normal", "--output", "vae")
    assert command("train", "--data", shapes, *SMALL, *kind).code == 0
    assert command("sample", "vae", "--count", 7, "--output", "s.npz").code == 0
    assert arrays(here / "s.npz")["images"].shape == (7, 1, SIDE, SIDE)
    assert "labels" not in arrays(here / "s.npz")
    ended = command("sample", "vae", "--label", 1)
    assert_refused(ended, "label 1", "without labels")


def test_sample_in_a_folder_whose_name_looks_like_markup(
    finished: Path, command: Command, here: Path
) -> None:
    run = shutil.copytree(finished, here / "a[bold] run :smile:")
    ended = command("sample", run)
    assert ended.code == 0, ended.err
    assert str(run / "samples") in ended.out


# Inspection


def test_inspect_a_run(run: Path, command: Command) -> None:
    for thing in (run, checkpoints(run)[-1]):
        told = command("inspect", thing).out
        for word in ("cvae", "mlp", "bernoulli", "1 x 8 x 8", "circle, cross, square", "120 + 51"):
            assert word in told
        assert "step-00000018" in told
        assert "test elbo" in told


def test_inspect_counts_the_numbers_of_the_model(run: Path, command: Command) -> None:
    from distvae.models import VAE

    count = sum(value.numel() for value in VAE.from_pretrained(run).state_dict().values())
    assert f"{count:,}" in command("inspect", run).out


def test_inspect_data(shapes: Path, command: Command, here: Path) -> None:
    ended = command("inspect", shapes)
    assert ended.code == 0, ended.err
    for word in ("1 x 8 x 8", "120", "51 (test)", "label 0: circle", "label 2: square"):
        assert word in ended.out
    assert not list(here.iterdir())


# What is refused


def assert_refused(ended: Ended, *words: str) -> None:
    """Exit code 2 and one line that names what was found, expected and to be done."""
    assert ended.code == 2, ended.out + ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def listing(folder: Path) -> dict[Path, str]:
    """Every file of a folder and a digest of what it holds."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


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
    "ema": ("train --ema 1.5", ("--ema is 1.5", "expected a decay")),
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
    "choice": ("network: cnov", ("network is 'cnov'", "mlp, conv, resnet", "Did you mean conv?")),
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
    "flag": ("train --latnet-dim 5", "--latent-dim"),
    "flag of sample": ("sample --cuont 3", "--count"),
    "number": ("train --epochs many", "--epochs"),
    "widths": ("train --hidden a,b", "--hidden"),
    "choice": ("train --network cnn", "'mlp', 'conv', 'resnet'"),
    "no value": ("train --epochs", "--epochs"),
}


@pytest.mark.parametrize(("line", "word"), REFUSED_FLAGS.values(), ids=REFUSED_FLAGS)
def test_flags_that_are_refused(command: Command, here: Path, line: str, word: str) -> None:
    ended = command(*line.split())
    assert ended.code == 2
    assert word in ended.err
    assert "Traceback" not in ended.err
    assert not list(here.iterdir())


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)


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
    before = listing(here)
    assert_refused(command(*line.split()), *words)
    assert listing(here) == before


def test_overwrite_replaces_a_run(run: Path, command: Command, shapes: Path) -> None:
    (run / "mine.txt").write_text("old")
    assert command("train", "--data", shapes, *SMALL, "--output", run, "--overwrite").code == 0
    assert not (run / "mine.txt").exists()
    assert [path.name for path in checkpoints(run)] == ["step-00000002"]


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
