"""KL weight and learning rate by tables of steps."""

import dataclasses
import itertools
import json
import math
from typing import Any

import pytest

from distvae.config import ObjectiveConfig, OptimConfig
from distvae.schedules import Part, capacity, gone_on, kl_weight, learning_rate, steps_of, whole

PER_EPOCH = 10
KL = ObjectiveConfig(
    beta=1.0, kl_schedule="linear", kl_warmup_epochs=0.0, kl_start=0.0, kl_cycles=4
)
RATE = OptimConfig(learning_rate=0.01, schedule="constant", warmup_epochs=0.0)
HALF = math.sqrt(0.5)

KL_TABLES: list[tuple[dict[str, Any], list[tuple[int, float]]]] = [
    ({}, [(0, 1.0), (1, 1.0), (1000, 1.0)]),
    ({"beta": 4.0}, [(0, 4.0), (1000, 4.0)]),
    (
        {"kl_warmup_epochs": 2.0},
        [(0, 0.0), (1, 0.05), (10, 0.5), (19, 0.95), (20, 1.0), (21, 1.0), (500, 1.0)],
    ),
    ({"kl_warmup_epochs": 0.5, "beta": 2.0}, [(0, 0.0), (1, 0.4), (4, 1.6), (5, 2.0), (6, 2.0)]),
    (
        {"kl_warmup_epochs": 3.0, "kl_start": 4.0},
        [(0, 4.0), (10, 3.0), (20, 2.0), (29, 1.1), (30, 1.0), (31, 1.0)],
    ),
    ({"kl_warmup_epochs": 2.0, "kl_schedule": "constant", "beta": 0.5}, [(0, 0.5), (7, 0.5)]),
    (
        # four cycles of ten steps: five up, five at the top
        {"kl_warmup_epochs": 4.0, "kl_schedule": "cyclical"},
        [
            *[(start, 0.0) for start in (0, 10, 20, 30)],
            *[(start + 1, 0.2) for start in (0, 10, 20, 30)],
            *[(start + 4, 0.8) for start in (0, 10, 20, 30)],
            *[(start + rest, 1.0) for start in (0, 10, 20, 30) for rest in (5, 7, 9)],
            (40, 1.0),
            (1000, 1.0),
        ],
    ),
    (
        {
            "kl_warmup_epochs": 2.0,
            "kl_schedule": "cyclical",
            "kl_cycles": 1,
            "kl_start": 3.0,
            "beta": 2.0,
        },
        [(0, 3.0), (5, 2.5), (10, 2.0), (15, 2.0), (20, 2.0)],
    ),
]

RATE_TABLES: list[tuple[dict[str, Any], list[tuple[int, float]]]] = [
    ({}, [(0, 1.0), (50, 1.0), (99, 1.0)]),
    ({"warmup_epochs": 0.4}, [(0, 0.2), (1, 0.4), (3, 0.8), (4, 1.0), (5, 1.0), (99, 1.0)]),
    (
        {"schedule": "cosine"},
        [(0, 1.0), (25, 0.5 + HALF / 2), (50, 0.5), (75, 0.5 - HALF / 2), (100, 0.0), (110, 0.0)],
    ),
    (
        {"schedule": "cosine", "warmup_epochs": 2.0},
        [(0, 1 / 21), (10, 11 / 21), (19, 20 / 21), (20, 1.0), (60, 0.5), (100, 0.0)],
    ),
]


@pytest.mark.parametrize(("settings", "table"), KL_TABLES)
def test_kl_weight(settings: dict[str, Any], table: list[tuple[int, float]]) -> None:
    config = dataclasses.replace(KL, **settings)
    found = {step: kl_weight(config, step, PER_EPOCH) for step, _ in table}
    assert found == pytest.approx(dict(table), abs=1e-12)


@pytest.mark.parametrize(("settings", "table"), RATE_TABLES)
def test_learning_rate(settings: dict[str, Any], table: list[tuple[int, float]]) -> None:
    config = dataclasses.replace(RATE, **settings)
    found = {step: learning_rate(whole(config, 100, PER_EPOCH), step) for step, _ in table}
    assert found == pytest.approx({step: 0.01 * rate for step, rate in table}, abs=1e-12)


