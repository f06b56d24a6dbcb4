"""What the value of a flag may become on a command line, by what help calls it. No torch."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from distvae.attributes import Attribute
from distvae.errors import DistvaeError
from distvae.flags import Form
from distvae.text import in_list

RECIPES, ONNX_FILES = (".yaml", ".yml"), (".onnx",)
MOST = 500
"""Candidates; more help nobody."""


class Candidate(NamedTuple):
    """What a word may become."""

    word: str
    about: str = ""


def values_of(form: Form, word: str, run: str | None) -> list[Candidate]:
    """What the value of a flag may become.

    Args:
        form: how it is written.
        word: how it begins.
        run: the run of the command line, None for the newest.
    """
    if form.metavar.endswith(",..."):
        listed, comma, word = word.rpartition(",")
    else:
        listed = comma = ""
    if form.options:
        taken = listed.split(",")
        found = starting(word, (each for each in form.options if each not in taken))
    elif form.metavar == "LABELS":
        found = _labels(word, run)
    else:
        found = NAMED.get(form.metavar, _nothing)(word)
    return [each._replace(word=f"{listed}{comma}{each.word}") for each in found][:MOST]


def starting(word: str, names: Iterable[str], about: str = "") -> list[Candidate]:
    """Those of the names that begin with a word."""
    return [Candidate(name, about) for name in names if name.startswith(word)]


def paths(word: str, endings: tuple[str, ...] | None = None) -> list[Candidate]:
    """Folders, and the files that end so, that a word begins to name; hidden ones where asked."""
    head, slash, begun = word.rpartition("/")
    found = []
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: of a home that is not there
        for path in sorted(Path(head + slash).expanduser().iterdir()):
            if not path.name.startswith(begun) or (path.name.startswith(".") and not begun):
                continue
            if path.is_dir():
                found.append(Candidate(f"{head}{slash}{path.name}/"))
            elif endings is None or path.name.endswith(endings):
                found.append(Candidate(f"{head}{slash}{path.name}"))
    return found


def _nothing(word: str) -> list[Candidate]:
    return []


def _folders(word: str) -> list[Candidate]:
    return paths(word, ())


def _runs(word: str) -> list[Candidate]:
    """Runs in runs/ by name; folders and ONNX files where it is none of these."""
    from distvae.runs import RUNS, is_run

    names = sorted(path.name for path in RUNS.glob("*") if is_run(path))
    return starting(word, names, "a run") or paths(word, ONNX_FILES)


def _recipes(word: str) -> list[Candidate]:
    from distvae.recipes import recipe_names

    return starting(word, recipe_names(), "a recipe") or paths(word, RECIPES)


def _data(word: str) -> list[Candidate]:
    from distvae.data.sources import BUNDLED

    return [*starting(word, BUNDLED, "comes with distvae"), *paths(word)]


def _things(word: str) -> list[Candidate]:
    return [*(each for each in _runs(word) if each.about), *_data(word)]


NAMED: dict[str, Callable[[str], list[Candidate]]] = {
    "RUN": _runs,
    "RECIPE": _recipes,
    "DATA": _data,
    "THING": _things,
    "FILE": paths,
    "PATH": paths,
    "FOLDER": _folders,
}
"""By what help calls a value."""


def _labels(word: str, run: str | None) -> list[Candidate]:
    """Labels of a run, or a list of them; ``NAME=LABEL`` where there are several attributes."""
    from distvae.attributes import is_label

    try:
        attributes = _attributes(run)
    except DistvaeError:
        return []
    cut = re.fullmatch(r'((?:[^",]*|"(?:[^"]|"")*")*,)?(.*)', word, re.DOTALL)
    assert cut is not None
    listed, begun = cut[1] or "", cut[2]
    if is_label(attributes):
        written = [in_list(label) if listed else label for label in attributes[0].labels]
    else:
        written = list(_named_values(attributes, listed, begun))
    return [Candidate(listed + each) for each in written if each.startswith(begun)]


def _named_values(attributes: Iterable[Attribute], listed: str, begun: str) -> Iterator[str]:
    """``NAME=`` of what is not asked for yet, and ``NAME=LABEL`` of what is begun."""
    for each in attributes:
        if f",{each.name}=" in f",{listed}":
            continue
        start = f"{each.name}="
        if not begun.startswith(start):
            yield start
        else:
            yield from (start + in_list(label) for label in each.labels)


def _attributes(name: str | None) -> tuple[Attribute, ...]:
    """What the examples of a run, or of the model of an ONNX file, are given.

    Raises:
        DistvaeError: there is no such run or file, or it is damaged.
    """
    if name is not None and name.endswith(ONNX_FILES):
        from distvae.attributes import label_attribute
        from distvae.export.manifest import KEY, parse_manifest
        from distvae.export.outline import read_outline

        manifest = parse_manifest(read_outline(Path(name)).metadata.get(KEY), name)
        return manifest.attributes or label_attribute(manifest.label_names)
    from distvae.runs import find_run, read_model_record

    return read_model_record(find_run(name).model).given
