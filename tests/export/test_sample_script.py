"""sample.py, which ships beside decoder.onnx, and the sampler, both where there is no PyTorch."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distvae.export import Sampler, probe
from distvae.export.checksum import append_checksum
from distvae.export.outline import metadata_entry
from distvae.images import save_grid
from tests.conftest import CHECKOUT, Command, Ended, assert_refused, run_process
from tests.export.conftest import SHAPE, Tiny

SCRIPT = CHECKOUT / "export" / "sample.py"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with decoder.onnx and sample.py."""
    Tiny().decoder(tmp_path / "bundle" / "decoder.onnx")
    shutil.copy(SCRIPT, tmp_path / "bundle" / "sample.py")
    return tmp_path / "bundle"


def run(python: Path, script: Path, *words: object) -> Ended:
    return run_process([python, script, *words], script.parent.parent, {"PATH": ""})


def test_the_script_is_short() -> None:
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) < 250


@pytest.mark.parametrize(
    ("words", "drawn"),
    [
        ((), {"labels": [0, 1, 2], "count": 10}),
        (("--label", "1", "--count", "16", "--seed", "4"), {"labels": [1], "count": 16, "seed": 4}),
        (("--label", "square, 0-1,1", "--count", "2"), {"labels": [2, 0, 1, 1], "count": 2}),
        (("--label", "circle-cross", "--temperature", "0.3"), {"labels": [0, 1], "count": 10}),
    ],
)
def test_the_script_draws_the_images_of_the_sampler(
    python: Path, bundle: Path, words: tuple[str, ...], drawn: dict[str, object]
) -> None:
    ended = run(python, bundle / "sample.py", *words, "--output", "sheet.png")
    assert (ended.code, ended.err) == (0, "")
    temperature = 0.3 if "--temperature" in words else 1.0
    images = Sampler(bundle / "decoder.onnx").sample(**drawn, temperature=temperature)  # type: ignore[arg-type]
    assert ended.out == f"{len(images)} images in sheet.png\n"
    save_grid(bundle / "expected.png", images, columns=int(str(drawn["count"])))  # a row is a label
    found, expected = bundle.parent / "sheet.png", bundle / "expected.png"
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("tiny", [Tiny(names=()), Tiny(shape=(1, 3, 9)), Tiny(names=("9", "0"))])
@pytest.mark.parametrize("count", [1, 4])
def test_the_script_and_the_command_write_the_same_file(
    python: Path, command: Command, bundle: Path, tiny: Tiny, count: int
) -> None:
    tiny.decoder(bundle / "decoder.onnx")
    words = ("--count", count, "--seed", 7, "--output")
    assert run(python, bundle / "sample.py", *words, "script.png").code == 0
    assert command("sample", bundle / "decoder.onnx", *words, "command.png").code == 0
    script, of_command = (bundle.parent / f"{name}.png" for name in ("script", "command"))
    assert script.read_bytes() == of_command.read_bytes()
    with Image.open(script) as sheet:
        assert sheet.mode == ("L" if tiny.shape[0] == 1 else "RGB")


