"""What becomes of words on a terminal, on a page of Markdown and in the name of a file."""

import io
import unicodedata
from html import unescape
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from distvae.consoles import PlainConsole
from distvae.terminal import table
from distvae.text import (
    DIGITS,
    LONGEST,
    counted,
    file_name,
    is_right,
    markdown,
    markdown_table,
    printable,
    rounded,
)

ANY_TEXT = st.text(st.characters(), max_size=100)
AWKWARD = (
    *("", ".", "..", "...", "-", "-rf", " ", " a", "a ", "a.", "/", "\\", "x/../../../pwned"),
    *("C:\\x", "a:b", "a\0b", "\0", "a\nb", "\x1b[2J", "CON", "con", "nul.txt", "NUL ", "com1"),
    *("Com¹.x", "lpt9", "a" * 10_000, "a" * 9_999, "é" * 10_000, "日" * 64, "日" * 65, "\ud800"),
    *("tulip", "Tulip", "TULIP", "tulip ", "tu/lip", "tu_lip", "tu:lip", "a-b", "0-2", "3,1"),
    *(
        "é",
        "e\u0301",
        "É",
        "E\u0301",
        "ß",
        "ẞ",
        "ss",
        "SS",
        "ﬁ",
        "fi",
        "K",
        "\u212a",
        "k",
        "µ",
        "μ",
    ),
    *("\u202etxt", "~", ".hidden", "a b", "a*b", "a?b", 'a"b'),
    *(file_name("Tulip"), file_name("Tulip").lower(), f"x-{'0' * DIGITS}", "0" * DIGITS),
)
PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
DEVICES = {"con", "prn", "aux", "nul", *PORTS}


def assert_one_part_of_a_path(name: str) -> None:
    assert name
    assert len(name) <= LONGEST + 1 + DIGITS
    assert len(name.encode()) <= 200, "file systems end at 255 bytes, and callers add to it"
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert not set(name) & set('<>:"/\\|?*\0')
    assert not name.startswith((".", "-", " "))
    assert not name.endswith((".", " "))
    assert not any(unicodedata.category(sign)[0] == "C" for sign in name)
    assert name.partition(".")[0].strip().lower() not in DEVICES


def as_a_file_system_may_see_it(name: str) -> str:
    """Without regard to case or to the form of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


@pytest.mark.parametrize("label", AWKWARD, ids=lambda label: repr(label[:20]))
def test_an_awkward_label_makes_the_name_of_a_file(label: str) -> None:
    assert_one_part_of_a_path(file_name(label))
    assert file_name(label) == file_name(label)


def test_different_labels_make_different_files_where_case_and_accents_do_not_count() -> None:
    names = {as_a_file_system_may_see_it(file_name(label)) for label in AWKWARD}
    assert len(names) == len(set(AWKWARD))


@given(ANY_TEXT, ANY_TEXT)
@example("Tulip", "tulip")
def test_any_two_labels_make_two_files(one: str, other: str) -> None:
    names = [as_a_file_system_may_see_it(file_name(label)) for label in (one, other)]
    assert_one_part_of_a_path(file_name(one))
    assert (names[0] == names[1]) == (one == other)


@pytest.mark.parametrize(
    "label", ["7", "tulip", "ankle boot", "0-9", "3,1,4", "été", "日本", "a.b"]
)
def test_an_ordinary_label_is_its_own_name(label: str) -> None:
    assert file_name(label) == label


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tulip", "tulip"),
        ("日本 é 😀", "日本 é 😀"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b\u2029c\x85", r"a\u2028b\u2029c\x85"),
        ("\udc80", r"\udc80"),
        ("\0", r"\x00"),
    ],
)
def test_what_drives_a_terminal_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_nothing_printable_drives_a_terminal(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in shown)
    assert printable(shown) == shown
    shown.encode()


def test_a_console_shows_what_would_drive_the_terminal_in_lines_titles_and_cells() -> None:
    out = io.StringIO()
    console = PlainConsole(file=out, force_terminal=True, width=200, markup=False, highlight=False)
    evil = "\x1b]0;owned\x07\x9b2J\r[red]x[/red]"
    console.print(evil)
    console.print(table(evil, [(evil, evil)]))
    console.print(table("", [(evil, "b"), ("c", evil)], header=True))
    told = out.getvalue()
    assert told.count(r"\x1b]0;owned\x07\x9b2J\r[red]x[/red]") == 6
    assert not set(told) & set("\x9b\x07\r")
    assert "\x1b]" not in told


def test_markdown_is_text_and_no_markup() -> None:
    for text in (
        "<script>x</script>",
        "**a** _b_ `c` ~~d~~",
        "[x](http://y)",
        "a|b",
        "# &lt; \\",
        "$x$",
    ):
        html = MarkdownIt("commonmark").enable("table").render(f"# {markdown(text)}")
        assert unescape(html) == f"<h1>{text}</h1>\n"


@given(ANY_TEXT)
def test_markdown_stays_on_its_line_and_opens_no_tag(text: str) -> None:
    shown = markdown(text)
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set("<>@")
    assert "://" not in shown


def test_a_cell_cannot_end_its_row() -> None:
    found = markdown_table(("label", "n"), [("a|b\n| c", "1")])
    assert found == "| label | n |\n| --- | ---: |\n| a\\|b\\\\n\\| c | 1 |\n"


def test_numbers_for_people() -> None:
    assert [counted(count, "test images") for count in (0, 1, 2000)] == [
        *("0 test images", "1 test image", "2,000 test images")
    ]
    assert [rounded(each) for each in (0.641026, 16.0, 1234.5, 1e6)] == [
        *("0.64", "16", "1,234.5", "1,000,000")
    ]
    assert is_right(["-1.5 ± 0.2", "", "99 %", "< 1e-99"])
    assert not is_right(["12", "left out"])
