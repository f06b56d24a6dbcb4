"""Which library multiplies the matrices of a run."""

import dataclasses
import json
from pathlib import Path

import pytest

from distvae.files import write_json
from distvae.platform import BLAS, ONEDNN, multiplies, multiplying_by, onednn_is_exact
from distvae.training.products import MARGIN, measured
from distvae.training.run import run_training
from tests.training.conftest import Settings, trained


def library_of(run: Path) -> str:
    library: str = json.loads((run / "config.json").read_text("utf-8"))["world"]["library"]
    return library


@pytest.mark.parametrize("usual", [BLAS, ONEDNN])
def test_another_library_must_be_faster_by_a_margin(usual: str) -> None:
    with multiplying_by(usual):
        usual = multiplies()  # a torch without the switch has one library
        other = BLAS if usual == ONEDNN else ONEDNN
        choice = measured([(12, 16, 64), (12, 64, 3)], usual, other)
    assert min(choice.seconds.values()) > 0
    assert (choice.library == other) == (
        choice.seconds[usual] > MARGIN * choice.seconds[other] or other == usual
    )


@pytest.mark.skipif(not onednn_is_exact(), reason="oneDNN rounds on this processor")
def test_runs_of_a_machine_and_a_resumed_one_multiply_alike(
    settings: Settings, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = here / "cache"
    short = settings(max_steps=4, checkpoint_every=2, cache_dir=str(cache))
    first = trained(short, here / "first")
    (kept,) = cache.glob("products/*.json")
    assert library_of(first) == json.loads(kept.read_text("utf-8"))["library"]
    other = ONEDNN if library_of(first) == BLAS else BLAS
    write_json(kept, {"library": other, "seconds": {}})
    assert library_of(trained(short, here / "second")) == other
    name = "oneDNN" if other == ONEDNN else "MKL"
    assert f"products by {name}" in capsys.readouterr().out.replace("\n", " ")
    longer = dataclasses.replace(short, optim=dataclasses.replace(short.optim, max_steps=6))
    run_training(longer, first, resume=True)
    assert multiplies() == library_of(first) != other
    kept.write_text("no JSON", "utf-8")
    third = trained(short, here / "third")
    assert library_of(third) == json.loads(kept.read_text("utf-8"))["library"]
