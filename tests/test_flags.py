"""The words of a command line and the settings they make, against what each should be."""

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from distvae.errors import DistvaeError
from distvae.flags import Alone, Positional, given, parse
from distvae.values import Aliases, Within


@dataclass(frozen=True)
class Colours:
    """What is painted with."""

    hue: Literal["red", "blue"] | None = None
    """Which one; left out: 100 % of it."""
    shades: Annotated[tuple[Annotated[int, Within(1, 9)], ...], Within(1, 5)] | None = None
    """How dark."""
    channels: Literal[1, 3] = 3
    """Numbers of a pixel."""


GREY = Colours(channels=1)


@dataclass(frozen=True)
class Paint:
    """Paint a wall.

    Nothing is painted twice.
    """

    wall: Annotated[str | None, Positional] = None
    """Which one."""
    coats: Annotated[int, Within(-10, 10)] = 2
    """How many."""
    wet_time: Annotated[float | None, Aliases(("--wet",))] = 1.5
    """Hours."""
    names: tuple[str, ...] = ()
    """Of the painters."""
    dry: bool = False
    """Whether to wait."""
    after: Annotated[str | None, Alone("rain")] = None
    """When."""
    clean: bool | None = None
    """Whether to clean up."""
    colours: Colours = field(default_factory=Colours)


def paint(*words: str, default: Paint | None = None) -> Paint:
    return parse(Paint, words, "wall paint", default)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Paint()),
        (["north", "--coats", "3"], Paint("north", 3)),
        (["--coats=-3", "north"], Paint("north", -3)),
        (["--wet_time", "-2.5"], Paint(wet_time=-2.5)),
        (["--wet", "1e3"], Paint(wet_time=1000.0)),
        (["--wet-time=None"], Paint(wet_time=None)),
        (["--names", "ann,bob=b_c"], Paint(names=("ann", "bob=b_c"))),
        (["--names=a_b"], Paint(names=("a_b",))),
        (["--dry", "north"], Paint("north", dry=True)),
        (["--clean"], Paint(clean=True)),
        (["--clean", "off", "north"], Paint("north", clean=False)),
        (["--clean=none"], Paint()),
        (["--hue", "blue"], Paint(colours=Colours("blue"))),
        (["--shades", "(4,2,)"], Paint(colours=Colours(shades=(4, 2)))),
        (["--coats", "1", "--channels", "1", "--coats", "4"], Paint(None, 4, colours=GREY)),
        (["--after", "--dry"], Paint(dry=True, after="rain")),
        (["--after", "noon"], Paint(after="noon")),
    ],
)
def test_words_become_settings(words: list[str], expected: Paint) -> None:
    assert paint(*words) == expected


def test_flags_change_the_settings_that_they_are_given() -> None:
    base = Paint("south", 7, dry=True, colours=Colours("red", (1, 2)))
    assert paint(default=base) == base
    assert paint("--no-dry", "--hue", "None", default=base) == Paint(
        "south", 7, colours=Colours(None, (1, 2))
    )


def test_what_was_given_is_told_from_what_was_left_out() -> None:
    words = ["--help", "--wet=1.5", "--hue", "None", "--after"]
    assert given(Paint, words, "wall paint") == {"wet_time": 1.5, "hue": None, "after": "rain"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--coat", "3"], "--coat is not known. Did you mean --coats?"),
        (["--coats", "many"], "--coats is 'many': expected a whole number"),
        (["--coats", "2.5"], "--coats is '2.5': expected a whole number"),
        (["--coats", "11"], "--coats is 11: expected at most 10"),
        (["--wet", "long"], "--wet-time is 'long': expected a number"),
        (["--shades", "1,x"], "--shades is '1,x': expected a whole number, or several with commas"),
        (["--hue", "bleu"], "--hue is 'bleu': expected one of red, blue. Did you mean blue?"),
        (["--channels", "None"], "--channels is 'None': expected one of 1, 3"),
        (["--clean=maybe"], "--clean is 'maybe': expected on or off"),
        (["--names"], "--names is given no value: expected --names TEXT,..."),
        (["--names", "--dry"], "--names is given no value: expected --names TEXT,..."),
        (["north", "south"], "south is not known"),
        (["--dry=yes"], "--dry"),
        (["--shades", "5,", "4", "3", "--dry"], "A list has commas and no spaces: --shades 5,4,3."),
        (
            ["north", "--names", "ann", "bob"],
            "bob is not known. A list has commas and no spaces: --names ann,bob",
        ),
        (["--gpu", "0"], "A GPU is taken where there is one"),
    ],
)
def test_what_is_wrong_is_told_with_the_next_step(words: list[str], told: str) -> None:
    with pytest.raises(DistvaeError) as raised:
        paint(*words)
    assert told in str(raised.value)
    assert str(raised.value).endswith("wall paint --help lists the flags.")


@pytest.mark.parametrize("columns", [30, 80, 300])
def test_help_tells_of_every_flag(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        paint("--coats", "many", "--help", default=Paint(dry=True, names=("a", "b")))
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert told.startswith("usage: wall paint [-h] [OPTIONS] [WALL]\n\nPaint a wall.\n\n")
    for words in (
        "[WALL]",
        "--coats INT",
        "--wet-time FLOAT, --wet FLOAT",
        "--names TEXT,...",
        "(default: a,b)",
        "--no-dry ",
        "--clean [on|off]",
        "colours options",
        "What is painted with.",
        "--hue {red,blue}",
        "--shades INT,...",
        "--channels {1,3}",
        "100 % of it",
    ):
        assert words in told
    widths = {len(line) for line in told.splitlines() if line[:1] in ("╭", "│", "╰")}
    assert widths == {min(max(columns, 40), 120)}


def test_boxes_are_of_signs_that_the_output_has(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "distvae.cli", "fit-prior", "--help"],
        env={**environment, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    boxes: Any = [line for line in ended.stdout.decode("latin-1").splitlines() if "+-" in line[:2]]
    assert len(boxes) == 4
    assert b"\\u" not in ended.stdout
