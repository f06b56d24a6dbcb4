"""Numbers that make no sense are refused by name."""

import math
from typing import Any

import pytest

from distvae.config import TrainConfig
from distvae.errors import DistvaeError
from distvae.ranges import (
    ABOVE_ZERO,
    DECAYS,
    LARGEST,
    LEAST,
    MOST,
    NOT_NEGATIVE,
    WIDTHS,
    refuse_out_of_range,
)

ANY_NUMBER = {"seed", "split_seed"}
WRONG: dict[str, Any] = {
    **{name: least - 1 for name, least in LEAST.items()},
    **dict.fromkeys(ABOVE_ZERO, 0.0),
    **dict.fromkeys(NOT_NEGATIVE, -1e-9),
    **dict.fromkeys(WIDTHS, (64, 0)),
    **dict.fromkeys(DECAYS, (0.9, 1.0)),
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
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(name: str, value: float) -> None:
    assert f"{name} is {value} in a test" in told({name: value})
    with pytest.raises(DistvaeError, match=f"--{name.replace('_', '-')} is {value}"):
        refuse_out_of_range({**TrainConfig().to_flat(), name: value})


@pytest.mark.parametrize("name", sorted({*WRONG, *ANY_NUMBER} - {*WIDTHS, *DECAYS, "ema"}))
def test_a_number_above_the_most_is_refused(name: str) -> None:
    most = MOST.get(name, LARGEST)
    batch = 2**20 if name == "accumulate" else 1
    settings = {**TrainConfig().to_flat(), "streaming": True, "accumulate": 1, "batch_size": batch}
    refuse_out_of_range({**settings, name: most})
    with pytest.raises(DistvaeError, match=f"--{name.replace('_', '-')} is .*at most {most}"):
        refuse_out_of_range({**settings, name: most + 1})


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("value", [(2**21,), (8,) * 2000])
def test_widths_are_bounded(name: str, value: tuple[int, ...]) -> None:
    message = told({name: value})
    assert f"--{name} is " in message
    assert len(message) < 400


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("value", [(), (0.9,), (0.9, 0.99, 0.999), (-0.1, 0.9), (0.9, math.nan)])
def test_decays_are_two_below_one(name: str, value: tuple[float, ...]) -> None:
    with pytest.raises(DistvaeError, match=f"--{name.replace('_', '-')} is .*two decays"):
        refuse_out_of_range({**TrainConfig().to_flat(), name: value})


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
