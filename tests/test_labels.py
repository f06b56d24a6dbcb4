"""Labels by name, number and range."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from distvae.errors import DistvaeError
from distvae.labels import (
    label_flag,
    label_index,
    label_indices,
    natural_order,
    numbers_of,
    parse_labels,
    refuse_twins,
)

CLOTHES = ("t-shirt", "trouser", "coat", "ankle boot")
DIGITS = tuple("0123456789")
SWAPPED = ("7", "5", "x")
TWELVE = tuple(str(number) for number in range(1, 13))
GAPS = ("0", "2", "3", "5", "-4")
AS_TEXT = ("0", "1", "10", "11", "2", "3")
PADDED = ("001", "010", "002")
AWKWARD = (
    "a,b",
    "c",
    "0-2",
    "a-b",
    "a",
    "b",
    " c",
    'say "hi"',
    '"c"',
    "",
    "x",
    "x-y",
    "y",
    "y-z",
    "z",
)


def test_names_are_ordered_as_people_count() -> None:
    counted = [str(number) for number in range(12)]
    assert sorted(sorted(counted), key=natural_order) == counted
    mixed = ["", "1", "02", "2", "10", "Zebra", "a", "a1b2", "a1b10", "a2", "a" * 3 + "9" * 9999]
    assert sorted(mixed[4:] + mixed[:4], key=natural_order) == mixed


@pytest.mark.parametrize(
    ("label", "names", "index"),
    [
        (0, CLOTHES, 0),
        (3, CLOTHES, 3),
        ("2", CLOTHES, 2),
        ("coat", CLOTHES, 2),
        ("ankle boot", CLOTHES, 3),
        ("t-shirt", CLOTHES, 0),
        ("5", SWAPPED, 1),
        ("7", SWAPPED, 0),
        ("2", SWAPPED, 2),
        (1, SWAPPED, 1),
        *((digit, DIGITS, int(digit)) for digit in DIGITS),
    ],
)
def test_a_label_is_found(label: int | str, names: tuple[str, ...], index: int) -> None:
    assert label_index(label, names) == index


@pytest.mark.parametrize(
    ("label", "names", "message"),
    [
        (12, DIGITS, r"label 12 is not in this model: it knows 0\.\.9"),
        (-1, DIGITS, r"label -1 is not in this model: it knows 0\.\.9"),
        ("10", DIGITS, r"label 10 is not in this model"),
        ("", DIGITS, r"is not in this model"),
        ("1.0", DIGITS, r"label 1\.0 is not in this model"),
        ("trousers", CLOTHES, r"0\.\.3 \(t-shirt, trouser, coat, .*Did you mean trouser\?"),
        (5, SWAPPED, r"label 5 is not in this model: it knows 0\.\.2"),
        (0, (), r"label 0 is not in this model: it was trained without labels"),
        ("a", (), r"trained without labels"),
    ],
)
def test_an_unknown_label_is_refused(
    label: int | str, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DistvaeError, match=message):
        label_index(label, names)


def test_a_message_does_not_list_a_thousand_names() -> None:
    with pytest.raises(DistvaeError) as caught:
        label_index(1000, [f"class {number}" for number in range(1000)])
    assert "0..999" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "names", "indices"),
    [
        ("7", DIGITS, [7]),
        ("0-9", DIGITS, list(range(10))),
        ("3,1,4,1", DIGITS, [3, 1, 4, 1]),
        (" 3 , 5-7 ", DIGITS, [3, 5, 6, 7]),
        ("4-4", DIGITS, [4]),
        ("coat,0-1", CLOTHES, [2, 0, 1]),
        ("t-shirt", CLOTHES, [0]),
        ("trouser-ankle boot", CLOTHES, [1, 2, 3]),
        ("7-5", SWAPPED, [0, 1]),
        ("1-3", TWELVE, [0, 1, 2]),
        ("12,10", TWELVE, [11, 9]),
        ("0-3", GAPS, [0, 1, 2]),
        ("-4-2", GAPS, [4, 0, 1]),
        ("-4", GAPS, [4]),
        ("2-10", AS_TEXT, [4, 5, 2]),
        ("0-3", AS_TEXT, [0, 1, 4, 5]),
        ("1-10", PADDED, [0, 2, 1]),
        ("001-2", PADDED, [0, 2]),
        ("a,b", AWKWARD, [0]),
        ('"a,b",c', AWKWARD, [0, 1]),
        (' "a,b" , "c" ', AWKWARD, [0, 1]),
        ("0-2", AWKWARD, [2]),
        ("c,0-2", AWKWARD, [1, 2]),
        ("a-b", AWKWARD, [3]),
        ("c,a,b", AWKWARD, [1, 4, 5]),
        (" c", AWKWARD, [6]),
        ('" c",c', AWKWARD, [6, 1]),
        ('say "hi",c', AWKWARD, [7, 1]),
        ('"say ""hi""",c', AWKWARD, [7, 1]),
        ('"c"', AWKWARD, [8]),
        ("""""\"c""\",c""", AWKWARD, [8, 1]),
        ("", AWKWARD, [9]),
        ('"",c', AWKWARD, [9, 1]),
        ("1-2", AWKWARD, [1, 2]),
        ("a - b", AWKWARD, [4, 5]),
    ],
)
def test_a_list_of_labels(text: str, names: tuple[str, ...], indices: list[int]) -> None:
    assert parse_labels(text, names) == indices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7-3", "label range 7-3 is empty"),
        ("0-10", "label 10 is not"),
        ("-1", "label -1 is not"),
        ("3-", "label 3- is not"),
        ("1,,2", "label '' is not"),
        ("", "label '' is not"),
        ("a-b", "label a is not"),
    ],
)
def test_a_wrong_list_is_refused(text: str, message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        parse_labels(text, DIGITS)


@pytest.mark.parametrize("names", [TWELVE, GAPS, AS_TEXT, PADDED, DIGITS])
def test_where_all_names_are_whole_numbers_a_number_is_its_name(names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        assert label_index(name, names) == index
        assert label_index(int(name), names) == index
        assert parse_labels(name, names) == [index]
    assert numbers_of(names).tolist() == [int(name) for name in names]
    assert label_indices([int(name) for name in names], names).tolist() == list(range(len(names)))


@pytest.mark.parametrize("names", [SWAPPED, CLOTHES, ("1", "01"), ("1.0", "2"), ("+1", "2")])
def test_elsewhere_a_number_is_an_index(names: tuple[str, ...]) -> None:
    assert [label_index(index, names) for index in range(len(names))] == list(range(len(names)))
    assert numbers_of(names).tolist() == list(range(len(names)))


@pytest.mark.parametrize("label", [0, 13, "0", "13", "01x", -1])
def test_an_index_is_no_label_where_names_are_other_numbers(label: int | str) -> None:
    with pytest.raises(
        DistvaeError, match=rf"label {label} is not in this model: it knows 1, 2, 3"
    ):
        label_index(label, TWELVE)


def test_a_name_in_another_unicode_form_is_found_unless_there_are_two() -> None:
    assert label_index("\u00e9t\u00e9", ("a", "e\u0301te\u0301")) == 1
    with pytest.raises(DistvaeError, match="is not in this model"):
        label_index("\u00e9e\u0301", ("e\u0301\u00e9", "e\u0301e\u0301"))


def test_a_range_that_can_be_read_in_two_ways_is_refused() -> None:
    assert parse_labels('x,"x-y",y', AWKWARD) == [10, 11, 12]
    with pytest.raises(DistvaeError, match='from "x" to "y-z" or from "x-y" to "z"'):
        parse_labels("x-y-z", AWKWARD)


@pytest.mark.parametrize(
    "labels",
    [
        *([10, 2], (10, 2), ["10", "2"], np.array([10, 2]), np.array([10, 2], np.uint8)),
        *(torch.tensor([10, 2]), torch.tensor([10, 2], dtype=torch.int16), np.array(["10", "2"])),
        *(pd.Series([10, 2]), pd.Series([10, 2], dtype="Int64"), pd.Series(["10", "2"])),
        *(pd.Series([10, 2], index=[5, 3]), pd.Categorical(["10", "2"]), pd.Index([10, 2])),
        *(
            [np.int64(10), np.uint8(2)],
            [torch.tensor(10), np.array(2)],
            np.array([10, "2"], object),
        ),
        *(
            range(10, 1, -8),
            (label for label in (10, "2")),
            ["10", 2],
            pd.Series(["10", "2"]).array,
        ),
    ],
    ids=lambda labels: f"{type(labels).__name__}-{getattr(labels, 'dtype', '')}",
)
def test_labels_in_any_dress(labels: Any) -> None:
    found = label_indices(labels, TWELVE)
    assert found.dtype == np.int64
    assert found.tolist() == [9, 1]


@pytest.mark.parametrize(
    "label", [7, "7", np.int32(7), np.str_("7"), torch.tensor(7), np.array(7), np.array("7")]
)
def test_one_label_alone(label: Any) -> None:
    assert label_indices(label, TWELVE).tolist() == [6]


@pytest.mark.parametrize(
    "empty", [[], (), np.array([]), torch.tensor([]), pd.Series([], dtype=int)]
)
def test_no_labels_are_none(empty: Any) -> None:
    assert label_indices(empty, TWELVE).tolist() == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (True, r"label True \(bool\) is no label: expected a whole number or a name"),
        ([1, False], r"label False \(bool\)"),
        (np.True_, "label True"),
        (torch.tensor([True, False]), "label True"),
        (np.array([True]), "label True"),
        (1.0, r"label 1\.0 \(float\)"),
        ([2.0], r"label 2\.0 \(float\)"),
        (np.float32(2), r"label 2\.0 \(float\)"),
        (torch.tensor([1.0, 2.0]), r"label 1\.0 \(float\)"),
        (torch.tensor([1.0], dtype=torch.bfloat16), r"label 1\.0 \(float\)"),
        (pd.Series([1, None]), "label 1.0"),
        (pd.Series([1, None], dtype="Int64"), "label <NA>"),
        (np.array([1.5]), "label 1.5"),
        ([None], "label None"),
        ([[1, 2]], r"label \[1, 2\] \(list\)"),
        (np.array([[1, 2]]), "labels have 2 dimensions.*argmax"),
        (torch.eye(3, dtype=torch.int64), "labels have 2 dimensions"),
        (pd.DataFrame({"a": [1]}), "labels have 2 dimensions"),
        (b"1", r"labels are b'1' \(bytes\)"),
        ({1: 2}, r"labels are \{1: 2\} \(dict\)"),
        ({1, 2}, "labels are .*set"),
        (object(), "labels are <object"),
        ([13], "label 13 is not"),
        ([-1], "label -1 is not"),
        (torch.tensor([1, 99]), "label 99 is not"),
        ([2**70], "is not in this model"),
        (["9" * 5000], "is not in this model"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_label_is_refused(labels: Any, message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        label_indices(labels, TWELVE)


def test_names_that_stand_twice_are_refused() -> None:
    refuse_twins(("a", "b"), "x")
    with pytest.raises(DistvaeError, match=r"two labels of x are called 'b'.* 1 and 3 need"):
        refuse_twins(("a", "b", "c", "b"), "x")


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("7", "--label 7"),
        ("a b", "--label 'a b'"),
        ("-x", "--label=-x"),
        ("", "--label ''"),
        ("it's", "--label 'it'\"'\"'s'"),
    ],
)
def test_a_label_is_quoted_for_a_shell(name: str, flag: str) -> None:
    assert label_flag(name) == flag


def test_a_label_is_asked_for_as_it_is_shown() -> None:
    names = ["tulip", "\u202erev", "\x1b[31mred", r"\x1b[31mred\x07"]
    assert parse_labels(r"\u202erev,\x1b[31mred", names) == [1, 2]
    assert parse_labels(r"\x1b[31mred\x07", [*names, "\x1b[31mred\x07"]) == [3]  # as it is written
    with pytest.raises(DistvaeError, match="is not in this model"):
        parse_labels(r"\x07a", ["\x07a\x07", "b"])