@pytest.mark.parametrize(
    ("names", "label", "drawn"),
    [
        (("1", "2", "3", "10"), "10,2-3", [3, 1, 2]),
        (("1", "10", "2"), "1-2", [0, 2]),
        (("a,b", "c", "x-y"), '"a,b",x-y', [0, 2]),
        (("a,b", "c", "x-y"), "a,b", [0]),
        (("7", "5", "x"), "7-5,2", [0, 1, 2]),
    ],
)
def test_the_script_the_command_and_the_sampler_mean_the_same_labels(
    python: Path,
    command: Command,
    bundle: Path,
    names: tuple[str, ...],
    label: str,
    drawn: list[int],
) -> None:
    Tiny(names=names).decoder(bundle / "decoder.onnx")
    words = ("--label", label, "--count", 2, "--output")
    ended = run(python, bundle / "sample.py", *words, "script.png")
    assert (ended.code, ended.err) == (0, "")
    assert command("sample", bundle / "decoder.onnx", *words, "command.png").code == 0
    images = Sampler(bundle / "decoder.onnx").sample([names[index] for index in drawn], count=2)
    save_grid(bundle / "expected.png", images, columns=2)
    for name in ("script.png", "command.png"):
        assert (bundle.parent / name).read_bytes() == (bundle / "expected.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--label", "7"), "label 7 is none of ['0', '1', '2', 'circle', 'cross', 'square']"),
        (("--label", "-1"), "error: "),
        (("--label", "0-1-2"), "label 0-1-2"),
        (("--label", "2-0"), "error: "),
        (("--count", "0"), "--count"),
        (("--count", "many"), "many"),
        (("--count", str(10**12)), "--count 1000000000000: a sheet holds at most"),
        (("--count", str(10**18), "--label", "0"), "a sheet holds at most"),
        (("--temperature", "nan"), "--temperature"),
        (("--seed", "-3"), "error: "),
        (("--model", "none.onnx"), "none.onnx"),
        (("--model", "bundle/sample.py"), "sample.py"),
        (("--output", "nowhere/sheet.png"), "nowhere"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_the_script_refuses_in_one_line(
    python: Path, bundle: Path, words: tuple[str, ...], message: str
) -> None:
    assert_refused(run(python, bundle / "sample.py", *words), message)


def test_the_script_refuses_an_encoder(python: Path, bundle: Path) -> None:
    Tiny().encoder(bundle / "decoder.onnx")
    assert_refused(run(python, bundle / "sample.py"), "decoder.onnx is no decoder")


def test_the_script_refuses_a_file_with_a_flipped_bit(python: Path, bundle: Path) -> None:
    decoder = bundle / "decoder.onnx"
    append_checksum(decoder)
    assert run(python, bundle / "sample.py").code == 0
    content = bytearray(decoder.read_bytes())
    content[content.find(Tiny().matrix.tobytes()) + 3] ^= 1
    decoder.write_bytes(content)
    assert_refused(run(python, bundle / "sample.py"), "decoder.onnx is damaged")


def test_the_script_finds_a_machine_that_draws_other_images(python: Path, bundle: Path) -> None:
    """What it draws is by 4 levels off what the file says: a limit of 3 refuses, 5 does not."""
    tiny = Tiny()
    inputs, _ = probe.probe_inputs(tiny.manifest("decoder"))
    images = tiny.images(inputs["noise"], inputs["label"])
    off = np.where(images > 100, images - 4, images + 4).astype(np.uint8).reshape(len(images), -1)
    for limit, right in ((3.0, False), (5.0, True)):
        text = probe.to_json(probe.Probe({"image": off}, {"image": limit}))
        with tiny.decoder(bundle / "decoder.onnx").open("ab") as file:
            file.write(metadata_entry(probe.KEY, text))
        ended = run(python, bundle / "sample.py")
        if right:
            assert (ended.code, ended.err) == (0, "")
        else:
            assert_refused(ended, "draws other images here, 4.0 levels off")


def test_the_script_teaches(python: Path, bundle: Path) -> None:
    ended = run(python, bundle / "sample.py", "--help")
    assert ended.code == 0
    for word in ("--label", "3,1,4", "--count", "--seed", "--temperature", "--output", "--model"):
        assert word in ended.out


def test_the_sampler_needs_numpy_and_onnxruntime_only(python: Path, bundle: Path) -> None:
    script = bundle / "use.py"
    script.write_text(
        f"import sys; sys.path.append({str(CHECKOUT)!r})\n"
        "import importlib.util, numpy\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "from distvae.export import Encoder, Sampler\n"
        f"images = Sampler({str(bundle / 'decoder.onnx')!r}).sample(['cross'], 3, seed=2)\n"
        f"numpy.save({str(bundle / 'found.npy')!r}, images)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'PIL', 'rich', 'onnx'}))\n"
    )
    ended = run(python, script)
    assert (ended.code, ended.out.strip(), ended.err) == (0, "", "")
    found = np.load(bundle / "found.npy")
    assert found.shape == (3, *SHAPE)
    expected = Sampler(bundle / "decoder.onnx").sample(["cross"], 3, seed=2)
    np.testing.assert_array_equal(found, expected)
