"""What the documents promise: code runs as printed, commands parse, named files are there."""

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from distvae.arguments import Train
from distvae.bench.sample import BenchSampleConfig
from distvae.bench.train import BenchConfig
from distvae.commands import COMMANDS
from distvae.config import TrainConfig
from distvae.errors import DistvaeError
from distvae.evaluation.evaluate import EvaluateConfig
from distvae.evaluation.metrics import METRICS
from distvae.export.command import ExportConfig
from distvae.flags import parse as parse_flags
from distvae.inspection import InspectConfig
from distvae.recipes import read_recipe
from distvae.sampling import SampleConfig
from distvae.tools.embed import EmbedConfig
from distvae.tools.interpolate import InterpolateConfig
from distvae.tools.manifold import ManifoldConfig
from distvae.tools.reconstruct import ReconstructConfig
from distvae.tools.score import ScoreConfig
from distvae.tools.traverse import TraverseConfig
from tests.conftest import CHECKOUT, Command

PAGES = sorted(f"docs/{path.name}" for path in (CHECKOUT / "docs").glob("*.md"))
DOCUMENTS = ("README.md", "launch/README.md", "CONTRIBUTING.md", *PAGES)
KINDS = {
    "train": Train,
    "sample": SampleConfig,
    "score": ScoreConfig,
    "embed": EmbedConfig,
    "reconstruct": ReconstructConfig,
    "interpolate": InterpolateConfig,
    "traverse": TraverseConfig,
    "manifold": ManifoldConfig,
    "evaluate": EvaluateConfig,
    "inspect": InspectConfig,
    "export": ExportConfig,
    "bench train": BenchConfig,
    "bench sample": BenchSampleConfig,
}
STARTS = {f"distvae {name}": name for name in KINDS}
STARTS["accelerate launch launch/train.py"] = "train"
PLACEHOLDERS = {"NAME": "mnist-cvae", "FLAGS": ""}
FENCED = r"^ *```(\w*)\n(.*?)^ *```$"
ELSEWHERE = ("runs/", "onnx/", "web/", "samples/", "checkpoints/", "~/", "ylecun/mnist", ".venv/")
"""What is named and not in the repository: runs, the cache, a data set on the Hub."""


def text_of(document: str) -> str:
    return (CHECKOUT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str = "") -> list[str]:
    """Fenced blocks of a language."""
    found = re.findall(FENCED, text_of(document), re.DOTALL | re.MULTILINE)
    return [block for kind, block in found if kind == language]


