"""What does not go together is refused, with what does."""

import dataclasses
import re
import typing
from typing import Any

import pytest

from distvae.combinations import RULES
from distvae.config import TrainConfig
from distvae.declarations import declared
from distvae.errors import DistvaeError
from distvae.values import Within


def message(**settings: Any) -> str:
    with pytest.raises(DistvaeError) as caught:
        TrainConfig().updated(settings, "the test")
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told", "ways"),
    [
        (
            {"objective": "beta_tc", "prior": "label"},
            "--objective beta_tc does not fit --prior label: it holds q(z) against independent",
            "take --prior normal or take --objective dreg, elbo, iwae, m2, mmd, obedience.",
        ),
        ({"objective": "dip_ii", "prior": "label"}, "--prior label", "take --prior normal or"),
        (
            {"objective": "mmd", "accumulate": 2},
            "--objective mmd does not fit --accumulate 2: its term is one of the whole batch",
            "take --accumulate 1 or take --objective dreg, elbo, iwae, obedience.",
        ),
        ({"free_bits": 0.5, "accumulate": 2}, "--free-bits 0.5", "or leave --free-bits out."),
        ({"capacity": 5.0, "accumulate": 2}, "--capacity 5.0 ", "or leave --capacity out."),
        ({"capacity": 5.0, "free_bits": 0.5}, "--capacity 5.0", "leave --capacity out or"),
        ({"free_bits": 1.0, "objective": "iwae"}, "--objective iwae", "take --objective elbo or"),
        ({"objective": "iwae", "reduction": "mean"}, "--reduction mean", "take --reduction sum or"),
        (
            {"discriminator_steps": 2},
            "--discriminator-steps 2 does not fit --objective elbo: the others have none",
            "take --objective factor or leave --discriminator-steps out.",
        ),
        ({"objective": "dreg", "compile": "on"}, "--compile on", "take --compile off, auto or"),
        (
            {"objective": "factor", "prior": "normal", "importance_samples": 5},
            "--objective factor does not fit --importance-samples 5",
            "take --importance-samples 1 or take --objective dreg, elbo, iwae.",
        ),
        ({"penalty": 3.0}, "--penalty 3.0 ", "leave --penalty out."),
        ({"objective": "mmd", "dip_diagonal": 3.0}, "--dip-diagonal 3.0", "leave --dip-diagonal"),
    ],
)
def test_a_misfit_names_both_and_what_goes_with_either(
    settings: dict[str, Any], told: str, ways: str
) -> None:
    found = message(**settings)
    assert told in found
    assert ways in found


def test_what_is_recorded_of_a_run_is_not_refused() -> None:
    for objective in declared("objective"):
        config = TrainConfig().updated({"objective": objective, "prior": "normal"}, "the test")
        resolved = config.resolved(1)
        assert TrainConfig().updated(resolved.to_flat(), "a run") == resolved
        assert None not in (resolved.objective.beta, resolved.objective.importance_samples)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"beta": 1.5, "importance_samples": 1, "penalty": None}),
        ({"objective": "iwae"}, {"beta": 1.0, "importance_samples": 5}),
        ({"objective": "dreg", "beta": 2.0, "importance_samples": 50}, {"beta": 2.0}),
        ({"objective": "dip_i"}, {"penalty": 10.0, "dip_diagonal": 100.0}),
        ({"objective": "dip_ii", "penalty": 4.0}, {"penalty": 4.0, "dip_diagonal": 4.0}),
        ({"objective": "dip_i", "penalty": 4.0, "dip_diagonal": 0.0}, {"dip_diagonal": 0.0}),
    ],
)
def test_what_is_left_out_is_filled_in(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    flat = TrainConfig().updated({"prior": "normal", **settings}, "the test").resolved(1).to_flat()
    assert {**flat, **expected, **settings} == {**flat, "prior": "normal"}


def test_rules_name_settings_and_values_that_are_there() -> None:
    hints = {
        name: kind
        for concern in dataclasses.fields(TrainConfig)
        for name, kind in typing.get_type_hints(concern.type).items()
    }
    for rule in RULES:
        fitting = () if isinstance(rule.fitting, Within) else rule.fitting
        for name, values in ((rule.name, rule.values or ()), (rule.other, fitting)):
            words = {value for value in values if isinstance(value, str)}
            assert words <= set(re.findall(r"\w+", str(hints.get(name, "")))), rule
        assert rule.name in hints
        assert rule.fitting, rule
