"""Labels by name, number and range."""

import pytest

from distvae.errors import DistvaeError
from distvae.labels import label_index, natural_order, parse_labels

CLOTHES = ("t-shirt", "trouser", "coat", "ankle boot")
DIGITS = tuple("0123456789")
SWAPPED = ("7", "5", "x")


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
        ("1,,2", "label  is not"),
        ("", "label  is not"),
        ("a-b", "label a is not"),
    ],
)
def test_a_wrong_list_is_refused(text: str, message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        parse_labels(text, DIGITS)