def spans(document: str) -> list[str]:
    """What stands between backticks in running text, each on one line."""
    prose = re.sub(FENCED, "", text_of(document), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(document: str) -> list[str]:
    """Command lines, one by one, without their comments."""
    lines = [line for block in blocks(document) for line in block.splitlines()] + spans(document)
    bare = (shlex.join(shlex.split(line, comments=True)) for line in lines if "distvae" in line)
    found = [part.strip() for line in bare for part in line.split("'&&'")]
    return sorted({line for line in found if line.startswith(tuple(STARTS))})


def parse(line: str) -> Any:
    """The settings of a command line, by the real parser and its checks."""
    start = max((start for start in STARTS if line.startswith(start)), key=len)
    flags = [PLACEHOLDERS.get(word, word) for word in shlex.split(line.removeprefix(start))]
    kind: type[Any] = KINDS[STARTS[start]]
    parsed = parse_flags(kind, [word for word in flags if word], start)
    if isinstance(parsed, Train):
        TrainConfig(parsed.data, parsed.model, parsed.objective, parsed.optim, parsed.run)
        recipe = parsed.start.config
        assert recipe in (None, "mine.yaml") or read_recipe(str(recipe))
    return parsed


LINES = [(name, line) for name in DOCUMENTS for line in commands(name) if "--help" not in line]


@pytest.mark.parametrize(("document", "line"), LINES)
def test_a_command_line_parses(document: str, line: str) -> None:
    parse(line)


def test_command_lines_were_found() -> None:
    found = [line for _, line in LINES]
    assert {STARTS[start] for start in STARTS for line in found if line.startswith(start)} == {
        *KINDS
    }
    assert parse("distvae sample --label 7 --count 64") == SampleConfig(label="7", count=64)
    for wrong in ("distvae sample --lable 7", "distvae train --config=mine.yaml --epoch 5"):
        with pytest.raises(DistvaeError, match="is not known"):
            parse(wrong)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_flag_that_is_named_is_there(document: str, command: Command) -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", command("--help").out)) | {"--help"}
    known |= {f"--{name.replace('_', '-')}" for name in TrainConfig().to_flat()}
    for name in COMMANDS:
        known |= set(re.findall(r"--[a-z][a-z-]+", command(*name.split(), "--help-all").out))
    named = {flag for span in spans(document) for flag in re.findall(r"--[a-z][a-z-]+", span)}
    assert named <= known | {"--no-deps"}


@pytest.mark.slow
def test_the_python_block_runs_as_printed(command: Command, here: Path) -> None:
    few = ("--hidden", 16, "--latent-dim", 3, "--max-steps", 2, "--batch-size", 500)
    assert command("train", *few).code == 0  # into the folder that the block names
    block, sampler = blocks("README.md", "python")
    names: dict[str, Any] = {}
    exec(block, names)
    promised = dict(re.findall(r"^(images|again) = .*# \[([\d, ]+)\]", block, re.MULTILINE))
    for name in ("images", "again"):
        assert str(list(names[name].shape)) == f"[{promised[name]}]"
        assert 0 <= names[name].min() <= names[name].max() <= 1
    assert names["posterior"].mean.shape == names["posterior"].log_variance.shape == (16, 3)
    assert command("export", "--onnx").code == 0
    exec(sampler, names)
    assert names["images"].shape == (64, 1, 28, 28)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_file_that_is_named_is_there(document: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text_of(document))
    words = [word for block in blocks(document) for word in block.split()]
    paths = [word for word in words + spans(document) if re.fullmatch(r"[\w.~-]*/[\w./-]*", word)]
    paths = [path for path in paths if not path.startswith(ELSEWHERE)]
    if document == "README.md":
        assert "docs/samples.png" in links
        assert {"launch/train.py", "distvae/data/mnist/"} <= set(paths)
        assert set(PAGES) <= set(links)
    folders = (CHECKOUT, (CHECKOUT / document).parent, CHECKOUT / "distvae")
    for path in links + paths:
        assert any((folder / path).exists() for folder in folders), path


@pytest.mark.slow
def test_a_run_folder_is_as_drawn(run: Path, command: Command) -> None:
    assert command("evaluate", run, "--metrics", "judge,neighbours").code == 0
    assert command("export", run).code == 0
    (tree,) = (block for block in blocks("docs/runs.md") if block.startswith("runs/NAME/"))
    drawn = [line.split()[0].rstrip("/") for line in tree.splitlines()[1:]]
    assert sorted(drawn) == sorted(path.name for path in run.iterdir())


def test_every_recipe_is_in_both_tables() -> None:
    recipes = {path.stem for path in (CHECKOUT / "distvae" / "recipes").glob("*.yaml")}
    for document in ("docs/recipes.md", "launch/README.md"):
        told = set(re.findall(r"^\| `([\w-]+)[^`]*`", text_of(document), re.MULTILINE))
        assert told >= recipes
    assert {*re.findall(r"^\| `([\w-]+)", text_of("launch/README.md"), re.MULTILINE)} == recipes


def test_every_metric_is_in_the_help_and_in_the_table() -> None:
    (told,) = (each.metadata["help"] for each in fields(EvaluateConfig) if each.name == "metrics")
    assert set(re.findall(r"`(\w+)`:", told)) == METRICS.keys()
    table = re.findall(r"^\| (\w+) \|", text_of("docs/numbers.md"), re.MULTILINE)
    assert METRICS.keys() <= set(table)


def test_the_checks_of_a_contributor_are_those_of_the_machine() -> None:
    lines = re.sub(" --(quiet|no-compile)", "", text_of(".ci/run")).splitlines()
    done = {re.split(r" >| \|\|", line)[0] for line in lines}  # without where it is written to
    setup, check = blocks("CONTRIBUTING.md")[:2]
    assert setup.splitlines()[-1] in done
    asked = check.strip().split(" && ")
    assert asked[-1] == "pytest"
    assert set(asked) <= done
