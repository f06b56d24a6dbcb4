"""Volumes: files, levels, patches, convolutions along three sides, a run and what it draws."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from distvae.cli import main
from distvae.config import DataConfig, ModelConfig
from distvae.data.examples import domain_of_data
from distvae.data.patches import corners
from distvae.data.sources.scans import Leveled, Scan
from distvae.data.sources.volume_files import scans_in
from distvae.data.store import ImageData, open_data
from distvae.domains.volume_files import Grid, write_volume
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.export.convert import Origin, decoder_graph, write_graph
from distvae.models import VAE, build_model
from distvae.networks.pyramid import fold, unfold
from distvae.tools.decode import decode
from distvae.tools.whole_volumes import blended
from distvae.tools.wholes import Padded
from tests.conftest import CHECKOUT

SPACING = (2.0, 1.0, 1.5)


def scans(count: int, kind: str = "int16") -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(-300, 2000, (6, 7, 9)).astype(kind) for _ in range(count)]


def opened(path: Path, **settings: Any) -> ImageData:
    config = DataConfig(data=str(path), cache_dir=str(path.parent / "cache"))
    return open_data(dataclasses.replace(config, **settings))


def nifti(folder: Path, values: list[NDArray[Any]], spacing: Any = SPACING) -> Path:
    pytest.importorskip("nibabel")
    folder.mkdir()
    for number, each in enumerate(values):
        grid = Grid(0.0, 1.0, each.dtype.name, spacing)
        write_volume(folder / f"{number}.nii.gz", each, grid)
    return folder


def test_folds_of_three_sides_are_undone_and_hold_blocks_as_those_of_two_do() -> None:
    example = torch.arange(2.0 * 3 * 5 * 6 * 7).reshape(2, 3, 5, 6, 7)
    folded = fold(example)
    assert folded.shape == (2, 24, 3, 3, 4)
    assert torch.equal(unfold(folded, 5, 6, 7), example)
    assert torch.equal(folded[0, 8:16, 1, 1, 1], example[0, 1, 2:4, 2:4, 2:4].flatten())
    flat = torch.arange(2.0 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    assert torch.equal(fold(flat), F.pixel_unshuffle(flat, 2))


def test_patches_cover_a_volume() -> None:
    seen = np.zeros((9, 10, 11), int)
    for z, y, x in corners(seen.shape, 4, 4):
        seen[z : z + 4, y : y + 4, x : x + 4] += 1
    assert seen.min() >= 1
    assert corners((4, 4, 4), 4, 4) == [(0, 0, 0)]
    assert len(corners((8, 8, 8), 4, 4)) == 8


def test_blending_gives_a_volume_back_that_patches_give_back() -> None:
    levels = np.random.default_rng(0).integers(0, 4096, (9, 11, 8)).astype(np.uint16)
    grid = Grid(0.0, 1.0, "uint16", (1.0, 1.0, 1.0))
    volume = Leveled(Scan(levels, grid.spacing, None), grid, 4096)

    def whole(decode: Any) -> NDArray[np.float32]:
        tops, strips = zip(*blended(volume, 4, decode, lambda count: None), strict=True)
        assert [*tops, 9] == [0, *itertools.accumulate(strip.shape[1] for strip in strips)]
        return np.concatenate([strip[0] for strip in strips])

    assert np.allclose(whole(lambda patches: patches.astype(float)), levels, rtol=1e-5)
    assert np.allclose(whole(lambda patches: 0.0 * patches + 7.0), 7.0)


def test_levels_are_made_part_by_part_and_padded_at_their_ends() -> None:
    values = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    grid = Grid(10.0, 2.0, "int16", SPACING)
    affine = np.array([[0, -1.5, 0, 3], [1.0, 0, 0, 4], [0, 0, 2.0, 5], [0, 0, 0, 1]])
    volume = Leveled(Scan(values, SPACING, affine), grid, 300)
    expected = grid.levels(values, 300)
    assert np.array_equal(volume[:, 1:4, 2:, ::-1][0], expected[1:4, 2:, ::-1])
    part = volume.cut((slice(1, None), slice(2, 5), slice(3, None)))
    assert np.array_equal(part[:][0], expected[1:, 2:5, 3:])
    assert part.scan.affine is not None
    assert np.allclose(part.scan.affine @ [0, 0, 0, 1], affine @ [3, 2, 1, 1])
    padded = Padded(volume, 4)
    assert padded.shape == (1, 1, 8, 8, 8)
    whole = np.pad(expected, [(0, 8 - side) for side in expected.shape], "edge")
    for start in (0, 4, 7):
        place = (slice(None), slice(None), slice(start, 8), slice(0, 8), slice(start, start + 1))
        assert np.array_equal(padded[place][0, 0], whole[place[2:]])


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_pages_of_a_tiff_keep_the_spacing_that_imagej_reads(tmp_path: Path, kind: str) -> None:
    path, spacing = tmp_path / "a.tif", (2.5, 0.7071, 1 / 3)
    values = np.random.default_rng(0).integers(0, 200, (4, 5, 6)).astype(kind)
    write_volume(path, values, Grid(0.0, 1.0, kind, spacing))
    (one,) = scans_in(path, [])
    scan = one.read()
    assert np.array_equal(scan.values, values)
    assert np.allclose(scan.spacing, spacing, rtol=1e-6)
    first, *rest = (Image.fromarray(each) for each in values)
    for text, expected in (
        ("ImageJ=1.53t\nimages=4\nslices=4\nunit=\\u00B5m\nspacing=800.0\n", (0.8, 0.5, 0.25)),
        ("ImageJ=1.53t\nimages=4\nslices=4\nunit=mm\n", (1.0, 1.0, 1.0)),  # of slices nothing
        ("ImageJ=1.53t\nimages=4\nunit=pixel\nspacing=2.0\n", (1.0, 1.0, 1.0)),
        ("a scan", (1.0, 1.0, 1.0)),
    ):
        tags = {270: text, 282: 4e-3, 283: 2e-3}
        first.save(path, save_all=True, append_images=rest, tiffinfo=tags)
        assert np.allclose(scans_in(path, [])[0].read().spacing, expected)
    with pytest.raises(DistvaeError, match="the voxels are int16"):
        write_volume(path, values.astype(np.int16), Grid(0.0, 1.0, "int16", spacing))


def test_niftis_are_kept_as_they_are_and_written_with_their_spacing(tmp_path: Path) -> None:
    values = scans(3)
    data = opened(nifti(tmp_path / "scans", values), patch=4)
    domain = domain_of_data(data)
    assert isinstance(domain, Volumes)
    assert (domain.kind, domain.spacing, domain.step) == ("int16", SPACING, 1.0)
    assert len(data.test) == 2 * 2 * 3  # of one volume, which is held out
    found = domain.grid.values(data.test.stored[:, 0])
    assert found.dtype == np.int16
    assert any(np.array_equal(found[0], each[:4, :4, :4]) for each in values)


def test_arrays_are_volumes_where_they_are_asked_for(tmp_path: Path) -> None:
    values = np.stack(scans(3, "float32")) / 7
    np.save(tmp_path / "volumes.npy", values)
    data = opened(tmp_path / "volumes.npy", domain="volumes", patch=5)
    domain = domain_of_data(data)
    assert isinstance(domain, Volumes)
    assert (domain.levels, domain.kind) == (65536, "float32")
    found = domain.grid.values(data.test.stored[0, 0])
    held = [each[:5, :5, :5] for each in values]
    assert min(abs(found - each).max() for each in held) <= 0.51 * domain.step
    with pytest.raises(DistvaeError, match="--patch 8 does not fit"):
        opened(tmp_path / "volumes.npy", domain="volumes", patch=8)


def test_mixed_spacings_are_refused(tmp_path: Path) -> None:
    folder = nifti(tmp_path / "scans", scans(1))
    write_volume(folder / "other.nii.gz", scans(1)[0], Grid(0.0, 1.0, "int16", (1.0, 1.0, 1.0)))
    with pytest.raises(DistvaeError, match=r"other.nii.gz has voxels of 1 x 1 x 1 mm"):
        opened(folder)


def test_a_run_on_labelled_volumes_is_measured_without_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "scans", tmp_path / "run"
    folder.mkdir()
    nifti(folder / "a", scans(2))
    nifti(folder / "b", scans(2))
    flags = ["--patch", "5", "--model", "cvae", "--network", "mlp", "--hidden", "8"]
    flags += ["--max-steps", "1", "--threads", "1"]
    assert main(["train", "--data", str(folder), "--output", str(run), *flags]) == 0
    assert main(["evaluate", str(run)]) == 0
    assert main(["evaluate", str(run), "--metrics", "distances"]) == 2
    assert "needs judges" in capsys.readouterr().err
    again = str(tmp_path / "again")
    asked = ["reconstruct", str(run), "--output", again, "--data"]
    assert main([*asked, str(folder / "a/0.nii.gz")]) == 2
    assert "1 of 1 volume has no label" in capsys.readouterr().err
    assert not Path(again).exists()
    assert main([*asked, str(folder)]) == 0
    by_folder = [path.read_bytes() for path in sorted(Path(again).iterdir())]
    assert len(by_folder) == 4
    files = {}
    for label in "ab":
        one = f"{again}-{label}.nii.gz"
        asked[3] = one
        assert main([*asked, str(folder / "a/0.nii.gz"), "--label", label]) == 0
        files[label] = Path(one).read_bytes()
    assert files["a"] == by_folder[0] != files["b"]
    assert main(["report", str(run)]) == 0
    text = (run / "report" / "report.html").read_text()
    assert "Left out" not in text
    assert text.count("<img") >= 3


def test_a_run_on_volumes_draws_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder, run = nifti(tmp_path / "scans", scans(3)), tmp_path / "run"
    flags = ["--patch", "5", "--model", "vae", "--network", "conv", "--width", "0.2"]
    flags += ["--likelihood", "discretized_logistic", "--max-steps", "3", "--threads", "1"]
    assert main(["train", "--data", str(folder), "--output", str(run), *flags]) == 0
    assert (run / "samples" / "epoch-0001.png").is_file()
    one = tmp_path / "one.nii.gz"
    assert main(["sample", str(run), "--count", "1", "--output", str(one)]) == 0
    image = nibabel.load(one)
    assert (image.shape, image.get_data_dtype()) == ((5, 5, 5), np.dtype(np.int16))
    assert image.header.get_zooms() == SPACING[::-1]
    assert main(["sample", str(run), "--count", "2", "--output", str(tmp_path / "two.npy")]) == 0
    both = np.load(tmp_path / "two.npy")
    assert np.array_equal(both[0], np.asarray(image.dataobj).transpose(2, 1, 0))
    again = tmp_path / "again.nii.gz"
    asked = ["reconstruct", str(run), "--data", str(folder / "0.nii.gz"), "--output", str(again)]
    assert main(asked) == 0
    image, original = nibabel.load(again), nibabel.load(folder / "0.nii.gz")
    assert (image.shape, image.get_data_dtype()) == (original.shape, np.dtype(np.int16))
    assert np.array_equal(image.affine, original.affine)
    assert main(["traverse", str(run)]) == 2
    assert "does not fit patches of volumes" in capsys.readouterr().err
    assert main(["sample", str(run), "--count", "2"]) == 0
    assert len([*(run / "samples" / "seed-0").glob("*.nii.gz")]) == 2
    assert main(["sample", str(run), "--count", "2", "--output", str(one)]) == 2
    assert "holds one volume" in capsys.readouterr().err

    graph = decoder_graph(VAE.from_pretrained(run), Origin({"beta": 1.0}, {"source": "scans"}))
    write_graph(graph, tmp_path / "decoder.onnx")
    script = shutil.copy(CHECKOUT / "export" / "sample.py", tmp_path)
    subprocess.run([sys.executable, script, "--count", "2"], cwd=tmp_path, check=True)
    drawn = np.load(tmp_path / "samples.npy")
    assert drawn.dtype == both.dtype
    assert abs(drawn.astype(int) - both).max() <= 1


def test_latents_of_whole_volumes_are_decoded_to_files_like_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder, run = nifti(tmp_path / "scans", scans(2)), tmp_path / "run"
    flags = ["--patch", "4", "--model", "vae", "--latents", "spatial", "--downscale", "2"]
    flags += ["--width", "0.1", "--max-steps", "1", "--threads", "1"]
    assert main(["train", "--data", str(folder), "--output", str(run), *flags]) == 0
    assert main(["latents", str(run), "--split", "all"]) == 0
    parts = sorted((run / "latents").glob("part-*"))
    assert len(parts) == 2
    index = (run / "latents" / "index.csv").read_text().splitlines()[1:]
    place = next(row for row, line in enumerate(index) if line.split(",")[1] == "0.nii.gz")
    tensors = load_file(parts[place])
    assert tensors["latents"].shape == (1, 4, 3, 4, 5)  # of 6 x 7 x 9, padded to 6 x 8 x 10
    facts = json.loads((run / "latents" / "latents.json").read_text())
    assert (facts["spacing"], facts["volumes"]) == ([*SPACING], 2)

    model = VAE.from_pretrained(run)
    original = nibabel.load(folder / "0.nii.gz")
    values = np.asarray(original.dataobj).transpose(2, 1, 0)
    domain = model.domain
    assert isinstance(domain, Volumes)
    levels = np.pad(domain.grid.levels(values, domain.levels), ((0, 0), (0, 1), (0, 1)), "edge")
    with torch.no_grad():
        inputs = domain.to_expected_input(torch.from_numpy(levels[None, None]))
        mean = model.posteriors(inputs, None)[0].mean
        whole = model.render((mean,))[0, 0, :, :7, :9].numpy() * (domain.levels - 1)
    assert torch.allclose(tensors["latents"], mean, atol=1e-5)
    found = decode(model, mean.numpy())
    assert found.shape == (1, 1, 6, 8, 10)
    assert found.dtype == np.dtype(np.uint16)
    assert main(["decode", str(run)]) == 0
    again = tmp_path / "again.nii.gz"
    asked = ["decode", str(run), "--data", str(folder / "0.nii.gz"), "--output", str(again)]
    assert main(asked) == 0
    for path in (again, run / "decode" / f"{place:05d}.nii.gz"):
        image = nibabel.load(path)
        assert (image.shape, image.get_data_dtype()) == (original.shape, np.dtype(np.int16))
        assert np.array_equal(image.affine, original.affine)
        off = np.asarray(image.dataobj).transpose(2, 1, 0) - domain.grid.values(whole)
        assert np.abs(off).max() <= 1
    assert main(["latents", str(run), "--image-size", "8", "--data", str(folder)]) == 2
    assert "does not fit patches of volumes" in capsys.readouterr().err


@pytest.mark.parametrize(("network", "space"), [("conv", "fsq"), ("resnet", "vq")])
def test_codes_lie_at_every_place_of_volumes(network: str, space: str) -> None:
    config = ModelConfig(model="vae", network=network, latent_space=space, width=0.1)
    model = build_model(
        dataclasses.replace(config, likelihood="laplace"), Volumes((1, 8, 8, 8)), ()
    )
    volumes = torch.rand(2, 1, 8, 8, 8)
    terms = model.terms_of(volumes, None, torch.randn(2, model.latents.infer_dim))
    assert terms.draws[0].z.shape[2:] == (4, 4, 4)
    drawn = model.latents.draw(torch.randn(2, model.latents.noise_dim), None)
    assert model.render(drawn).shape == volumes.shape
