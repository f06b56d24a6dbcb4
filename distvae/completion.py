"""`distvae completion`: what a shell may add to a command line, by the declarations of `--help`."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from distvae.commands import COMMANDS, EVERYWHERE
from distvae.completed_values import Candidate, starting, values_of
from distvae.errors import DistvaeError
from distvae.flags import HELP, Flag, Form, Group, Positional, groups_of
from distvae.shell_scripts import SCRIPTS
from distvae.usage import ALL, first_clause, helps_of
from distvae.values import Word

SPECIAL = re.compile(r"([^\w@%+=:,./~-])")
"""What a shell reads as something else where it is not quoted."""
ShellName = Annotated[str, Word("NAME", tuple(SCRIPTS))]


@dataclass(frozen=True)
class CompletionConfig:
    """Print the script that makes a shell complete commands, flags and their values.

    Values are networks, priors and other choices, recipes after --config, runs in runs/, the labels
    of a run after --label, and paths.
    """

    EXAMPLES = (
        "# in ~/.bashrc; in ~/.zshrc with zsh in place of bash:",
        'eval "$(distvae completion bash)"',
        "# for fish, once:",
        "distvae completion fish > ~/.config/fish/completions/distvae.fish",
    )

    shell: Annotated[ShellName | None, Positional] = None
    """The shell: bash, zsh or fish."""
    line: str | None = None
    """Print what the last word of this command line may become, as the scripts ask."""
    breaks: str = ""
    """With --line: signs at which bash begins a word of its own."""


class Line(NamedTuple):
    """A command line up to the cursor."""

    words: tuple[str, ...]
    """Without their quotes; the last is the one that is typed, and may be empty."""
    quoted: bool
    """Whether the last is within quotes."""


def complete(config: CompletionConfig) -> None:
    """Print a script, or what a command line may become.

    Raises:
        DistvaeError: no shell was named.
    """
    if config.shell is None:
        known = " or ".join(f"distvae completion {name}" for name in SCRIPTS)
        raise DistvaeError("distvae completion needs to know the shell", f"expected {known}")
    if config.line is None:
        sys.stdout.write(SCRIPTS[config.shell])
        return
    line = read_line(config.line)
    for found in dict.fromkeys(candidates(line.words[1:])):
        sys.stdout.write(f"{_written(found, line, config)}\n")


def read_line(text: str) -> Line:
    """The words of a command line, as a shell parts them.

    >>> read_line("distvae sample --label 'a b").words
    ('distvae', 'sample', '--label', 'a b')
    >>> read_line("distvae sample ").words
    ('distvae', 'sample', '')
    """
    for closing in ("", '"', "'"):
        try:
            words = shlex.split(text + closing)
        except ValueError:
            continue
        begins = not closing and bool(re.search(r"(?<!\\)\s$", text))
        return Line((*words, *([""] if begins or not words else [])), bool(closing))
    return read_line(text.rstrip("\\"))


def candidates(words: Sequence[str]) -> list[Candidate]:
    """What the last of the words after ``distvae`` may become."""
    *before, word = words or [""]
    name = next((" ".join(before[:n]) for n in (2, 1) if " ".join(before[:n]) in COMMANDS), None)
    if name is None:
        return list(_commands(before, word))
    return _of_command(name, before[len(name.split()) :], word)


def _commands(before: Sequence[str], word: str) -> Iterator[Candidate]:
    """Commands, or the second words of those that have two."""
    for name, command in COMMANDS.items():
        parts = name.split()
        if parts[: len(before)] == [*before] and len(parts) > len(before):
            part = parts[len(before)]
            if part.startswith(word):
                whole = len(parts) == len(before) + 1
                yield Candidate(part, command.about if whole else "has commands of its own")
    if word.startswith("-") and not before:
        yield from starting(word, ["--help", "--version"])


def _of_command(name: str, before: Sequence[str], word: str) -> list[Candidate]:
    """What a word may become behind a command and the words before it."""
    command = COMMANDS[name]
    kind = getattr(importlib.import_module(command.module), command.config)
    groups = list(groups_of(kind()))
    flags = {each: flag for group in groups for flag in group.flags for each in flag.names}
    last = before[-1] if before else ""
    if last in HELP:
        return starting(word, [group.field for group in groups if group.field])
    by_place = _by_place(before, flags)
    run = by_place[0] if by_place else None
    typed, equals, value = word.partition("=")
    if equals and typed in _valued(flags):
        found = values_of(_valued(flags)[typed], value, run)
        return [each._replace(word=f"{typed}={each.word}") for each in found]
    form = _valued(flags).get(last)
    if form is not None and (form.alone is None or not word.startswith("-")):
        return values_of(form, word, run)
    if not word.startswith("-"):
        own = [flag for group in groups for flag in group.flags if not flag.names]
        there = own[len(by_place) :] or [flag for flag in own[-1:] if flag.several]
        if there and (form := there[0].form):
            found = values_of(form, word, run)
            if found or word:
                return found
    return list(_flags(kind, groups, before, word))


def _valued(flags: Mapping[str, Flag]) -> dict[str, Form]:
    """How the values of flags are written, of those that take one."""
    everywhere = dict(each.partition(" ")[::2] for each in EVERYWHERE)
    shared = {
        name: Form(told, str, told, tuple(told.split("|")))
        for name, told in everywhere.items()
        if told
    }
    return {**{name: flag.form for name, flag in flags.items() if flag.form}, **shared}


def _by_place(words: Sequence[str], flags: Mapping[str, Flag]) -> list[str]:
    """The words that are no flag and no value of one."""
    valued, found, awaited = _valued(flags), [], False
    for word in words:
        is_flag = word.startswith("-")
        if not is_flag and not awaited:
            found.append(word)
        awaited = is_flag and word in valued
    return found


def _flags(
    kind: Any, groups: Sequence[Group], before: Sequence[str], word: str
) -> Iterator[Candidate]:
    """Flags that do not stand there yet; where none is begun, those that most people set."""
    common = () if word else getattr(kind, "COMMON", ())
    for group in groups:
        helps = helps_of(type(group.holder))
        for flag in group.flags:
            if (
                flag.names
                and (not common or flag.field in common)
                and not {*flag.names} & {*before}
            ):
                off = flag.form is None and flag.default is True
                name = flag.names[0].replace("--", "--no-", 1) if off else flag.names[0]
                yield from starting(word, [name], first_clause(helps[flag.field]))
    if not common:
        for each, about in EVERYWHERE.items():
            yield from starting(word, [each.partition(" ")[0]], about)
    if hasattr(kind, "COMMON"):
        yield from starting(word, [ALL], "every flag, in full")


def _written(found: Candidate, line: Line, config: CompletionConfig) -> str:
    """A candidate as the shell takes it: bash a rest in quotes, the others all of it, explained."""
    if config.shell != "bash":
        return f"{found.word}\t{found.about}".rstrip("\t")
    cut = max((line.words[-1].rfind(sign) + 1 for sign in config.breaks), default=0)
    rest = found.word[cut:]
    return rest if line.quoted else SPECIAL.sub(r"\\\1", rest)
