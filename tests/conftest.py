"""The command line as its users start it, and images and runs so small that it ends in seconds."""

import copy
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# read when torch and datasets are first imported, so set before any test module is: tests run side
# by side, and threads of several processes that wait for each other are slower than one each
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
import pytest
from PIL import Image

from tests.warm import Started, begin, nest

HANG = 900
"""Seconds after which a process counts as one that never ends; no test depends on speed."""
CHECKOUT = Path(__file__).resolve().parent.parent
SHAPES = ("circle", "cross", "square")
SIDE = 8
TRAIN_IMAGES, TEST_IMAGES = 120, 51
OPERATORS = "torch.onnx._internal.exporter._registration"
"""The module of torch's table of operators."""
SMALL = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--max-steps", "2")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]
"""(words of a command line) -> how it ended."""
Start = Callable[..., Started]
"""(words of a command line) -> the process."""
COMMAND = (sys.executable, "-m", "distvae.cli")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than processors, as some tests wait; ``--maxprocesses`` bounds them."""
    return (os.cpu_count() or 1) + 1


def pytest_runtest_setup() -> None:
    """Build the table of operators once; torch does so for each export, in half of its time."""
    registry: Any = getattr(sys.modules.get(OPERATORS), "ONNXRegistry", None)
    build = getattr(registry, "from_torchlib", None)
    if build is not None and not hasattr(build, "__wrapped__"):
        kept = functools.cache(build)

        def copied(*given: Any, **named: Any) -> Any:
            table = copy.copy(kept(*given, **named))
            table.functions = {name: [*known] for name, known in table.functions.items()}
            return table

        registry.from_torchlib = staticmethod(functools.wraps(build)(copied))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run tells how many tests were skipped, and why."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    reports = reporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    why = ", ".join(f"{count} as {reason}" for reason, count in reasons.most_common())
    reporter.write_line(f"{len(reports)} tests skipped{': ' if why else ''}{why}")


def draw_shape(name: str, random: np.random.Generator) -> Image.Image:
    """A grey shape on black, somewhere on 8 x 8 pixels."""
    row, column = random.integers(2, SIDE - 2, 2)
    y, x = np.mgrid[:SIDE, :SIDE] - np.array([row, column])[:, None, None]
    inside = {
        "circle": np.hypot(y, x).round() == 2,
        "cross": (np.minimum(abs(y), abs(x)) == 0) & (np.maximum(abs(y), abs(x)) <= 2),
        "square": np.maximum(abs(y), abs(x)) <= 1,
    }[name]
    return Image.fromarray((inside * random.integers(150, 256)).astype(np.uint8))


def write_shapes(root: Path, count: int, seed: int) -> Path:
    """``count`` pictures in each of three class folders."""
    random = np.random.default_rng(seed)
    for name in SHAPES:
        (root / name).mkdir(parents=True)
        for number in range(count):
            draw_shape(name, random).save(root / name / f"{number:03d}.png")
    return root


def assert_refused(ended: Ended, *words: str) -> None:
    """Exit code 2 and one line that names what was found, expected and to be done."""
    assert ended.code == 2, ended.out + ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def listing(folder: Path) -> dict[Path, str]:
    """Every file of a folder and a digest of what it holds."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 grey pictures of 8 x 8 pixels in train/ and 51 in test/, three classes."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(root / "train", TRAIN_IMAGES // 3, 0)
    write_shapes(root / "test", TEST_IMAGES // 3, 1)
    return root


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What commands find around them: one thread, a cache of their own, no network, no launcher."""
    found = {
        **{
            name: value
            for name, value in os.environ.items()
            if "RANK" not in name and not name.startswith("HF_")
        },
        "PYTHONPATH": str(CHECKOUT),
        "OMP_NUM_THREADS": "1",
        "DISTVAE_CACHE": str(tmp_path_factory.mktemp("cache")),
        "HF_HOME": str(tmp_path_factory.mktemp("huggingface")),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }
    with nest(found):
        yield found


def run_process(words: Sequence[object], folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run a command line in a folder and wait for its end."""
    ended = subprocess.run(
        [*map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def distvae(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Runs the real command in a process of its own, in ``tmp_path``."""

    def run(*words: object) -> Ended:
        process = begin([*COMMAND, *map(str, words)], tmp_path, environment)
        out, err = process.communicate(timeout=HANG)
        return Ended(process.wait(), out, err)

    return run


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts the real command and returns while it runs."""
    started: list[Started] = []

    def run(*words: object) -> Started:
        started.append(begin([*COMMAND, *map(str, words)], tmp_path, environment, one_output=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process in ``tmp_path`` and in the commands' environment; gives ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISTVAE_CACHE", "HF_HOME", "HF_HUB_OFFLINE", "COLUMNS"):
        monkeypatch.setenv(name, environment[name])
    return tmp_path


@pytest.fixture
def here(folder: Path) -> Iterator[Path]:
    """The same, and torch as it was after the test."""
    import torch
    from accelerate.state import AcceleratorState, GradientState

    backend: Any = torch.backends.mkldnn
    matmul = backend.matmul
    threads, precision = torch.get_num_threads(), matmul.fp32_precision
    torch.set_num_threads(1)
    yield folder
    # Accelerate keeps its state as long as the process
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    matmul.fp32_precision = precision
    torch.set_num_threads(threads)


@pytest.fixture
def command(here: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """The same command in this process, for tables: it saves the seconds of importing torch."""
    from distvae.cli import main

    def run(*words: object) -> Ended:
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], shapes: Path
) -> Path:
    """A run of a conditional VAE that is done; not to be changed."""
    flags = f"--data {shapes} --hidden 16 --latent-dim 3 --batch-size 20 --epochs 3"
    return train_apart(flags, tmp_path_factory.mktemp("finished") / "run", environment)


def train_apart(flags: str, folder: Path, environment: dict[str, str]) -> Path:
    """Train into a folder in a process of its own; gives the folder."""
    words = [*COMMAND, "train", *flags.split(), "--output", str(folder)]
    process = begin(words, Path.cwd(), environment)
    said = process.communicate(timeout=HANG)
    assert process.wait() == 0, said
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, at ``tmp_path / "run"``."""
    return shutil.copytree(finished, tmp_path / "run")
