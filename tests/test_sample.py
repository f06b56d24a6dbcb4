"""Drawing images from a run: sheets, arrays and pictures, by label and by seed."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from distvae.draws.normals import standard_normal
from distvae.export.session import PROVIDERS
from distvae.headers import stored_checksum
from distvae.models import VAE
from distvae.runs import checkpoints
from distvae.sampling import SampleConfig
from distvae.tensors import checksum
from tests.conftest import (
    SHAPES,
    SIDE,
    SMALL,
    Command,
    assert_refused,
    cut_short,
    listing,
)
from tests.export.conftest import NOISE_DIM, Tiny

WITHOUT_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "accelerate", "datasets"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
from distvae.cli import main

code = main(sys.argv[1:])
print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def test_sample_writes_arrays_by_name_and_range(run: Path, command: Command, here: Path) -> None:
    ended = command("sample", run, "--label", "square,0-1", "--count", 4, "--output", "s.npz")
    assert ended.code == 0, ended.err
    found = arrays(here / "s.npz")
    assert found["images"].shape == (12, 1, SIDE, SIDE)
    assert found["images"].dtype == np.uint8
    assert found["labels"].tolist() == [2] * 4 + [0] * 4 + [1] * 4
    assert found["label_names"].tolist() == list(SHAPES)


def test_sample_without_labels_draws_all(run: Path, command: Command, here: Path) -> None:
    assert command("sample", run, "--count", 2, "--output", "s.npz").code == 0
    assert arrays(here / "s.npz")["labels"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_seed_is_its_images_whatever_else_is_drawn(
    run: Path, command: Command, here: Path
) -> None:
    for name, seed, count in (("a", 3, 5), ("b", 3, 5), ("c", 4, 5), ("d", 3, 2)):
        words = ("--label", 1, "--seed", seed, "--count", count, "--output", f"{name}.npz")
        assert command("sample", run, *words).code == 0
    a, b, c, d = ((here / f"{name}.npz").read_bytes() for name in "abcd")
    assert a == b != c
    assert len(d) < len(a)
    images = arrays(here / "a.npz")["images"]
    np.testing.assert_array_equal(images[:2], arrays(here / "d.npz")["images"])
    assert (images != arrays(here / "c.npz")["images"]).any()


def test_sample_writes_a_sheet_into_the_run_or_where_told(run: Path, command: Command) -> None:
    for words, path in (
        (("--label", "cross"), run / "samples" / "label-cross-seed-0.png"),
        (("--seed", 2), run / "samples" / "seed-2.png"),
        (("--output", "deep/sheet.png"), Path("deep/sheet.png")),
    ):
        ended = command("sample", run, *words)
        assert ended.code == 0, ended.err
        assert path.name in ended.out
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"


def test_sample_writes_a_folder_of_pictures(run: Path, command: Command, here: Path) -> None:
    assert command("sample", run, "--label", "0,2", "--count", 3, "--output", "pictures").code == 0
    assert command("sample", run, "--label", "0,2", "--count", 3, "--output", "a.npz").code == 0
    found = sorted((here / "pictures").iterdir())
    assert [path.name.split("-")[0] for path in found] == ["circle"] * 3 + ["square"] * 3
    for path, image in zip(found, arrays(here / "a.npz")["images"], strict=True):
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image[0])


def test_sample_of_a_checkpoint(run: Path, command: Command, here: Path) -> None:
    for name, model in (("run", run), ("checkpoint", checkpoints(run)[-1])):
        assert command("sample", model, "--output", f"{name}.npz").code == 0
    assert (here / "run.npz").read_bytes() == (here / "checkpoint.npz").read_bytes()


def test_sample_of_an_unconditional_model(command: Command, shapes: Path, here: Path) -> None:
    kind = ("--model", "vae", "--prior", "normal", "--output", "vae")
    assert command("train", "--data", shapes, *SMALL, *kind).code == 0
    assert command("sample", "vae", "--count", 7, "--output", "s.npz").code == 0
    assert arrays(here / "s.npz")["images"].shape == (7, 1, SIDE, SIDE)
    assert "labels" not in arrays(here / "s.npz")
    ended = command("sample", "vae", "--label", 1)
    assert_refused(ended, "label 1", "without labels")


def test_sample_in_a_folder_whose_name_looks_like_markup(
    finished: Path, command: Command, here: Path
) -> None:
    run = shutil.copytree(finished, here / "a[bold] run :smile:")
    ended = command("sample", run)
    assert ended.code == 0, ended.err
    assert str(run / "samples") in ended.out


def export_by_hand(run: Path, weights: str | None = None) -> Tiny:
    """Put a decoder that draws something else than the run does into its onnx folder."""
    own = weights or checksum(VAE.from_pretrained(run).state_dict())
    tiny = Tiny(SHAPES, (1, SIDE, SIDE), {"weights_sha256": own})
    tiny.decoder(run / "onnx" / "decoder.onnx")
    return tiny


def drawn(tiny: Tiny, labels: list[int], seed: int = 0) -> Any:
    """What a tiny decoder draws."""
    return tiny.images(standard_normal(seed, 0, len(labels), NOISE_DIM), labels)


def test_the_checksum_of_weights_is_read_from_their_header(run: Path) -> None:
    weights = run / "model.safetensors"
    assert stored_checksum(weights) == checksum(VAE.from_pretrained(run).state_dict())
    for content in (b"", b"12", weights.read_bytes()[:40], b"\x02" + bytes(7) + b"[]", b"{}" * 99):
        (run / "other.safetensors").write_bytes(content)
        assert stored_checksum(run / "other.safetensors") is None
    assert stored_checksum(run / "none.safetensors") is None


def test_sample_takes_the_exported_file_of_a_run(run: Path, command: Command, here: Path) -> None:
    tiny = export_by_hand(run)
    ended = command("sample", run, "--label", "2,0", "--count", 3, "--output", "s.npz")
    assert ended.code == 0, ended.err
    assert f"6 images from {run / 'onnx' / 'decoder.onnx'} in s.npz" in ended.out
    found = arrays(here / "s.npz")
    np.testing.assert_array_equal(found["images"], drawn(tiny, [2] * 3 + [0] * 3))
    assert found["labels"].tolist() == [2] * 3 + [0] * 3
    checkpoint = checkpoints(run)[-1]
    ended = command("sample", checkpoint, "--label", 2, "--count", 3, "--output", "c.npz")
    assert f"from {checkpoint / 'model.safetensors'}" in ended.out
    assert (arrays(here / "c.npz")["images"] != found["images"][:3]).any()


def test_sample_takes_the_weights_where_the_exported_file_is_not_theirs(
    run: Path, command: Command, here: Path
) -> None:
    words = ("--label", 1, "--count", 3, "--output")
    assert command("sample", run, *words, "weights.npz").code == 0
    export_by_hand(run, weights="0" * 64)
    ended = command("sample", run, *words, "older.npz")
    said = "onnx/decoder.onnx is of older weights: sampled from model.safetensors"
    assert said in ended.out
    refused = command("sample", run, *words, "never.npz", "--provider", "cuda")
    assert_refused(refused, "--provider cuda is for ONNX files", "older weights", "distvae export")
    cut_short(run / "onnx" / "decoder.onnx")
    ended = command("sample", run, *words, "damaged.npz")
    assert "onnx/decoder.onnx is damaged" in ended.out
    contents = {(here / f"{name}.npz").read_bytes() for name in ("weights", "older", "damaged")}
    assert len(contents) == 1
    assert not (here / "never.npz").exists()


def test_sample_of_an_onnx_file_puts_a_sheet_into_its_run_or_beside_it(
    run: Path, command: Command, here: Path
) -> None:
    export_by_hand(run)
    assert command("sample", run / "onnx").code == 0
    alone = shutil.copy(run / "onnx" / "decoder.onnx", here / "moved.onnx")
    assert command("sample", alone).code == 0
    sheets = (run / "samples" / "seed-0.png", here / "samples" / "seed-0.png")
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    assert [path.name for path in (run / "onnx").iterdir()] == ["decoder.onnx"]


def test_sample_of_a_wrong_onnx_file_is_refused(run: Path, command: Command, here: Path) -> None:
    before = listing(here)
    path = Tiny().encoder(run / "onnx" / "encoder.onnx")
    assert_refused(command("sample", "none.onnx"), "none.onnx is missing")
    assert_refused(command("sample", path), "is an encoder", "decoder.onnx")
    assert_refused(command("sample", run / "config.json"), "no ONNX file")
    Tiny(names=()).decoder(path)
    assert_refused(command("sample", path, "--label", "1"), "without labels")
    Tiny().decoder(path)
    assert_refused(command("sample", path, "--label", "3"), "label 3", "0..2")
    assert_refused(command("sample", path, "--provider", "cuda"), "onnxruntime-gpu")
    shutil.rmtree(path.parent)
    assert listing(here) == before


def test_providers_are_those_of_the_sampler() -> None:
    assert get_args(get_type_hints(SampleConfig)["provider"]) == tuple(PROVIDERS)


@pytest.mark.parametrize("onnx", [True, False])
def test_sample_writes_an_array_of_any_length(
    run: Path, command: Command, here: Path, onnx: bool
) -> None:
    if onnx:
        export_by_hand(run)
    for output in ("a.npz", "a.npy"):
        words = ("--label", "2,0-1", "--count", 150, "--seed", 4, "--output", output)
        ended = command("sample", run, *words)
        assert ended.code == 0, ended.err
    expected = arrays(here / "a.npz")
    found = np.load(here / "a.npy", mmap_mode="r")
    labels = np.load(here / "a-labels.npy")
    assert (found.dtype, labels.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(found, expected["images"])
    np.testing.assert_array_equal(labels, expected["labels"])


def test_an_array_of_an_unlabelled_model_has_no_labels(command: Command, here: Path) -> None:
    tiny = Tiny(names=())
    path = tiny.decoder(here / "decoder.onnx")
    assert command("sample", path, "--count", 300, "--output", "out/a.npy").code == 0
    np.testing.assert_array_equal(np.load(here / "out" / "a.npy"), drawn(tiny, [0] * 300))
    assert [entry.name for entry in (here / "out").iterdir()] == ["a.npy"]


def test_an_array_that_cannot_be_written_leaves_nothing(command: Command, here: Path) -> None:
    path = Tiny().decoder(here / "decoder.onnx")
    before = listing(here)
    ended = command("sample", path, "--count", 10**15, "--output", "a.npy")
    assert_refused(ended, "a.npy needs", "MB are free")
    assert listing(here) == before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_sample_of_an_onnx_file_needs_no_torch_and_flat_memory(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path = Tiny(shape=(3, 16, 16)).decoder(tmp_path / "decoder.onnx")
    peaks = []
    for count in (300, 30_000):
        words = (str(path), "--label", "0-2", "--count", str(count), "--output", "a.npy")
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, "sample", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert np.load(tmp_path / "a.npy", mmap_mode="r").shape == (3 * count, 3, 16, 16)
        peaks.append(int(ended.stdout.split()[-2]) * 1024)
    assert (tmp_path / "a.npy").stat().st_size > 60e6
    assert peaks[1] - peaks[0] < 10e6


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--temperature", "nan"),
        ("--temperature", "-1"),
        ("--seed", str(2**128)),
        ("--seed", "-1"),
        ("--count", "0"),
        ("--output", "run/samples.npy"),
        ("--output", "a.gif"),
    ],
)
def test_a_wrong_number_or_output_is_refused(
    run: Path, command: Command, flag: str, value: str
) -> None:
    (run / "samples.npy").mkdir()
    assert_refused(command("sample", run, f"{flag}={value}"), flag)


def test_a_link_to_itself_is_no_onnx_file(here: Path, command: Command) -> None:
    Path("loop.onnx").symlink_to("loop.onnx")
    for name in ("sample", "inspect"):
        assert_refused(command(name, "loop.onnx"), "loop.onnx is missing")


@pytest.mark.parametrize("output", ["s.png", "s.npz", "s.npy", "pictures"])
def test_more_images_than_there_is_room_for_are_refused_at_once(
    run: Path, command: Command, here: Path, output: str
) -> None:
    export_by_hand(run)
    for source in (run, run / "onnx" / "decoder.onnx", checkpoints(run)[-1]):
        before = listing(here)
        for count in (10**12, 10**400):
            ended = command("sample", source, "--count", count, "--output", output)
            room = "GB of memory" if output in {"s.png", "s.npz"} else "MB are free there"
            assert_refused(ended, room if count == 10**12 else "--count is 1000")
        assert listing(here) == before
