"""What a command line asks for of several attributes."""

import shlex

import numpy as np
import pytest

from distvae.asking import example_flag, parse_asked, usual_rows, written
from distvae.attribute_values import asked_values
from distvae.attributes import Attribute
from distvae.errors import DistvaeError
from distvae.export import sample
from distvae.text import in_list

DIGIT = Attribute("digit", tuple(map(str, range(10))), missing=True)
COLOUR = Attribute("colour", ("red", "blue", "dark, red", "7"), missing=True)
ANGLE = Attribute("angle", mean=45.0, scale=20.0, missing=True)
ALL = (DIGIT, COLOUR, ANGLE)
NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("digit=7,colour=red", [[7, 0, NAN]]),
        ("colour=blue", [[NAN, 1, NAN]]),
        ("angle=30.5,digit=3", [[3, NAN, 30.5]]),
        ("digit=1-2,colour=red,blue", [[1, 0, NAN], [1, 1, NAN], [2, 0, NAN], [2, 1, NAN]]),
        ("digit=3,1", [[3, NAN, NAN], [1, NAN, NAN]]),
        ('digit=4,"colour=dark, red"', [[4, 2, NAN]]),
        ('colour=red,"dark, red",digit=0', [[0, 0, NAN], [0, 2, NAN]]),
        ('digit=4, colour = "dark, red"', [[4, 2, NAN]]),
        (" digit = 5 , colour = blue ", [[5, 1, NAN]]),
        ("angle=-1e2,0", [[NAN, NAN, -100], [NAN, NAN, 0]]),
        ("blue", [[NAN, 1, NAN]]),
        ("5", [[5, NAN, NAN]]),
        ("0.5", [[NAN, NAN, 0.5]]),
        ("red,4", [[4, 0, NAN]]),
    ],
)
def test_every_combination_is_a_row(text: str, rows: list[list[float]]) -> None:
    asked = parse_asked(text, ALL)
    np.testing.assert_array_equal(asked.rows, np.array(rows, np.float32))
    assert len(asked.names) == len(rows)
    images = asked.given(3)(np.arange(3 * len(rows)))
    np.testing.assert_array_equal(images, np.repeat(np.array(rows, np.float32), 3, axis=0))
    assert bool(asked.notes) == ("=" not in text)


def test_rows_are_called_by_what_they_are_given() -> None:
    assert parse_asked("digit=7,colour=red,angle=30.5", ALL).names == (
        "digit=7, colour=red, angle=30.5",
    )
    assert parse_asked("blue", ALL).notes == ("label blue is taken as colour=blue",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digit=7,color=red", r"attribute color is not in this model: .*colour\?"),
        ("digit=12", r"digit: label 12 is not in this model: it knows 0\.\.9"),
        ("colour=rad", r"colour: label rad .*Did you mean red\?|colour: label rad"),
        ("angle=steep", "attribute angle is 'steep': expected a finite number"),
        ("angle=nan", "expected a finite number"),
        ("7", r"label 7 is that of digit and colour: .*Say which: digit=7 or colour=7"),
        ("green", "label green is not in this model: this model is given digit, colour, angle"),
        ("digit=7,digit=8", "names digit twice"),
        ("digit=9-3", "digit: label range 9-3 is empty"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(text: str, message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        parse_asked(text, ALL)


def test_an_attribute_that_all_examples_have_must_be_given() -> None:
    kind = Attribute("kind", ("a", "b"))
    assert parse_asked("kind=b,colour=red", (kind, COLOUR)).rows.tolist() == [[1, 0]]
    with pytest.raises(DistvaeError, match="attribute kind is missing"):
        parse_asked("colour=red", (kind, COLOUR))
    with pytest.raises(DistvaeError, match="attribute kind is missing"):
        asked_values({"kind": ["a", None]}, (kind, COLOUR))


def test_one_attribute_needs_no_name() -> None:
    assert parse_asked("0.5,2", (ANGLE,)).rows.tolist() == [[0.5], [2.0]]
    assert parse_asked("7", (DIGIT,)).rows.tolist() == [[7.0]]
    with pytest.raises(DistvaeError, match=r"digit: label x is not in this model"):
        parse_asked("x", (DIGIT,))


def test_usually_a_row_has_a_label_and_the_others_in_turn() -> None:
    small = Attribute("small", ("x", "y"))
    asked = usual_rows((DIGIT, COLOUR, ANGLE, small), most=3)
    assert asked.names == ("digit=0", "digit=1", "digit=2")
    values = asked.given(10)(np.arange(30))
    assert values[:, 0].tolist() == [0.0] * 10 + [1.0] * 10 + [2.0] * 10
    assert values[10:20, 3].tolist() == [0, 1] * 5
    assert values[:10, 1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert (values[:, 2] == 45).all()
    assert usual_rows((ANGLE,)).rows.tolist() == [[45.0]]


def test_words_of_values() -> None:
    values = np.array([[7, NAN, 0.1], [NAN, 1, NAN]], np.float32)
    assert written(values, ALL) == [["7", ""], ["", "blue"], ["0.100000001", ""]]
    assert example_flag((DIGIT, ANGLE)) == "--label digit=0,angle=45.0"


def test_none_in_a_list_is_not_known() -> None:
    asked = asked_values({"digit": [7, None], "colour": "red", "angle": [None, None]}, ALL)
    np.testing.assert_array_equal(asked, np.array([[7, 0, NAN], [NAN, 0, NAN]], np.float32))


@pytest.mark.parametrize("name", ["a,b", " lead", 'x"y', '"all"', "p=q", "0-3", "it's", "plain"])
def test_what_is_told_to_type_asks_for_that_label(name: str) -> None:
    given = (Attribute("kind", ("other", name)), Attribute("angle", mean=-4.5))
    told = example_flag((Attribute("kind", (name, "other")), *given[1:]))
    for text in (shlex.split(told)[-1], f"kind={in_list(name)},angle=-4.5"):
        np.testing.assert_array_equal(parse_asked(text, given).rows, [[1, -4.5]])
    # the script beside an export reads it in the same way
    facts = [{**vars(each), "labels": [*each.labels]} for each in given]
    np.testing.assert_array_equal(sample.rows_of(shlex.split(told)[-1], facts), [[1, -4.5]])
