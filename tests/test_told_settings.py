"""Settings of a run as flags that can be typed again."""

import shlex

from distvae.arguments import training
from distvae.told_settings import as_flag, name_of, told, unusual_flags


def test_what_is_told_of_a_run_asks_for_the_same_again() -> None:
    words = (
        "--data mnist --hidden 64,32 --streaming --compile on --keep-best --clip 2 --beta 4 "
        "--label-column 'the label' --capture off --keep 5"
    )
    settings = training(shlex.split(words)).config.to_flat()
    again = training(shlex.split(" ".join(unusual_flags(settings)))).config.to_flat()
    assert again == settings


def test_settings_for_people() -> None:
    assert name_of("latent_dim") == "--latent-dim"
    assert [told("clip", None), told("hidden", (64, 32)), told("keep_best", True)] == [
        *("left out", "64,32", "on")
    ]
    assert told("data", "/home/somebody/photos") == "photos"
    assert as_flag("streaming", True) == "--streaming"
