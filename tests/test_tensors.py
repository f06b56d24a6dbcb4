"""Named tensors on disk: what comes back, and what damage is found."""

import contextlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from distvae.errors import DistvaeError
from distvae.tensors import checksum, read_tensors, write_tensors


def examples() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(5, 7, generator=generator),
        "scalar": torch.tensor(3.25),
        "empty": torch.zeros(0, 4),
        "whole": torch.arange(6).view(2, 3),
        "half": torch.randn(9, generator=generator).bfloat16(),
        "transposed": torch.randn(4, 6, generator=generator).T,
        "image": torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last),
        "learned": torch.nn.Parameter(torch.randn(3, generator=generator)),
    }


def test_tensors_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    write_tensors(path, examples())
    for found in (read_tensors(path), load_file(path)):
        assert found.keys() == examples().keys()
        for name, tensor in examples().items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor.detach()), name


def test_the_bytes_of_a_file_depend_on_the_tensors_alone(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", examples())
    write_tensors(tmp_path / "b", dict(reversed(examples().items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_flipped_bit_of_the_tensors_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"weight": torch.arange(4.0), "bias": torch.ones(2)})
    whole = path.read_bytes()
    start = len(whole) - 4 * 6
    for position in range(start, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(DistvaeError, match=r"a\.safetensors is damaged.*checksum"):
            read_tensors(path)


def test_a_flipped_bit_anywhere_gives_an_error_or_the_same_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    expected = {"weight": torch.arange(4.0), "bias": torch.ones(2)}
    write_tensors(path, expected)
    whole = path.read_bytes()
    header = len(whole) - 4 * 6
    for position in range(header):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 7
        path.write_bytes(damaged)
        with contextlib.suppress(DistvaeError):
            assert checksum(read_tensors(path)) == checksum(expected)


@pytest.mark.parametrize("left", [0, 4, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, left: int) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, examples())
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DistvaeError, match=r"a\.safetensors is damaged"):
        read_tensors(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistvaeError, match=r"a\.safetensors is missing"):
        read_tensors(tmp_path / "a.safetensors")


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / "a.safetensors", metadata={"format": "pt"})
    assert read_tensors(tmp_path / "a.safetensors")["weight"].tolist() == [1.0, 1.0, 1.0]


def test_the_checksum_tells_names_types_shapes_and_values_apart() -> None:
    tensor = torch.tensor([[1, 2], [3, 4]])
    variants = [
        {"a": tensor},
        {"b": tensor},
        {"a": tensor.flatten()},
        {"a": tensor.int()},
        {"a": tensor.T},
        {"a": tensor, "b": tensor},
        {},
    ]
    assert len({checksum(variant) for variant in variants}) == len(variants)
    same = checksum({"a": tensor, "b": tensor.T})
    assert checksum({"b": tensor.T.contiguous(), "a": tensor.clone()}) == same


def test_the_header_holds_one_checksum(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", examples())
    content = (tmp_path / "a").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {"distvae.sha256": checksum(examples_detached())}


def examples_detached() -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in examples().items()}


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_tensors(tmp_path / "tensors", examples())
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1, modes
