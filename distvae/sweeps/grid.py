"""The runs of a sweep: every combination of the values that are set."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from distvae.arguments import Train, training
from distvae.errors import DistvaeError, nearest, shown
from distvae.flags import Flag, groups_of

OWN = ("output", "resume", "overwrite", "rewind-schedule", "init-from")
"""Flags that say where a run goes and how it begins: the same for all runs."""
SEED = "seed"
MOST = 10_000
"""Runs."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    name: str
    """Of its folder."""
    values: dict[str, str]
    """What is set, by flag without hyphens in front."""
    words: tuple[str, ...]
    """For `distvae train`, without the folder."""


def read_settings(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Values by flag, of texts such as ``beta=1,2,4``.

    Values that hold commas themselves are parted by semicolons: ``hidden=256,128;512``.

    Raises:
        DistvaeError: a text has another form, or its flag is unknown or no matter of a sweep.
    """
    found = dict[str, tuple[str, ...]]()
    for text in texts:
        name, equals, values = text.partition("=")
        parted = [each.strip() for each in values.split(";" if ";" in values else ",")]
        if not equals or not all(parted):
            raise DistvaeError(
                f"--set {shown(text)} sets nothing",
                "expected a flag of distvae train and its values",
                "As in: --set beta=1,2,4",
            )
        name = flag_named(name)
        if name in found:
            raise DistvaeError(
                f"--set {name} was given twice", f"name all its values in one: {text}"
            )
        found[name] = tuple(dict.fromkeys(parted))
    return found


def flag_named(name: str) -> str:
    """A flag of `distvae train` that may be set, by its name or its keyword.

    Raises:
        DistvaeError: there is none, or it is no matter of a sweep.
    """
    name = name.strip().removeprefix("--").replace("_", "-")
    known = _flags()
    if name in known and name not in OWN:
        return name
    why = "it is the same for all runs" if name in OWN else "distvae train has no such flag"
    near = "" if name in OWN else nearest(name, [each for each in known if each not in OWN])
    raise DistvaeError(f"--set {name} is not possible", why, near)


def points(settings: dict[str, tuple[str, ...]], common: Sequence[str]) -> list[Point]:
    """Every combination, the last setting fastest; each is checked as `distvae train` would.

    Args:
        settings: values by flag.
        common: words that all runs have.

    Raises:
        DistvaeError: there are none or too many, or a run would be refused.
    """
    if not settings or not all(settings.values()):
        raise DistvaeError(
            "distvae sweep needs to know what differs",
            "expected at least one --set NAME=VALUE,VALUE",
            "As in: distvae sweep --set beta=1,2,4 --set seed=0,1,2",
        )
    count = 1
    for values in settings.values():
        count *= len(values)
    if count > MOST:
        raise DistvaeError(f"this sweep has {count:,} runs", f"expected at most {MOST:,}")
    known, taken, result = _flags(), set[str](), []
    for values in itertools.product(*settings.values()):
        chosen = dict(zip(settings, values, strict=True))
        own = [word for name, value in chosen.items() for word in _words(known[name], value)]
        name = _free(_folder_name(chosen), taken)
        try:
            training([*common, *own])
        except DistvaeError as error:
            raise DistvaeError(f"the run {name} is refused", str(error)) from error
        result.append(Point(name, chosen, (*common, *own)))
    return result


def _flags() -> dict[str, Flag]:
    """Those of distvae train by name."""
    return {
        name.removeprefix("--"): flag
        for group in groups_of(Train())
        for flag in group.flags
        for name in flag.names
    }


def _words(flag: Flag, value: str) -> list[str]:
    """A flag and its value; of a switch one word."""
    name = flag.names[0]
    if flag.form is not None:
        return [f"{name}={value}"]
    if value.lower() not in ("on", "off", "true", "false"):
        raise DistvaeError(f"--set {name.removeprefix('--')}={value}", "expected on or off")
    return [name if value.lower() in ("on", "true") else f"--no-{name.removeprefix('--')}"]


def _folder_name(chosen: dict[str, str]) -> str:
    """Fit for a folder: what is set, without signs that paths and shells have."""
    name = "_".join(f"{name}={value}" for name, value in chosen.items())
    return re.sub(r"[^\w.=+-]+", "-", name)[:200].strip("-.")


def _free(name: str, taken: set[str]) -> str:
    """The name, or where it is taken the same with a number."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    result = next(each for each in numbered if each not in taken)
    taken.add(result)
    return result
