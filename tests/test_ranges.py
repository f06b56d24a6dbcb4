"""Numbers that make no sense are refused by name."""

import math
from typing import Any

import pytest

from distvae.config import TrainConfig
from distvae.errors import DistvaeError
from distvae.ranges import ABOVE_ZERO, LEAST, MOST, NOT_NEGATIVE, WIDTHS

ANY_NUMBER = {"seed", "split_seed"}
WRONG: dict[str, Any] = {
    **{name: least - 1 for name, least in LEAST.items()},
    **dict.fromkeys(ABOVE_ZERO, 0.0),
    **dict.fromkeys(NOT_NEGATIVE, -1e-9),
    **dict.fromkeys(WIDTHS, (64, 0)),
    "ema": 1.0,
}


def told(settings: dict[str, Any]) -> str:
    with pytest.raises(DistvaeError) as raised:
        TrainConfig().updated(settings, "a test")
    return str(raised.value)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_number_out_of_range_is_refused_by_the_name_of_its_flag(name: str) -> None:
    assert told({name: WRONG[name]}).startswith(f"--{name.replace('_', '-')} is ")


@pytest.mark.parametrize("name", [*ABOVE_ZERO, *NOT_NEGATIVE, "ema"])
def test_nan_is_refused(name: str) -> None:
    assert f"--{name.replace('_', '-')} is nan" in told({name: math.nan})


@pytest.mark.parametrize("name", MOST)
def test_a_number_above_the_most_is_refused(name: str) -> None:
    fitting = {"likelihood": "categorical", name: MOST[name]}
    assert vars(TrainConfig().updated(fitting, "a test").model)[name] == MOST[name]
    assert "expected at most" in told({**fitting, name: MOST[name] + 1})


def test_no_number_is_without_a_range() -> None:
    kinds = TrainConfig.__annotations__
    numbers = {
        name
        for concern in kinds.values()
        for name, kind in concern.__annotations__.items()
        if any(word in str(kind) for word in ("int", "float")) and "Literal" not in str(kind)
    }
    assert numbers - set(WRONG) == ANY_NUMBER
    assert set(WRONG) <= numbers
