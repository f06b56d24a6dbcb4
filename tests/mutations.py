"""Files of a run, each damaged in one way, and the commands that read them.

A command that reads a damaged file ends in one of three ways: as if nothing were damaged (the
damage did not matter, or was noticed and made up for), with exit code 2 and one line, or wrongly.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_MESSAGE = 1500
FLAGS = "--hidden 8 --latent-dim 2 --batch-size 20 --keep 3 --threads 1 --mixed-precision no"
RECIPE = "hidden: [8]\nlatent_dim: 2\nbatch_size: 20\nbeta: 1.0\nwarmup_epochs: 0.5\nnetwork: mlp\n"


@dataclass(frozen=True)
class Case:
    """A command, the files that it reads, and what it gives."""

    words: str
    files: tuple[str, ...]
    result: Callable[[Path, str], object]
    """What came of it, from the folder and what was printed."""


def _arrays(root: Path, out: str) -> object:
    with np.load(root / "out.npz") as found:
        return [hashlib.sha256(found[name].tobytes()).hexdigest() for name in sorted(found)]


def _printed(root: Path, out: str) -> object:
    return out


def _nothing(root: Path, out: str) -> object:
    return None


def _digest(name: str) -> Callable[[Path, str], object]:
    return lambda root, out: hashlib.sha256((root / name).read_bytes()).hexdigest()


def _evaluated(root: Path, out: str) -> object:
    content = json.loads((root / "run/evaluation.json").read_text())
    return {name: value for name, value in content.items() if "sha256" not in name}


CHECKPOINT = "half/checkpoints/step-00000012/"
"""The newest of a run that was killed; there is an older one."""
CACHE = ("meta.json", "train-images.npy", "train-labels.npy", "test-images.npy")
CASES = (
    Case(
        "sample run --count 2 --output out.npz",
        ("run/config.json", "run/model.safetensors"),
        _arrays,
    ),
    Case(
        "sample run --prior fitted --count 2 --output out.npz",
        ("run/fitted-prior.json", "run/fitted-prior.safetensors", "run/config.json"),
        _arrays,
    ),
    Case(
        "sample run/onnx/decoder.onnx --count 2 --output out.npz",
        ("run/onnx/decoder.onnx",),
        _arrays,
    ),
    Case(
        "inspect run", ("run/config.json", "run/model.safetensors", "run/metrics.jsonl"), _printed
    ),
    Case("inspect run/onnx/decoder.onnx", ("run/onnx/decoder.onnx",), _printed),
    Case("inspect run/onnx/encoder.onnx", ("run/onnx/encoder.onnx",), _printed),
    Case(
        "export run --check run/onnx/decoder.onnx",
        ("run/onnx/decoder.onnx", "run/config.json", "run/model.safetensors"),
        _nothing,
    ),
    Case(
        "train --init-from run --batch-size 20 --max-steps 1 --threads 1 --mixed-precision no "
        "--output new",
        ("run/config.json", "run/model.safetensors"),
        _digest("new/model.safetensors"),
    ),
    Case(
        "evaluate run --metrics elbo",
        (
            *("run/config.json", "run/model.safetensors", "run/evaluation.json"),
            *("run/metrics.jsonl", *(f"cache/*/{name}" for name in CACHE)),
        ),
        _evaluated,
    ),
    Case(
        "fit-prior run --components 2",
        ("run/config.json", "run/model.safetensors", "cache/*/train-images.npy"),
        _digest("run/fitted-prior.safetensors"),
    ),
    Case(
        "train --resume half",
        (
            *(CHECKPOINT + name for name in ("config.json", "model.safetensors", "trainer.json")),
            *(CHECKPOINT + "optimizer.safetensors", "half/config.json", "half/metrics.jsonl"),
            *(f"cache/*/{name}" for name in CACHE),
        ),
        _digest("half/model.safetensors"),
    ),
    Case(
        "train --config recipe.yaml --max-steps 1 --threads 1 --mixed-precision no --output new",
        ("recipe.yaml",),
        _digest("new/model.safetensors"),
    ),
)
UNSIGNED = ("run/metrics.jsonl", "recipe.yaml")
"""What people write and logs have no digest: another number in them is another number."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended on a damaged file."""

    case: Case
    file: str
    damage: str
    code: int
    out: str
    err: str
    same: bool
    """The result is that of the whole file."""
    meant: bool
    """The content was changed in a way that nobody can tell from what its owner meant."""

    @property
    def kind(self) -> str:
        """One word for it, ``same``, ``legit`` or ``refused`` where all is well."""
        if self.code == 0:
            return "same" if self.same else "legit" if self.meant else "WRONG"
        tidy = (
            self.code == 2
            and self.err.startswith(("error: ", "warning: ", "note: "))
            and self.err.count("error: ") >= 1
            and "Traceback" not in self.err
            and len(self.err) < LONGEST_MESSAGE
        )
        return "refused" if tidy else "untidy" if self.code == 2 else "CRASH"


def prepare(root: Path, data: Path) -> None:
    """A small run with all that commands write, in ``root``."""
    (root / "recipe.yaml").write_text(f"data: {data}\n{RECIPE}")
    for words in (
        f"train --data {data} {FLAGS} --epochs 3 --checkpoint-every 6 --output run",
        "evaluate run --metrics elbo",
        "fit-prior run --components 2",
        "export run --onnx",
    ):
        code, out, err = call(root, words)
        assert code == 0, f"{words}: {out}{err}"
    shutil.copytree(root / "run", root / "half")
    shutil.rmtree(root / "half/checkpoints/step-00000018")


