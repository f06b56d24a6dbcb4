"""Weights of a foreign file: read without running anything of it."""

import contextlib
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distvae.errors import DistvaeError
from distvae.terms.pth import read_tensors


def written(content: Any, path: Path) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def some_tensors() -> "OrderedDict[str, torch.Tensor]":
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(60, generator=generator)
    return OrderedDict(
        whole=numbers,
        part=numbers[12:36].view(2, 3, 4),
        turned=numbers[:24].view(4, 6).t(),
        half=numbers.half(),
        double=numbers.double()[5:7],
        count=torch.tensor(7),
        empty=torch.zeros(0, 3),
    )


def test_tensors_are_what_was_written(tmp_path: Path) -> None:
    content = some_tensors()
    content._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    found = read_tensors(written(content, tmp_path / "weights.pth"))
    assert found.keys() == content.keys()
    for name, tensor in content.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


class Runs:
    """Whose pickle asks for a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_what_asks_for_a_call_is_refused_and_not_called(tmp_path: Path) -> None:
    path, made = tmp_path / "weights.pth", tmp_path / "made"
    written(some_tensors(), path)
    content = path.read_bytes()
    start = content.index(b"\x80\x02ccollections")
    for harm in (pickle.dumps(Runs(made), 2), pickle.dumps({"a": Runs(made)}, 2)):
        path.write_bytes(content[:start] + harm + content[start:])
        with pytest.raises(DistvaeError, match=r"cannot be read as weights.*it asks for \w+ mkdir"):
            read_tensors(path)
    assert not made.exists()


@pytest.mark.parametrize("change", ["zip", "text", "empty", "cut", "longer tensor"])
def test_other_files_are_refused(tmp_path: Path, change: str) -> None:
    path = written(some_tensors(), tmp_path / "weights.pth")
    content = path.read_bytes()
    if change == "zip":
        torch.save(some_tensors(), path)
    elif change == "longer tensor":  # of whole numbers in a byte
        assert content.count(b"K\x0cK\x02K\x03K\x04") == 1
        path.write_bytes(content.replace(b"K\x0cK\x02K\x03K\x04", b"K\x0cK\x02K\x03K\x94"))
    else:
        path.write_bytes({"text": b"weights\n", "empty": b"", "cut": content[:-9]}[change])
    with pytest.raises(DistvaeError, match=r"cannot be read as weights.*Install the package anew"):
        read_tensors(path)


def test_a_damaged_file_is_told_whatever_is_damaged(tmp_path: Path) -> None:
    path = written(some_tensors(), tmp_path / "weights.pth")
    content, random = path.read_bytes(), np.random.default_rng(0)
    end = len(content) - 700  # before the numbers, whose damage nothing tells
    for place in random.integers(0, end, 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(DistvaeError):  # and nothing else
            read_tensors(path)
