"""Completion of command lines: what is offered, and real shells that ask for it."""

import importlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from distvae.asking import parse_asked
from distvae.attributes import Attribute
from distvae.commands import COMMANDS
from distvae.completion import candidates, read_line
from distvae.flags import groups_of
from distvae.labels import parse_labels
from distvae.shell_scripts import SCRIPTS


def offered(line: str) -> list[str]:
    """What the last word of a line may become."""
    return [each.word for each in candidates(read_line(line).words[1:])]


@pytest.fixture
def runs(folder: Path) -> None:
    """Runs in runs/, of shapes and of flowers, and what lies beside."""
    several = [{"name": "digit", "labels": ["0", "1"]}, {"name": "angle", "labels": []}]
    given: dict[str, dict[str, object]] = {
        "shapes": {"attributes": several, "label_names": []},
        "flowers": {"label_names": ["tulip", "red rose", "a,b"]},
    }
    for name, facts in given.items():
        run = folder / "runs" / name
        run.mkdir(parents=True)
        record = {"model": {}, **facts}
        (run / "config.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "my data").mkdir()
    (folder / "mine.yaml").touch()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_help_is_offered(name: str) -> None:
    command = COMMANDS[name]
    kind = getattr(importlib.import_module(command.module), command.config)
    found = offered(f"distvae {name} --")
    for group in groups_of(kind()):
        for flag in group.flags:
            negated = [each.replace("--", "--no-", 1) for each in flag.names]
            assert not flag.names or {*flag.names, *negated} & {*found}, flag
            if flag.names and flag.form is not None and flag.form.options:
                assert offered(f"distvae {name} {flag.names[0]} ") == [*flag.form.options]
    assert {"--help", "--debug", "--quiet", "--progress"} <= {*found}


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("distvae ev", ["evaluate"]),
        ("distvae bench ", ["train", "sample"]),
        ("distvae train --network=re", ["--network=resnet"]),
        ("distvae train --config mnist-cv", ["mnist-cvae", "mnist-cvae-conv"]),
        ("distvae train --config mi", ["mine.yaml"]),
        ("distvae train --data my", ["my data/"]),
        ("distvae train --seed 3 --see", []),
        ("distvae train --resume --epo", ["--epochs", "--epoch-images"]),
        ("distvae train --resume sh", ["shapes"]),
        ("distvae train --help o", ["objective", "optim"]),
        ("distvae evaluate fl", ["flowers"]),
        ("distvae evaluate runs/fl", ["runs/flowers/"]),
        ("distvae evaluate --metrics elbo,l", ["elbo,labels", "elbo,latents", "elbo,likelihood"]),
        ("distvae sample flowers --label ", ["tulip", "red rose", "a,b"]),
        ("distvae sample flowers --label tulip,", ["tulip,tulip", "tulip,red rose", 'tulip,"a,b"']),
        ("distvae sample runs/flowers --label 't", ["tulip"]),
        ("distvae sample shapes --label ", ["digit=", "angle="]),
        ("distvae sample shapes --label digit=", ["digit=0", "digit=1"]),
        ("distvae sample shapes --label digit=1,", ["digit=1,angle="]),
        ("distvae sample nothing --label ", []),
        ("distvae nothing --la", []),
    ],
)
def test_values_are_offered(line: str, words: list[str]) -> None:
    assert sorted(offered(line)) == sorted(words)


def test_a_label_that_is_offered_is_the_one_that_is_drawn(folder: Path) -> None:
    """Whatever it is called, alone, in a list, and of one attribute among several."""
    names = (
        "plain",
        'say "hi"',
        '"all"',
        "it's",
        "a,b",
        "x=y",
        " lead",
        "back\\slash",
        "$A",
        "0-1",
    )
    kind = Attribute("kind", names)
    given = [{"name": "kind", "labels": names}, {"name": "tone", "labels": ["low", "high"]}]
    shapes: dict[str, dict[str, object]] = {
        "one": {"label_names": names},
        "several": {"attributes": given, "label_names": []},
    }
    for name, facts in shapes.items():
        (folder / "runs" / name).mkdir(parents=True)
        record = json.dumps({"model": {}, **facts})
        (folder / "runs" / name / "config.json").write_text(record, encoding="utf-8")
    for begun, first in (("", []), ("plain,", [0])):
        offers = [each.word for each in candidates(["sample", "one", "--label", begun])]
        assert [parse_labels(each, names) for each in offers] == [
            [*first, place] for place in range(len(names))
        ]
    offers = [each.word for each in candidates(["sample", "several", "--label", "kind="])]
    found = [parse_asked(each, (kind,)).rows.tolist() for each in offers]
    assert found == [[[place]] for place in range(len(names))]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_parses(shell: str) -> None:
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    ended = subprocess.run(
        [program, "-n"], input=SCRIPTS[shell], capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="bash there is of another system")
@pytest.mark.usefixtures("runs")
def test_bash_completes(folder: Path, environment: Mapping[str, str]) -> None:
    program = folder / "distvae"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m distvae.cli "$@"\n')
    program.chmod(0o755)
    asked = {
        ("sam",): ["sample"],
        ("train", "--data", "mnist", ":", "c"): ["coloured"],
        ("sample", "--label", "r"): [r"red\ rose"],
        ("sample", "--label", "=", "tul"): ["tulip"],
    }
    script = 'eval "$(./distvae completion bash)"\n' + "".join(
        f"COMP_WORDS=(./distvae {shlex.join(words)}); COMP_CWORD={len(words)}\n"
        f"COMP_LINE={shlex.quote(_line(words))}; COMP_POINT=${{#COMP_LINE}}\n"
        '_distvae; printf "%s;" "${COMPREPLY[@]}"; echo\n'
        for words in asked
    )
    ended = subprocess.run(
        ["bash", "--norc"],
        input=script,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [line.split(";")[:-1] for line in ended.stdout.splitlines()]
    assert found == list(asked.values()), ended.stderr


def _line(words: tuple[str, ...]) -> str:
    """A line of words that bash parts at ``:`` and ``=``."""
    return " ".join(("./distvae", *words)).replace(" : ", ":").replace(" = ", "=")
