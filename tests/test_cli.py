"""The command line: help, flags, recipes and inspection."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from distvae.commands import COMMANDS
from distvae.config import TrainConfig
from distvae.recipes import read_recipe
from distvae.runs import checkpoints
from tests.conftest import CHECKOUT, SMALL, Command, Ended, assert_refused

RECIPES = sorted(path.stem for path in (CHECKOUT / "distvae" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("name", ["train", "sample", "inspect"])
def test_help_of_a_command(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"usage: distvae {name} ")
    assert ended.err == ""


def test_help_names_every_setting(command: Command) -> None:
    told = command("train", "--help-all").out
    for name in TrainConfig().to_flat():
        assert f"--{name.replace('_', '-')}" in told


def test_help_of_training_begins_with_what_most_people_set(command: Command) -> None:
    told = command("train", "--help").out
    assert len(told.splitlines()) <= 40
    common = re.findall(r"^│ (--[a-z-]+)", told, re.MULTILINE)
    assert common[:2] == ["--data", "--config"]
    assert {"--epochs", "--batch-size", "--learning-rate", "--output", "--resume"} <= {*common}
    assert told.count("  distvae train --") == 3
    every = command("train", "--help-all").out
    assert "(default: None)" not in every
    assert "{None}" not in every
    groups = re.findall(r"╭─ (\w+) options ", every)
    assert f"distvae train --help {'|'.join(groups)}" in told
    flags = r"^│ (--[a-z-]+)"
    parts = [command("train", "--help", group).out for group in groups]
    assert [re.findall(r"╭─ (\w+) options ", part) for part in parts] == [[it] for it in groups]
    together = [flag for part in parts for flag in re.findall(flags, part, re.MULTILINE)]
    assert together == re.findall(flags, every, re.MULTILINE)  # each is told once


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--lr 0.1", "--lr 0.1 is not known. Did you mean --learning-rate?"),
        ("--bs=3", "Did you mean --batch-size?"),
        ("--gpu", "A GPU is taken where there is one"),
        ("--device cuda", "A GPU is taken where there is one"),
        ("--fp16", "Did you mean --mixed-precision fp16?"),
        ("--wandb", "Did you mean --tracker wandb?"),
        ("--hidden 512 256", "A list has commas and no spaces: --hidden 512,256"),
        ("--hidden 512 256 128 --seed 1", "A list has commas and no spaces: --hidden 512,256,128"),
        ("--batch-size 100.5", "--batch-size is '100.5': expected a whole number"),
        ("--dataset x", "Did you mean --data?"),
        ("--out x", "Did you mean --output?"),
        ("--workers 4", "Did you mean --threads?"),
        ("--latent 8", "Did you mean --latent-dim?"),
        ("--optimizer sgd", "It is AdamW"),
        ("--dropout 0.1", "There is none"),
        ("--nonsense 1", "--nonsense 1 is not known. distvae train --help"),
        ("--model cVAE", "Did you mean cvae?"),
        ("--compile True", "Did you mean on?"),
        ("--streaming true", "--streaming takes no value"),
        ("--epochs", "--epochs is given no value: expected --epochs INT"),
        ("photos", "Data is named by a flag: --data photos."),
        ("sample 7", "Labels are asked for by --label 7"),
        ("sample --labels 3 4", "Labels are asked for by --label 3,4"),
        ("sample --labels 3 4 5", "A list has commas and no spaces: --labels 3,4,5."),
        ("evaluate --metrics elbo,fid", "--metrics has 'fid': expected one of"),
        ("evaluate --metrics fid", "Did you mean distances?"),
        ("export --int8", "Did you mean --precision int8?"),
    ],
)
def test_what_people_type_is_answered(command: Command, words: str, told: str) -> None:
    name, *rest = words.split()
    ended = command(*([name, *rest] if name in COMMANDS else ["train", name, *rest]))
    assert_refused(ended, told)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_teaches(command: Command, name: str) -> None:
    told = command(*name.split(), "--help-all").out
    assert told.startswith(f"usage: distvae {name} ")
    for programmer in ("{None}", "(default: None)", "(default: ())", " STR", "NoneType"):
        assert programmer not in told
    whole = told.replace(" \\\n   ", "")  # a long example goes on in the next line
    examples = re.findall(rf"^  .*?(distvae {name}[^#>)\n]*)", whole, re.MULTILINE)
    assert examples
    for example in examples:
        assert "is not known" not in command(*shlex.split(example)[1:], "--help").err


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_no_line_of_any_help_is_wider_than_the_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in ("", "bench", "train --help-all", *COMMANDS):
        lines = command(*words.split(), "--help").out.splitlines()
        assert lines
        assert [line for line in lines if len(line) > columns] == [], words


def test_help_of_metrics_has_a_line_for_each(command: Command) -> None:
    told = command("evaluate", "--help").out
    for name in ("elbo", "judge", "distances"):
        assert re.search(rf"^│ +`{name}`: \w", told, re.MULTILINE)


def test_help_and_version(command: Command) -> None:
    import distvae

    ended = command("--help")
    assert ended.code == 0
    for name in ("train", "sample", "evaluate", "inspect", "bench"):
        assert f"  {name} " in ended.out
    assert "distvae --version" in ended.out
    for word, meant in (("generate", "sample"), ("eval", "evaluate"), ("help", "--help")):
        assert f"Did you mean distvae {meant}?" in command(word).err
    assert "bench train" in command("bench", "--help").out
    assert command("--version").out == f"{distvae.__version__}\n"
    assert command().code == 2


@pytest.mark.parametrize(
    "words",
    [
        "import distvae; dir(distvae)",
        "from distvae.cli import main; assert main(['--help']) == 0",
        "from distvae.cli import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass",
        "from distvae.cli import main; assert main(['sampel']) == 2",
        "from distvae.cli import main; main(['completion', 'bash', '--line', 'distvae train -'])",
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
    content = yaml.safe_load((CHECKOUT / "distvae" / "recipes" / f"{name}.yaml").read_text())
    flat = read_recipe(name).to_flat()
    for key, value in content.items():
        assert flat[key] == (tuple(value) if isinstance(value, list) else value)


def test_the_default_is_the_recipe_of_the_default() -> None:
    assert "mnist-cvae" in RECIPES
    assert read_recipe("mnist-cvae").resolved(1) == TrainConfig().fitted(60_000, 28, 10).resolved(1)


def test_what_to_type_next_can_be_typed(command: Command, shapes: Path, here: Path) -> None:
    ended = command("train", "--data", shapes, *SMALL, "--output", "my [bold] run")
    assert ended.code == 0, ended.err
    (line,) = (line for line in ended.out.splitlines() if "distvae sample" in line)
    words = shlex.split(line)
    assert words == ["distvae", "sample", "my [bold] run", "--label", "square", "--count", "64"]
    assert command(*words[1:]).code == 0


def test_how_much_is_said(
    command: Command, shapes: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISTVAE_QUIET", "DISTVAE_PROGRESS"):
        monkeypatch.setenv(name, "")  # so that what the flags set ends with this test
    train = ("train", "--data", shapes, *SMALL, "--epochs", "9", "--overwrite", "--output", "run")
    ended = command(*train)
    assert "epoch 0.2/0.2  " in ended.out
    assert "--max-steps 2 ends the run at epoch 0.2, before --epochs 9" in ended.out
    assert "done, step 2 of 2 (epoch 0.2)" in ended.out
    assert (here / "run" / "curves.png").exists()
    off = command(*train, "--progress", "off")
    assert "epoch 0.2/0.2  " not in off.out
    assert "next:" in off.out
    assert "\x1b[2K" in command(*train, "--progress=bars").out  # moves though nobody looks
    assert command(*train, "--quiet") == Ended(0, "", "")
    assert "--progress dots is not known" in command("inspect", "mnist", "--progress", "dots").err


@pytest.mark.slow
def test_the_newest_run_is_taken_and_told(run: Path, command: Command, here: Path) -> None:
    shutil.copytree(run, here / "runs" / "mine")
    for name in ("sample", "inspect"):
        ended = command(name)
        assert ended.code == 0, ended.err
        assert "runs/mine" in ended.out


def test_inspect_a_run(run: Path, command: Command) -> None:
    for thing in (run, checkpoints(run)[-1]):
        told = command("inspect", thing).out
        for word in ("cvae", "mlp", "bernoulli", "1 x 8 x 8", "circle, cross, square"):
            assert word in told
        for word in ("120 training, 51 test", "step-00000018", "--latent-dim 3", "MB in"):
            assert word in told
        assert not re.search(r"^│ \w+_", told, re.MULTILINE), "words, not keys"
    told = command("inspect", run).out
    for word in ("3 of 3 epochs", "last trained", "on 51 test images", "elbo, nats per image"):
        assert word in told
    assert re.search(r"time in training steps +│ +(about \d+ s|less than a second)", told)


def test_inspect_tells_of_a_run_what_is_known(run: Path, command: Command, here: Path) -> None:
    """Of one that ends by steps, of an earlier version, and of one whose log is damaged."""
    copy = here / "copy"
    shutil.copytree(run, copy)
    record = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    record.pop("sha256")

    def told() -> str:
        (copy / "config.json").write_text(json.dumps(record), encoding="utf-8")
        ended = command("inspect", copy)
        assert ended.code == 0, ended.err
        return " ".join(re.sub("[│\\s]+", " ", ended.out).split())

    record["settings"]["max_steps"] = 1800
    assert "trained 3 epochs steps 18 of 1,800 (--max-steps)" in told()
    for name in ("max_steps", "epochs", "batch_size", "objective"):
        del record["settings"][name]
    text = told()
    assert "trained 3 epochs steps 18 last trained" in text
    assert "objective not recorded" in text
    assert "time in training" not in text
    (copy / "metrics.jsonl").write_text("damaged\n{", encoding="utf-8")
    assert "trained not known: its log is damaged" in told()


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


def test_inspect_shows_what_train_sees(shapes: Path, command: Command, here: Path) -> None:
    flags = ("--split-train", "test", "--image-size", "6", "--channels", "3")
    ended = command("inspect", "--data", shapes, *flags, "--output", here / "sheet.png")
    assert ended.code == 0, ended.err
    for word in ("3 x 6 x 6", "3 (held-out tenth of test", "sheet.png", "no test split"):
        assert word in ended.out
    told = [line for line in ended.out.splitlines() if line.startswith("data: ")]
    with Image.open(here / "sheet.png") as sheet:
        assert (sheet.mode, sheet.width > sheet.height) == ("RGB", True)
    ended = command("train", "--data", shapes, *flags, *SMALL)
    assert ended.code == 0, ended.err
    assert [line for line in ended.out.splitlines() if line.startswith("data: ")] == told
    assert "48 images 3x6x6" in ended.out


def test_inspect_refuses_what_train_refuses(shapes: Path, command: Command) -> None:
    assert_refused(command("inspect", shapes, "--image-size", 0), "--image-size is 0", "at least 1")
    assert_refused(
        command("inspect", shapes, "--split-test", "tset"), "its splits are", "mean test"
    )
