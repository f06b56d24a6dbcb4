"""A byte that is not the one that was exported is found, whichever it is."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from distvae.errors import DistvaeError
from distvae.export import checksum
from distvae.export.checksum import KEY, LENGTH, append_checksum
from distvae.export.encoder import Encoder
from distvae.export.outline import metadata_entry
from distvae.export.sampler import Sampler
from tests.conftest import Command, assert_refused
from tests.export.conftest import Tiny
from tests.export.test_session import keep_beside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = Tiny().decoder(tmp_path / "model" / "decoder.onnx")
    append_checksum(written)
    return written


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A decoder whose matrix lies in another file."""
    written = Tiny().decoder(tmp_path / "beside" / "decoder.onnx")
    Tiny().matrix.tofile(written.parent / "weights.bin")
    keep_beside(written, "matrix", "weights.bin")
    append_checksum(written, [written.parent / "weights.bin"])
    return written


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 2**14])
def test_an_entry_is_what_onnx_writes(length: int) -> None:
    proto = onnx.ModelProto()
    helper.set_model_props(proto, {"k\u00e9y": "v" * length})
    assert metadata_entry("k\u00e9y", "v" * length) == proto.SerializeToString()


def test_the_last_bytes_are_the_checksum(path: Path) -> None:
    (manifest, entry) = onnx.load(str(path)).metadata_props
    assert (manifest.key, entry.key) == ("distvae.manifest", KEY)
    assert path.read_bytes()[-64:].decode() == entry.value
    alone = Tiny().decoder(path.parent / "alone.onnx")
    assert path.read_bytes()[:-LENGTH] == alone.read_bytes()


@pytest.mark.slow
def test_every_flipped_bit_is_found_or_changes_nothing(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn = Sampler(path).sample(seed=1)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    end = len(whole) - LENGTH
    for place in [*random.integers(end, size=200), *range(end, len(whole))]:
        path.write_bytes(whole)
        flip(path, int(place), int(random.integers(8)))
        try:
            found = Sampler(path)
        except DistvaeError:
            pass
        else:  # it no longer has a checksum, and is whole in all else
            assert place >= end
            np.testing.assert_array_equal(found.sample(seed=1), drawn)
    assert capfd.readouterr() == ("", "")


def test_a_file_may_be_taken_as_it_is(path: Path) -> None:
    flip(path, path.read_bytes().find(Tiny().matrix.tobytes()) + 3)
    with pytest.raises(DistvaeError, match=r"damaged.*SHA-256 is not.*--verify off"):
        Sampler(path)
    assert Sampler(path, verify=False).sample().any()


def test_what_was_changed_after_the_export_is_refused(path: Path) -> None:
    with path.open("ab") as file:
        file.write(metadata_entry("mine", "1"))
    with pytest.raises(DistvaeError, match="not as it was exported"):
        Sampler(path)


def test_the_file_beside_is_part_of_it(beside: Path) -> None:
    assert Sampler(beside).sample().any()
    flip(beside.parent / "weights.bin", 7)
    with pytest.raises(DistvaeError, match=r"decoder\.onnx or weights\.bin is not as it was"):
        Sampler(beside)


def test_large_files_are_compared_when_asked(
    path: Path, beside: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksum, "LARGEST", 10)
    matrix = path.read_bytes().find(Tiny().matrix.tobytes())
    for file, place in ((path, matrix), (beside.parent / "weights.bin", 7)):
        flip(file, place)
        Sampler(file.parent / "decoder.onnx", verify=False)
        with pytest.raises(DistvaeError, match="damaged"):
            Sampler(file.parent / "decoder.onnx", verify=True)
    assert Sampler(beside).spared
    assert "not compared with its checksum; --verify on" in command("sample", beside).out
    assert not Sampler(Tiny().decoder(path.parent / "earlier.onnx")).spared


def test_encoders_have_one_too(tmp_path: Path) -> None:
    written = Tiny().encoder(tmp_path / "encoder.onnx")
    append_checksum(written)
    Encoder(written)
    flip(written, written.read_bytes().find(Tiny().table.tobytes()))
    with pytest.raises(DistvaeError, match="damaged"):
        Encoder(written)


def test_commands_refuse_a_flipped_bit(path: Path, command: Command) -> None:
    assert ", matches" in command("inspect", path).out
    earlier = Tiny().decoder(path.parent / "earlier.onnx")
    assert "none: of an earlier version" in command("inspect", earlier).out
    flip(path, path.read_bytes().find(Tiny().matrix.tobytes()) + 3)
    for words in (("sample",), ("sample", "--verify", "on"), ("inspect",)):
        assert_refused(command(words[0], path, *words[1:]), "decoder.onnx is damaged")
    assert command("sample", path, "--verify", "off").code == 0


def test_files_of_earlier_versions_have_none(tmp_path: Path) -> None:
    path = Tiny().decoder(tmp_path / "decoder.onnx")
    assert Sampler(path).sample().any()
    assert Sampler(path, verify=True).sample().any()
