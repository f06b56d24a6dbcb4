"""Settings by keyword of Python are those of the command line, with its checks and hints."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch

from distvae.arguments import CALL, Train, training, training_called
from distvae.errors import DistvaeError
from distvae.flags import Alone, Positional, parse
from distvae.keywords import filled, signature


@dataclass(frozen=True)
class Inner:
    widths: tuple[int, ...] = (8,)
    kind: Literal["one", "two"] = "one"
    rate: float | None = 0.5


@dataclass(frozen=True)
class Outer:
    run: Annotated[str | None, Positional] = None
    wet: bool = False
    again: Annotated[str | None, Alone("newest")] = None
    keep: bool | None = None
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"widths": [4, 5]}, "--widths 4,5"),
        ({"widths": "4,5"}, "--widths 4,5"),
        ({"widths": np.int32(4)}, "--widths 4"),
        ({"kind": "two", "rate": 2}, "--kind two --rate 2"),
        ({"rate": torch.tensor(0.25)}, "--rate 0.25"),
        ({"rate": None}, "--rate None"),
        ({"wet": True, "keep": False}, "--wet --keep off"),
        ({"again": True}, "--again"),
        ({"again": False}, ""),
        ({"again": Path("here")}, "--again here"),
    ],
)
def test_keywords_are_the_flags(keywords: dict[str, Any], words: str) -> None:
    assert filled(Outer, keywords, "call") == parse(Outer, words.split(), "command")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"lr": 1}, "Did you mean learning_rate?"),
        ({"epoch": 1}, "Did you mean epochs?"),
        ({"bf16": True}, "Did you mean mixed_precision='bf16'?"),
        ({"device": "cuda"}, "CUDA_VISIBLE_DEVICES"),
        ({"network": "con"}, "Did you mean conv?"),
        ({"network": "cnn"}, "Did you mean conv?"),
        ({"dropout": 0.1}, "weight_decay, free_bits and beta regularize"),
        ({"epochs": 2.5}, "expected a whole number"),
        ({"epochs": "many"}, "expected a whole number"),
        ({"overwrite": 1}, "expected true or false"),
        ({"epochs": 0}, "expected"),
        ({"config": "mnist-tutorail"}, "Did you mean mnist-tutorial?"),
    ],
)
def test_what_is_wrong_is_told_with_a_hint(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(DistvaeError) as caught:
        training_called(keywords)
    assert message in str(caught.value)


def test_a_run_is_asked_for_as_on_the_command_line() -> None:
    keywords = {"config": "mnist-tutorial", "epochs": 3, "hidden": [32], "seed": np.int64(5)}
    words = ["--config", "mnist-tutorial", "--epochs", "3", "--hidden", "32", "--seed", "5"]
    assert training_called(keywords) == training(words)


def test_a_signature_names_every_flag_with_its_default() -> None:
    told = signature(Train, "data")
    config = training([]).config
    assert next(iter(told.parameters)) == "data"
    assert set(config.to_flat()) < set(told.parameters)
    assert told.parameters["latent_dim"].default == 16
    assert told.bind("photos", epochs=3).arguments == {"data": "photos", "epochs": 3}
    assert CALL == "distvae.train"
