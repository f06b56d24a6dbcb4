"""Numbers that make no sense are refused by name."""

import math
import sys
import typing
from typing import Annotated, Any

import pytest

from distvae.config import TrainConfig, ranges, refuse_out_of_range
from distvae.errors import DistvaeError
from distvae.values import Within, named


def bounded(kind: Any) -> tuple[Any, Within] | None:
    """A type without its bounds, and its bounds."""
    kind = named(kind)
    if typing.get_origin(kind) is not Annotated:
        return None
    plain, bound = typing.get_args(kind)
    return (plain, bound) if isinstance(bound, Within) else None


BOUNDED = {name: found for name, kind in ranges().items() if (found := bounded(kind))}
NUMBERS = {name: bound for name, (plain, bound) in BOUNDED.items() if plain in (int, float)}
WIDTHS = ("hidden", "discriminator", "block_channels")
DECAYS = ("discriminator_betas", "critic_betas")
LEVELS = ("fsq_levels",)


def told(settings: dict[str, Any]) -> str:
    with pytest.raises(DistvaeError) as raised:
        TrainConfig().updated(settings, "a test")
    return str(raised.value)


def beyond(name: str, bound: float, step: int) -> float:
    """The number beside a bound, of a whole number the next one.

    No subnormal one: for a processor that training has told to flush them it would be 0.
    """
    if BOUNDED[name][0] is int:
        return bound + step
    return math.nextafter(bound, step * math.inf) if bound else step * sys.float_info.min


def test_every_number_has_a_range() -> None:
    numbers = {
        name
        for name, kind in ranges().items()
        if any(word in str(kind) for word in ("int", "float")) and "Literal" not in str(kind)
    }
    assert numbers == set(BOUNDED)
    assert set(BOUNDED) - set(NUMBERS) == {*WIDTHS, *DECAYS, *LEVELS}


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_number_below_its_range_is_refused_by_the_name_of_its_flag(name: str) -> None:
    bound = NUMBERS[name]
    wrong = float(bound.least) if bound.open else beyond(name, bound.least, -1)
    with pytest.raises(DistvaeError, match=rf"^--{name.replace('_', '-')} is .*(least|above) "):
        refuse_out_of_range({name: wrong})


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_number_above_its_range_is_refused_and_the_most_is_not(name: str) -> None:
    bound = NUMBERS[name]
    refuse_out_of_range({name: math.nextafter(bound.most, 0) if bound.below else bound.most})
    wrong = float(bound.most) if bound.below else beyond(name, bound.most, 1)
    with pytest.raises(DistvaeError, match=rf"^--{name.replace('_', '-')} is .*(most|below) "):
        refuse_out_of_range({name: wrong})


@pytest.mark.parametrize(
    "name", sorted(name for name, (plain, _) in BOUNDED.items() if plain is float)
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(name: str, value: float) -> None:
    assert f"{name} is {value} in a test" in told({name: value})
    with pytest.raises(DistvaeError, match=f"--{name.replace('_', '-')} is {value}"):
        refuse_out_of_range({name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--epochs is 0: expected at least 1"),
        ({"levels": 257}, "--levels is 257: expected at most 256"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0: expected above 0"),
        ({"ema": 1.0}, "--ema is 1.0: expected below 1"),
        ({"beta": -1e-9}, "--beta is -1e-09: expected at least 0"),
    ],
)
def test_a_refusal_says_what_was_expected(settings: dict[str, Any], message: str) -> None:
    assert told(settings).startswith(message)


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("value", [(2**21,), (8,) * 2000, (), (64, 0)])
def test_widths_are_bounded(name: str, value: tuple[int, ...]) -> None:
    message = told({name: value})
    assert f"--{name.replace('_', '-')} is " in message
    assert "of them" in message
    assert len(message) < 400


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("value", [(), (5, 1), (5, 2**17), (5,) * 65])
def test_levels_are_bounded(name: str, value: tuple[int, ...]) -> None:
    with pytest.raises(DistvaeError, match=f"--{name.replace('_', '-')} is "):
        refuse_out_of_range({name: value})


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("value", [(), (0.9,), (0.9, 0.99, 0.999), (-0.1, 0.9), (0.9, math.nan)])
def test_decays_are_two_below_one(name: str, value: tuple[float, ...]) -> None:
    with pytest.raises(DistvaeError, match=f"--{name.replace('_', '-')} is .*of them"):
        refuse_out_of_range({name: value})
