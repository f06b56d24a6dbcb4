"""distvae where numpy, onnxruntime and pillow are installed and nothing else, or one thing less."""

import sys
from pathlib import Path

import numpy as np
import pytest

from distvae.export import Sampler
from distvae.packages import reporting_missing_packages
from tests.conftest import CHECKOUT, Command, Ended, assert_refused, run_process
from tests.export.conftest import Tiny

BLOCKED = """
import sys
for name in {names}:
    sys.modules[name] = None
from distvae.cli import run_and_exit
run_and_exit({words})
"""


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    return Tiny().decoder(tmp_path / "decoder.onnx")


def run(python: Path | str, code: str, folder: Path, *words: object) -> Ended:
    """Run lines of Python, or the command where there are none."""
    given = ["-c", code] if code else ["-m", "distvae.cli", *words]
    return run_process([python, *given], folder, {"PATH": "", "PYTHONPATH": str(CHECKOUT)})


@pytest.mark.slow
def test_the_command_draws_what_it_draws_elsewhere(
    python: Path, decoder: Path, tmp_path: Path, command: Command
) -> None:
    words = ("sample", decoder, "--labels", "square,0", "--count=4", "--seed", 3)
    bare = run(python, "", tmp_path, *words, "--output", "bare.png")
    assert (bare.code, bare.out, bare.err) == (0, f"8 images from {decoder} in bare.png\n", "")
    assert command(*words, "--output", "full.png").code == 0
    assert (tmp_path / "bare.png").read_bytes() == (tmp_path / "full.png").read_bytes()
    for output in ("arrays.npz", "array.npy", "folder"):
        ended = run(python, "", tmp_path, "sample", decoder, "--count", 2, "--output", output)
        assert (ended.code, ended.err) == (0, "")
    expected = Sampler(decoder).sample(count=2 * 3)
    np.testing.assert_array_equal(np.load(tmp_path / "arrays.npz")["images"].shape, expected.shape)
    np.testing.assert_array_equal(
        np.load(tmp_path / "array.npy"), Sampler(decoder).sample([0, 1, 2], 2)
    )
    assert len(list((tmp_path / "folder").iterdir())) == 6


@pytest.mark.slow
def test_the_command_teaches_and_refuses(python: Path, decoder: Path, tmp_path: Path) -> None:
    ended = run(python, "", tmp_path, "sample", "--help")
    assert (ended.code, ended.err) == (0, "")
    for word in ("distvae sample", "Draw images", "--label ", "0-9", "--temperature", "npz"):
        assert word in ended.out
    for words, message in (
        (("--colour", "red"), "--colour red"),
        (("--count", "many"), "'many'"),
        (("--verify", "never"), "auto"),
        (("--label", "7"), "label 7"),
        (("--seed",), "--seed"),
        (("--count", "0"), "--count is 0"),
    ):
        assert_refused(run(python, "", tmp_path, "sample", decoder, *words), message)


@pytest.mark.slow
def test_other_commands_say_what_they_need(python: Path, decoder: Path, tmp_path: Path) -> None:
    for command in ("train", "evaluate", "fit-prior"):
        ended = run(python, "", tmp_path, command)
        assert_refused(ended, f"distvae {command} needs the package", "pip install")
    for command in ("export", "inspect"):  # which need none to find that there is no run
        assert_refused(run(python, "", tmp_path, command), "no run in", "distvae train")
    assert run(python, "", tmp_path, "--version").code == 0
    assert "export" in run(python, "", tmp_path, "--help").out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words", "package"),
    [
        ("torch", ["train"], "torch"),
        ("accelerate", ["train", "--output", "new"], "accelerate>="),
        ("onnx", ["export"], "onnx>="),
        ("onnxscript", ["export"], "onnxscript>="),
        ("sklearn", ["evaluate", "--metrics", "downstream"], "scikit-learn>="),
        ("sklearn", ["fit-prior"], "scikit-learn>="),
        ("yaml", ["train", "--config", "mnist-cvae"], "pyyaml>="),
    ],
)
def test_a_missing_package_is_told_in_one_line(
    finished: Path,
    tmp_path: Path,
    environment: dict[str, str],
    module: str,
    words: list[str],
    package: str,
) -> None:
    before = sorted(finished.rglob("*"))
    given = words if words[0] == "train" else [words[0], str(finished), *words[1:]]
    code = BLOCKED.format(names=[module], words=given)
    found = run_process([sys.executable, "-c", code], tmp_path, environment)
    assert_refused(found, f"distvae {words[0]} needs the package", f"pip install '{package}")
    assert sorted(finished.rglob("*")) == before
    assert not (tmp_path / "new").exists()


def test_only_whole_packages_are_told() -> None:
    for name in ("distvae.nothing", "numpy.nothing", "", None):
        with (
            pytest.raises(ModuleNotFoundError, match="as it is"),
            reporting_missing_packages("train"),
        ):
            raise ModuleNotFoundError("as it is", name=name)
