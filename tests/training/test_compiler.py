"""A compiler that does not work: what is said of it, and that nothing is left."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distvae.errors import DistvaeError
from distvae.training import compilation, compiler, native
from tests.conftest import Command
from tests.training.conftest import Settings, trained

pytestmark = pytest.mark.skipif(not native.compiler(), reason="no C++ compiler")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TORCHDYNAMO_DISABLE", "1", "it is switched off, as by TORCH_COMPILE_DISABLE"),
        ("TORCHINDUCTOR_CACHE_DIR", "taken", "FileExistsError"),
        ("PATH", "", "there is no C++ compiler"),
    ],
)
def test_a_run_that_is_to_be_compiled_says_why_it_cannot(
    name: str,
    value: str,
    said: str,
    distvae: Command,
    environment: dict[str, str],
    shapes: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (here / "taken").write_text("no folder")
    monkeypatch.setitem(environment, name, value)
    ended = distvae("train", "--data", shapes, "--compile", "on", "--output", "run")
    assert ended.code == 2
    assert said in ended.err
    assert "or take --compile off" in ended.err
    assert "Traceback" not in ended.err
    assert not (here / "run").exists()


def test_one_that_need_not_goes_on_and_says_so(
    settings: Settings,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    monkeypatch.setattr(compilation, "COMPILE_SECONDS", 0.0)
    trained(settings(compile="auto", max_steps=2), here / "run")
    assert json.loads((here / "run/config.json").read_text())["settings"]["compile"] == "off"
    assert capsys.readouterr().out.count("torch's compiler does not work") == 1


def test_a_later_failure_of_the_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own errors alone: those of a step stay what they are."""

    def backend(graph: object, inputs: object) -> None:
        raise OSError(28, "No space left on device")

    double = torch.compile(lambda row: row * 2.0, backend=backend)

    def update(turns: object, batches: object, row: Tensor) -> Tensor:
        if len(row) > 2:
            raise ValueError("too long")
        found: Tensor = double(row)
        return found

    told = compiler.telling(update)  # type: ignore[arg-type]
    with pytest.raises(DistvaeError, match=r"OSError.*No space left on device"):
        told((), [], torch.ones(2))
    with pytest.raises(ValueError, match=r"^too long$"):
        told((), [], torch.ones(3))
