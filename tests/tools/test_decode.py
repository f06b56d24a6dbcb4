"""Latents of images of any size, and images of such latents, in tiles."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

from distvae.config import ModelConfig
from distvae.domains.images import Images
from distvae.errors import DistvaeError
from distvae.models import VAE, build_model
from distvae.tools.decode import DecodeConfig, decode, write_decoded
from distvae.tools.large import large_of
from distvae.tools.latents import LatentsConfig, write_latents
from distvae.tools.parts import Parts
from distvae.tools.tiling import shares, spans, tiling_of
from distvae.tools.trained import Trained
from tests.test_spatial import MAPS, random_model

SIDE, FACTOR = 16, 4


@pytest.fixture
def model(tmp_path: Path) -> VAE:
    """Without labels; also as the folder ``model``."""
    found = random_model(SIDE, model="vae")
    found.save_pretrained(tmp_path / "model")
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(7):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pictures"


@pytest.mark.parametrize("length", [5, 40, 41, 77, 200])
def test_tiles_cover_a_side_and_their_shares_sum_up_to_one(length: int) -> None:
    parts = spans(length, 40, 12)
    assert parts[0][0] == 0
    assert parts[-1][1] == length
    assert all(end - first == min(length, 40) for first, end in parts)
    for (_, end), (first, _) in itertools.pairwise(parts):
        assert end - first >= 12
    for exact in (True, False):
        found = shares(parts, length, exact)
        whole = np.zeros(length)
        for (first, end), share in zip(parts, found, strict=True):
            whole[first:end] += share
        np.testing.assert_allclose(whole, 1.0, rtol=1e-6)
        if exact:  # nothing is taken from within half an overlap of a cut edge
            for number, share in enumerate(found):
                inner = share[6 * (number > 0) : len(share) - 6 * (number + 1 < len(found))]
                assert share.sum() == inner.sum()


def whole_image(model: VAE, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    (mean,) = model.render((torch.from_numpy(latents),)).detach()[None]
    return model.domain.to_stored(mean).numpy()


def test_tiles_are_what_the_whole_gives(model: VAE) -> None:
    latents = np.random.default_rng(1).standard_normal((2, MAPS, 40, 51), np.float32)
    expected = whole_image(model, latents)
    found = decode(model, latents, tile=104)
    assert found.shape == (2, 3, 160, 204)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() < 1e-3  # of values next to a rounding border
    errors = []
    for overlap in (48, 16):
        blended = decode(model, latents, tile=96, overlap=overlap)
        errors.append(np.abs(blended.astype(int) - expected).mean())
    assert 0 < errors[0] < errors[1] < 10
    assert (decode(model, latents, tile=4096) != expected).mean() < 1e-3

    large = large_of(Trained.of(model), 128)
    (posterior,) = model.posteriors(torch.from_numpy(expected) / 255.0)
    for one, whole in zip(large.encode(expected, None), posterior.base, strict=True):
        np.testing.assert_allclose(one, whole.detach(), rtol=0.0, atol=1e-5)
    assert large.tiles(large.encoding, (40, 51)) > 1


def test_labels_go_into_every_tile() -> None:
    model = random_model(SIDE)
    latents = np.random.default_rng(1).standard_normal((2, MAPS, 30, 30), np.float32)
    found = decode(model, latents, ["a", "b"], tile=104)
    for number, name in enumerate(("a", "b")):
        alone = decode(model, latents[number : number + 1], name)
        assert (alone[0] != found[number]).mean() < 1e-3
    assert (decode(model, latents, "a")[1] != found[1]).any()
    with pytest.raises(DistvaeError, match=r"there are 3 labels.*each of 2"):
        decode(model, latents, ["a", "b", "a"])


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [
        (30, None, r"--tile is 30.*multiple of 4.*Take 28"),
        (64, 6, r"--overlap is 6.*multiple of 4.*Take 4"),
        (64, None, r"--tile 64 is too small.*more than 72 pixels.*34 on either side.*--tile 144"),
        (8, None, r"--tile 8 is too small.*34 on either side. Take --tile 144\.$"),
        (64, 64, r"--overlap 64 is not below --tile 64"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tile: int, overlap: int | None, message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        tiling_of(tile, overlap, 34, FACTOR)


def test_what_is_not_the_whole_is_told() -> None:
    assert tiling_of(None, None, 34, FACTOR).told == ""
    assert "from --overlap 72 on" in tiling_of(64, 16, 34, FACTOR).told
    assert "attention see a tile" in tiling_of(256, None, None, FACTOR).told
    assert tiling_of(None, 400, 34, FACTOR).tile == 800


def test_other_models_and_latents_are_refused(model: VAE, tmp_path: Path) -> None:
    latents = np.zeros((1, MAPS + 1, 4, 4), np.float32)
    with pytest.raises(DistvaeError, match=r"shape \[1, 3, 4, 4\].*\[N, 2, H, W\]"):
        decode(model, latents)
    other = random_model(latent_space="fsq", latent_channels=None, model="vae")
    with pytest.raises(DistvaeError, match=r"every place.*--latents fsq.*--latents spatial"):
        decode(other, latents[:, :MAPS])
    np.save(tmp_path / "a.npy", latents)
    np.save(tmp_path / "b.npy", np.full((MAPS, 4, 4), np.nan, np.float32))
    np.save(tmp_path / "z.npy", latents[:, :MAPS, :0])
    with pytest.raises(DistvaeError, match=r"of the shape \[1, 2, 0, 4\]"):
        decode(model, latents[:, :MAPS, :0])
    (tmp_path / "c.png").write_text("none")
    (tmp_path / "d").mkdir()
    for name, message in (
        ("a.npy", r"a.npy holds float of the shape \[1, 3, 4, 4\].*\[N, 2, H, W\]"),
        ("z.npy", r"z.npy holds no numbers: its shape is \[1, 2, 0, 4\]"),
        ("b.npy", r"b.npy has numbers that are NaN"),
        ("c.png", r"c.png cannot be read"),
        ("d", r"holds no latents.*distvae latents"),
        ("e.npz", r"there is no .*e.npz"),
    ):
        config = DecodeConfig(run=str(tmp_path / "model"), data=str(tmp_path / name))
        with pytest.raises(DistvaeError, match=message):
            write_decoded(config)


def test_latents_are_written_and_decoded(
    model: VAE, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "latents", str(tmp_path / "model")
    settings: dict[str, Any] = {"run": run, "data": str(pictures), "output": str(folder)}
    write_latents(LatentsConfig(**settings, part_images=7, variances=True))
    found = load_file(folder / "part-00000.safetensors")
    index = list(csv.DictReader((folder / "index.csv").read_text().splitlines()))
    images = [np.asarray(Image.open(pictures / row["id"])).transpose(2, 0, 1) for row in index]
    posterior = model.encode(torch.from_numpy(np.stack(images)) / 255.0)
    mean, log_variance = (part.detach().numpy() for part in posterior.base)
    np.testing.assert_allclose(found["latents"], mean, atol=1e-5)
    np.testing.assert_allclose(found["log_variance"], log_variance, atol=1e-5)
    assert [row["label"] for row in index] == [row["id"][0] for row in index]
    assert found["labels"].tolist() == ["ab".index(row["label"]) for row in index]
    facts = json.loads((folder / "latents.json").read_text())
    noise = np.random.default_rng(0).standard_normal((4000, *mean.shape))
    draws = mean + np.exp(0.5 * log_variance) * noise
    assert facts["scaling_factor"] == pytest.approx(1 / draws.std(), rel=1e-2)
    of_channels = draws.std((0, 1, 3, 4))
    np.testing.assert_allclose(facts["latents_std"], of_channels, rtol=1e-2)
    np.testing.assert_allclose(facts["latents_mean"], mean.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert "scaling_factor" in capsys.readouterr().out

    write_decoded(DecodeConfig(run=run, data=str(folder), output=str(tmp_path / "out.npy")))
    whole = np.load(tmp_path / "out.npy")
    assert np.array_equal(whole, decode(model, found["latents"]))
    scaled = tmp_path / "scaled"
    scaled.mkdir()
    (scaled / "latents.json").write_bytes((folder / "latents.json").read_bytes())
    factor = np.float32(facts["scaling_factor"])
    save_file({"latents": factor * found["latents"]}, scaled / "part-0.safetensors")
    config = DecodeConfig(run=run, data=str(scaled), scaled=True, output=str(tmp_path / "many"))
    write_decoded(config)
    one = np.asarray(Image.open(tmp_path / "many" / "00003.png")).transpose(2, 0, 1)
    assert np.abs(one.astype(int) - whole[3]).max() <= 1


def test_a_command_that_was_stopped_goes_on(
    model: VAE,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"run": str(tmp_path / "model"), "data": str(pictures)}
    settings |= {"image_size": 160, "tile": 96, "part_images": 3, "draw": True}
    settings |= {"precision": "fp16"}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    write_latents(LatentsConfig(**settings, output=str(whole)))
    with monkeypatch.context() as patched:
        write = Parts.write

        def then_stop(parts: Parts, *given: Any) -> None:
            write(parts, *given)
            raise KeyboardInterrupt

        patched.setattr(Parts, "write", then_stop)
        with pytest.raises(KeyboardInterrupt):
            write_latents(LatentsConfig(**settings, output=str(stopped)))
    capsys.readouterr()
    write_latents(LatentsConfig(**settings, output=str(stopped)))
    assert "going on after 3 of 7" in capsys.readouterr().out
    names = [path.name for path in sorted(whole.glob("[!.]*"))]
    assert names == ["index.csv", "latents.json", *(f"part-0000{n}.safetensors" for n in range(3))]
    for name in names:
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()
    latents = load_file(whole / names[2])["latents"]
    assert latents.dtype == np.float16
    assert latents.shape[1:] == (MAPS, 40, 40)


def test_images_of_16_bits_are_decoded(tmp_path: Path) -> None:
    """A picture of 16 bits goes through, and what is written has all of its levels."""
    torch.manual_seed(0)
    parts = {"latent_space": "spatial", "latent_channels": MAPS, "downscale": 4, "width": 0.1}
    config = ModelConfig(model="vae", likelihood="gaussian", **parts)
    model = build_model(config, Images((1, SIDE, SIDE), levels=65_536), ()).eval()
    model.save_pretrained(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 65_536, (20, 28)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (mean,) = model.requires_grad_(False).means(
        torch.from_numpy(pixels / 65_535.0)[None, None].float()
    )
    expected = 65_535.0 * model.render((mean,))[0, 0].clamp(0.0, 1.0).numpy()
    for name in ("out.png", "out.npy"):
        run, data = str(tmp_path / "model"), str(tmp_path / "a.png")
        write_decoded(DecodeConfig(run=run, data=data, output=str(tmp_path / name)))
        path = tmp_path / name
        found = np.asarray(Image.open(path)) if name.endswith("png") else np.load(path)[0, 0]
        assert found.dtype == np.uint16
        assert len(np.unique(found)) > 256
        np.testing.assert_allclose(found, expected, atol=1.0)


def test_a_picture_of_any_size_goes_through(
    model: VAE, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (49, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    run, output = str(tmp_path / "model"), tmp_path / "again.png"
    write_decoded(DecodeConfig(run=run, data=str(tmp_path / "a.png"), output=str(output)))
    assert "repeated up to a multiple of 4" in capsys.readouterr().out
    again = np.asarray(Image.open(output)).transpose(2, 0, 1)
    padded = np.pad(pixels.transpose(2, 0, 1), ((0, 0), (0, 3), (0, 2)), "edge")
    (mean,) = model.means(torch.from_numpy(padded)[None] / 255.0)
    expected = whole_image(model, mean.detach().numpy())[0][:, :49, :30]
    assert np.abs(again.astype(int) - expected).max() <= 1
    Image.fromarray(pixels[..., 0]).convert("LA").save(tmp_path / "grey.png")
    write_decoded(DecodeConfig(run=run, data=str(tmp_path / "grey.png"), output=str(output)))
    assert "grey.png: the model is of colour images: grey ones" in capsys.readouterr().out
    with pytest.raises(DistvaeError, match=r"--image-size 30.*Name the data by --data"):
        write_latents(LatentsConfig(run=run, image_size=30))
    config = LatentsConfig(run=run, data=str(tmp_path / "a.png"), image_size=30)
    with pytest.raises(DistvaeError, match=r"30 x 30.*multiples of 4"):
        write_latents(config)
