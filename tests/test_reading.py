"""Files that others wrote or damaged: what is read, what is refused, and how briefly."""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from distvae.errors import DistvaeError, shortened, shown
from distvae.files import write_json
from distvae.reading import parse_json, read_bytes, read_json, read_lines, read_record
from distvae.values import REST, Within, coerce


@dataclass(frozen=True)
class Part:
    size: Annotated[int, Within(1, 9)]


@dataclass(frozen=True)
class Whole:
    name: str
    part: Part
    parts: tuple[Part, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    kind: Literal["a", "b"] = "a"
    share: float | None = None
    numbers: dict[str, int | str] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict, metadata=REST)


def test_a_record_is_read_by_its_types() -> None:
    content = {
        "name": "x",
        "part": {"size": 3},
        "parts": [{"size": 1}, {"size": 2}],
        "pair": [4, 5],
        "share": 1,
        "numbers": {"one": 1, "two": "2"},
        "weight": 0.5,
    }
    found = coerce("", content, Whole, "a.json")
    parts = Part(1), Part(2)
    numbers: dict[str, int | str] = {"one": 1, "two": "2"}
    assert found == Whole("x", Part(3), parts, (4, 5.0), "a", 1.0, numbers, {"weight": 0.5})
    assert type(found.share) is float


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 3}, "name is 3 in a.json: expected text"),
        ({"name": None}, "name is None in a.json: expected text"),
        ({"part": []}, "part is [] in a.json: expected names and their values"),
        ({"part": {}}, "part in a.json lacks size"),
        ({"part": {"size": True}}, "part.size is True in a.json: expected a whole number"),
        ({"part": {"size": 10}}, "part.size is 10 in a.json: expected a whole number, from 1 to 9"),
        ({"parts": [{"size": 1}, 7]}, "parts[1] is 7 in a.json"),
        ({"pair": [1]}, "pair is [1] in a.json: expected a list of 2 values"),
        ({"kind": ["a"]}, "kind is ['a'] in a.json: one of a, b"),
        ({"share": "nan"}, "share is 'nan' in a.json: expected a finite number"),
        ({"share": math.inf}, "expected a finite number"),
        (
            {"numbers": {"one": [1]}},
            "numbers.one is [1] in a.json: expected a whole number or",
        ),
        ({"weight": "much"}, "weight is 'much' in a.json: expected a finite number"),
    ],
)
def test_another_type_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    content = {"name": "x", "part": {"size": 3}, **change}
    with pytest.raises(DistvaeError) as caught:
        coerce("", content, Whole, "a.json")
    assert words in str(caught.value)
    with pytest.raises(DistvaeError, match=r"^a.json lacks name, part$"):
        coerce("", {}, Whole, "a.json")
    with pytest.raises(DistvaeError, match=r"^a.json holds \[\]: expected names"):
        coerce("", [], Whole, "a.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "Expecting value"),
        (b'{"step": 1', "Expecting"),
        (b"\xff\xfe{}", "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b"[" * 40 + b"]" * 40, "nested more than 32 deep"),
        (b'{"a": ' * 40 + b"1" + b"}" * 40, "nested more than 32 deep"),
        (b"[" + b"0," * 1_000_000 + b"0]", "more than 1,000,000 values"),
        (b'"' + b"a" * 200_000 + b'"', "a text of 200,000 characters"),
        (b'{"a": NaN}', "'NaN', which is no finite number"),
        (b"[-Infinity]", "no finite number"),
        (b"[1e999]", "no finite number"),
        (b"[9223372036854775808]", "more than 64 bits"),
        (b"[" + b"9" * 10_000 + b"]", "more than 64 bits"),
        (b'{"a": 1, "b": 2, "a": 1}', "'a' twice"),
        (b'["\\u0000"]', "a NUL"),
        (b'{"\\u0000": 1}', "a NUL"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b"{} {}", "Extra data"),
    ],
)
def test_what_is_no_json_or_beyond_bounds_is_refused_briefly(
    tmp_path: Path, text: bytes, words: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DistvaeError, match=r"a\.json is damaged") as caught:
        read_json(path)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_what_is_within_bounds_is_read() -> None:
    content = {"name": "café \U0001f600", "numbers": [-(2**63) + 1, 2**63 - 1, 1e308, -0.0, None]}
    assert parse_json(json.dumps(content), "a") == content
    assert parse_json(json.dumps(content, ensure_ascii=False).encode(), "a") == content


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "large").write_bytes(bytes(11))
    for name, words in {
        "none": "is missing",
        "folder": "is a folder",
        "pipe": "no regular file",
        "loop": "cannot be read: Too many levels of symbolic links",
        "x" * 300: "cannot be read: File name too long",
        "large": "11 bytes, and 10 are read at most",
    }.items():
        with pytest.raises(DistvaeError) as caught:
            read_bytes(tmp_path / name, most=10)
        assert words in str(caught.value)


def test_a_digest_is_of_the_content_and_not_of_the_layout(tmp_path: Path) -> None:
    path, content = tmp_path / "a.json", {"name": "café", "part": {"size": 3}, "share": 0.1}
    write_json(path, content)
    assert read_json(path) == content
    assert read_record(path, Whole).share == 0.1
    written = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(written.items())), indent=None))
    assert read_json(path) == content
    path.write_text(json.dumps({**written, "share": 0.2}))
    with pytest.raises(DistvaeError, match=r"damaged, or was edited.*delete its line sha256"):
        read_json(path)
    del written["sha256"]
    path.write_text(json.dumps({**written, "share": 0.2}))
    assert read_json(path) == {**content, "share": 0.2}


@dataclass(frozen=True)
class Line:
    step: int
    values: dict[str, float] = field(metadata=REST)


def test_damaged_lines_are_passed_over_and_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [b'{"step": 1, "loss": 2.5}', b"\xff\xfe", b'{"step": "x"}', b'{"step": 2}', b'{"st']
    path.write_bytes(b"\n".join(lines))
    damaged: list[str] = []
    found = list(read_lines(path, Line, damaged))
    assert found == [(lines[0] + b"\n", Line(1, {"loss": 2.5})), (lines[3] + b"\n", Line(2, {}))]
    assert [words.partition("line ")[2][:1] for words in damaged] == ["2", "3", "5"]


def test_messages_are_brief() -> None:
    assert shortened("a" * 400) == "a" * 400
    assert shortened("abc" + "-" * 1000 + "xyz", 11) == "abc ... xyz"
    deep: list[Any] = [1]
    for _ in range(60):
        deep = [deep] * 10
    for value in (deep, {"a": deep}, "x" * 10**6, list(range(10**6))):
        assert len(shown(value)) <= 100
    error = DistvaeError("thing " * 10**5, "expected " * 10**5, "next " * 10**5)
    assert len(str(error)) < 1300
    assert str(error).startswith("thing thing")