@pytest.mark.parametrize("epochs", [3280, 6560])
def test_the_eight_stages_of_burda(epochs: int) -> None:
    config = dataclasses.replace(RATE, schedule="burda")
    rates = [
        learning_rate(whole(config, epochs * PER_EPOCH, PER_EPOCH), step)
        for step in range(epochs * PER_EPOCH)
    ]
    stages = [(rate, len(list(steps))) for rate, steps in itertools.groupby(rates)]
    assert [length for _, length in stages] == [3**i * epochs // 328 for i in range(8)]
    assert [rate for rate, _ in stages] == pytest.approx([0.01 * 10 ** (-i / 7) for i in range(8)])


def test_a_capacity_rises_along_a_line_and_stays() -> None:
    config = dataclasses.replace(KL, capacity=8.0, capacity_epochs=2.0)
    found = [capacity(config, step, PER_EPOCH) for step in (0, 1, 10, 19, 20, 21, 900)]
    assert found == pytest.approx([0.0, 0.4, 4.0, 7.6, 8.0, 8.0, 8.0])
    at_once = dataclasses.replace(config, capacity_epochs=0.0)
    assert [capacity(at_once, step, PER_EPOCH) for step in (0, 5)] == [8.0, 8.0]
    assert capacity(KL, 5, PER_EPOCH) == 0.0


@pytest.mark.parametrize(("start", "beta"), [(0.0, 1.0), (4.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("epochs", [0.1, 1.0, 2.55])
def test_a_linear_kl_weight_has_no_jumps(start: float, beta: float, epochs: float) -> None:
    config = dataclasses.replace(KL, kl_start=start, beta=beta, kl_warmup_epochs=epochs)
    per_epoch = 1000
    weights = [kl_weight(config, step, per_epoch) for step in range(3 * per_epoch)]
    slope = abs(beta - start) / (epochs * per_epoch)
    steps = [abs(b - a) for a, b in itertools.pairwise(weights)]
    assert max(steps) <= slope + 1e-9
    assert weights[0] == start
    assert weights[-1] == beta


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_has_no_jumps_and_is_never_zero_while_training(schedule: Any) -> None:
    config = OptimConfig(learning_rate=1.0, schedule=schedule, warmup_epochs=0.5)
    rates = [learning_rate(whole(config, 1000, 200), step) for step in range(1000)]
    assert min(rates) > 0
    assert max(rates) == 1.0
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) < 0.011
    assert (rates[-1] < 1e-5) == (schedule == "cosine")


def test_a_run_shorter_than_its_warm_up_is_all_warm_up() -> None:
    config = OptimConfig(learning_rate=1.0, schedule="cosine", warmup_epochs=5.0)
    rates = [learning_rate(whole(config, 10, PER_EPOCH), step) for step in range(10)]
    assert rates == pytest.approx([(step + 1) / 51 for step in range(10)])


COSINE = OptimConfig(learning_rate=0.01, schedule="cosine", warmup_epochs=1.0)
"""With ten steps of warm-up."""


def extended(parts: Any, step: int, total: int, **changes: Any) -> Any:
    return gone_on(parts, COSINE, dataclasses.replace(COSINE, **changes), step, total, PER_EPOCH)


def test_a_longer_run_goes_on_from_the_rate_where_it_stood() -> None:
    first = whole(COSINE, 110, PER_EPOCH)
    parts = extended(first, 60, 200)
    assert parts == (*first, Part(60, 200, 0.005, "cosine"))
    assert [learning_rate(parts, step) for step in range(60)] == [
        learning_rate(first, step) for step in range(60)
    ]
    found = [learning_rate(parts, step) for step in (60, 130, 200)]
    assert found == pytest.approx([0.005, 0.0025, 0.0])
    rates = [learning_rate(parts, step) for step in range(10, 200)]
    assert all(after <= before for before, after in itertools.pairwise(rates))
    shorter = extended(first, 60, 80)
    assert [learning_rate(shorter, step) for step in (60, 70, 80)] == pytest.approx(
        [0.005, 0.0025, 0.0]
    )


def test_a_rate_that_has_fallen_to_zero_begins_at_a_tenth_and_falls_again_each_time() -> None:
    parts = whole(COSINE, 110, PER_EPOCH)
    for start, end in ((110, 200), (200, 230)):
        parts = extended(parts, start, end)
        found = [learning_rate(parts, step) for step in (start, (start + end) // 2, end)]
        assert found == pytest.approx([0.001, 0.0005, 0.0])
    assert [part.start for part in parts] == [0, 110, 200]
    assert learning_rate(parts, 60) == pytest.approx(0.005)


def test_what_is_gone_on_with_as_it_was_keeps_its_parts() -> None:
    first = whole(COSINE, 110, PER_EPOCH)
    assert extended(first, 60, 110) is first
    assert extended(first, 110, 50) is first  # nothing is left to do
    parts = extended(first, 60, 200)
    assert extended(parts, 60, 200) is parts
    assert extended(parts, 150, 200, warmup_epochs=3.0) is parts
    # a part none of whose steps were kept is forgotten
    assert [part.start for part in extended(parts, 60, 300)] == [0, 60]


def test_a_rate_or_schedule_that_is_changed_begins_where_the_run_stands() -> None:
    first = whole(COSINE, 110, PER_EPOCH)
    assert extended(first, 60, 110, learning_rate=0.02)[-1] == Part(60, 110, 0.02, "cosine")
    assert extended(first, 60, 110, schedule="constant")[-1] == Part(60, 110, 0.005, "constant")
    steady = dataclasses.replace(COSINE, schedule="constant")
    parts = gone_on(whole(steady, 110, PER_EPOCH), steady, steady, 110, 300, PER_EPOCH)
    assert {learning_rate(parts, step) for step in range(10, 300)} == {0.01}


def test_a_run_in_its_warm_up_follows_the_new_settings_as_a_whole() -> None:
    first = whole(COSINE, 110, PER_EPOCH)
    assert extended(first, 5, 300) == whole(COSINE, 300, PER_EPOCH)
    other = dataclasses.replace(COSINE, warmup_epochs=2.0)
    assert extended(first, 5, 110, warmup_epochs=2.0) == whole(other, 110, PER_EPOCH)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "burda"])
@pytest.mark.parametrize("step", [3, 40, 110])
def test_parts_are_the_same_after_json(schedule: Any, step: int) -> None:
    config = dataclasses.replace(COSINE, schedule=schedule, warmup_epochs=0.37)
    parts = gone_on(whole(config, 110, PER_EPOCH), config, config, step, 217, PER_EPOCH)
    again = tuple(Part(**part) for part in json.loads(json.dumps([*map(vars, parts)])))
    assert again == parts
    assert [learning_rate(again, s) for s in range(217)] == [
        learning_rate(parts, s) for s in range(217)
    ]


@pytest.mark.parametrize(("epochs", "most", "steps"), [(3, None, 30), (3, 7, 7), (3, 70, 30)])
def test_the_length_of_a_run(epochs: int, most: int | None, steps: int) -> None:
    assert steps_of(OptimConfig(epochs=epochs, max_steps=most), PER_EPOCH) == steps


@pytest.mark.parametrize(
    ("scale", "batch", "rate"),
    [
        *[("off", 48, 0.01), ("sqrt", 48, 0.02), ("linear", 48, 0.04)],
        *[("sqrt", 3, 0.005), ("linear", 3, 0.0025), ("sqrt", 12, 0.01), ("linear", 12, 0.01)],
    ],
)
def test_a_rate_that_scales_with_the_batch(scale: Any, batch: int, rate: float) -> None:
    config = dataclasses.replace(RATE, batch_size=batch, lr_scale=scale, lr_batch=12)
    parts = whole(config, 100, PER_EPOCH)
    assert [learning_rate(parts, step) for step in (0, 50, 99)] == pytest.approx([rate] * 3)
    # the same run with a batch four times as large goes on at the rate of that
    larger = dataclasses.replace(config, batch_size=4 * batch)
    gone = gone_on(parts, config, larger, 60, 100, PER_EPOCH)
    factor = {"off": 1, "sqrt": 2, "linear": 4}[scale]
    assert learning_rate(gone, 60) == pytest.approx(factor * rate)