def call(root: Path, words: str) -> tuple[int, str, str]:
    """Run a command in this process, in a folder: its exit code and what it printed."""
    from distvae.cli import main

    out, err = io.StringIO(), io.StringIO()
    with _inside(root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words.split())
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException as error:
            print(f"Traceback: {error!r}", file=err)
            code = 1
    return code, out.getvalue(), err.getvalue()


def outcome(pristine: Path, scratch: Path, case: Case, file: str, seed: int) -> Outcome:
    """Damage one file of a copy and call the command."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(pristine, scratch)
    path = next(iter(scratch.glob(file)))
    damage, meant = damaged(path, random.Random(seed))
    code, out, err = call(scratch, case.words)
    same = code == 0 and case.result(scratch, out) == baseline(pristine, scratch, case)
    meant = meant or (code == 0 and file in UNSIGNED)
    return Outcome(case, file, damage, code, out, err, same, meant)


_BASELINES: dict[tuple[Path, str], object] = {}


def baseline(pristine: Path, scratch: Path, case: Case) -> object:
    """What the command gives on whole files."""
    key = pristine, case.words
    if key not in _BASELINES:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(pristine, scratch)
        code, out, err = call(scratch, case.words)
        assert code == 0, err
        _BASELINES[key] = case.result(scratch, out)
    return _BASELINES[key]


def damaged(path: Path, chance: random.Random) -> tuple[str, bool]:
    """Damage a file in a random way: which, and whether its owner may have meant it."""
    kinds = [_bytes_changed, _bytes_changed, _bytes_changed, _replaced]
    if path.suffix == ".json":
        kinds += [_value_changed, _value_changed, _value_changed]
    return chance.choice(kinds)(path, chance)


def _replaced(path: Path, chance: random.Random) -> tuple[str, bool]:
    kind = chance.choice(("missing", "empty", "folder", "pipe", "zeros", "deep", "loop"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind != "missing":
        content = {"empty": b"", "zeros": bytes(1000), "deep": b"[" * 50_000}[kind]
        path.write_bytes(content)
    optional = path.name in ("evaluation.json", "metrics.jsonl", "model.safetensors")
    return kind, optional and kind == "missing"


def _bytes_changed(path: Path, chance: random.Random) -> tuple[str, bool]:
    content = bytearray(path.read_bytes())
    kind = chance.choice(("flip", "flip", "flip", "cut", "insert", "delete", "twice", "noise"))
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.randrange(1, 40))
    if kind == "flip":
        content[start] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[start:]
    elif kind == "insert":
        content[start:start] = chance.choice((b"\0", b"\xff\xfe", b"NaN", b"{", b'"', b"9" * 400))
    elif kind == "delete":
        del content[start:end]
    elif kind == "twice":
        content[end:end] = content[start:end]
    else:
        content[start:end] = chance.randbytes(end - start)
    path.write_bytes(content)
    return f"{kind} at {start}", False


def _value_changed(path: Path, chance: random.Random) -> tuple[str, bool]:
    """Another value somewhere in JSON, with its digest as it was or without."""
    content: Any = json.loads(path.read_text())
    unsigned = chance.random() < 0.7
    if unsigned:
        content.pop("sha256", None)
        content.pop("digest", None)
    holder, key = chance.choice(list(_places(content)))
    kind = chance.choice(("swap", "swap", "near", "near", "remove", "rename"))
    if kind == "remove":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    else:
        holder[key] = _near(holder[key], chance) if kind == "near" else chance.choice(VALUES)
    path.write_text(json.dumps(content))
    return f"{kind} {key} ({'without' if unsigned else 'with'} digest)", unsigned


def _near(value: Any, chance: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return chance.choice((value + 1, -value, 2 * value, 1000 * value, 10**9 * value))
    if isinstance(value, list):
        return chance.choice((value[:-1], value[::-1], 2 * value, 2000 * value))
    if isinstance(value, dict):
        return chance.choice(({}, {**value, "x": 1}, dict(list(value.items())[:-1])))
    return value if value is None else chance.choice((value[:-1], value.upper(), 500 * value))


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**30, 0.5, -1e308, float("nan")),
    *(float("inf"), "", "x", "nan", "../../x", "a\0b", "\ud800", "x" * 10_000, "1e999", "label"),
    *([], {}, [[]], [1, 2, 3], ["a", "a"], [60_000, 60_000], {"a": {"b": 1}}, _nested(30)),
    *(_nested(200), list(range(1000)), [None], "conv", "flow", "vamp", "gaussian"),
)


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value: what holds it, and its name or number there."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


@contextlib.contextmanager
def _inside(root: Path) -> Iterator[None]:
    from accelerate.state import AcceleratorState, GradientState

    before, here = os.environ.get("DISTVAE_CACHE"), Path.cwd()
    os.environ["DISTVAE_CACHE"] = str(root / "cache")
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(here)
        del os.environ["DISTVAE_CACHE"]
        if before is not None:
            os.environ["DISTVAE_CACHE"] = before
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
