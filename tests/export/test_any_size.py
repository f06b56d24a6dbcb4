"""Graphs of latents at every place: any height and width, without torch."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from distvae.conditions import Context
from distvae.errors import DistvaeError
from distvae.export import verify_maps
from distvae.export.convert import Origin, any_size_graphs, write_graph
from distvae.export.manifest import KEY, AnySizeRecord
from distvae.export.maps import MapDecoder, MapEncoder, readme_lines
from distvae.export.parity import with_mean
from distvae.export.session import EARLIER, read_manifest
from distvae.export.verify import verify
from distvae.models import VAE
from distvae.tools.decode import decode
from distvae.tools.large import large_of
from distvae.tools.latents import LatentsConfig, write_latents
from distvae.tools.tiling import in_tiles
from distvae.tools.trained import LATENT_DECODER, LATENT_ENCODER, Trained
from tests.test_spatial import MAPS, random_model
from tests.tools.test_exported import run_without_torch

FACTOR, SIDE, REACH = 4, 16, 34
NEEDED = 72
"""Pixels by which tiles overlap so that nothing differs from the whole."""
LABEL = np.array([1])


@pytest.fixture(scope="module")
def model() -> VAE:
    return random_model(SIDE, width=0.25)


@pytest.fixture(scope="module")
def folder(model: VAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both files."""
    folder = tmp_path_factory.mktemp("onnx")
    for name, proto in any_size_graphs(model, Origin({}, {"source": "none", "fingerprint": "0"})):
        write_graph(proto, folder / name)
    return folder


def normals(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@pytest.mark.slow
def test_images_of_other_sides_go_through_the_files(
    model: VAE, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = read_manifest(folder / LATENT_DECODER).any_size
    assert facts == AnySizeRecord(FACTOR, REACH)
    assert f"`[batch, 3, {FACTOR} * rows, {FACTOR} * columns]`" in readme_lines(folder)
    decoder, encoder = MapDecoder(folder / LATENT_DECODER), MapEncoder(folder / LATENT_ENCODER)
    latents, context = normals(1, MAPS, 6, 11), Context.of_label(torch.tensor([1]))
    image = decoder.decode(latents, LABEL)
    expected = model.domain.to_stored(model.render((torch.from_numpy(latents),), context)).numpy()
    assert image.shape == (1, 3, 6 * FACTOR, 11 * FACTOR)
    assert np.abs(image.astype(int) - expected).max() <= 1
    found = encoder.encode(image, LABEL)
    (posterior,) = model.posteriors(torch.from_numpy(image) / 255.0, context)
    for one, other in zip(found, posterior.base, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-4)
    # plain ONNX, for any runtime
    session = onnxruntime.InferenceSession(str(folder / LATENT_DECODER))
    assert np.array_equal(session.run(None, {"latents": latents, "label": LABEL})[0], image)

    for array, message in (
        (image[:, :2], r"image has shape \[1, 2, 24, 44\].*\[N, 3, any, any\]"),
        (image[..., :0], r"image has shape \[1, 3, 24, 0\]"),
        (image[..., :22], r"24 x 22.*multiples of 4"),
        (image / 255.0, r"image is float64.*uint8"),
    ):
        with pytest.raises(DistvaeError, match=message):
            encoder.encode(array, LABEL)
    with pytest.raises(DistvaeError, match="not finite"):
        decoder.decode(latents * np.float32(np.inf), LABEL)
    with pytest.raises(DistvaeError, match="labels are missing"):
        decoder.decode(latents)

    for name in (LATENT_DECODER, LATENT_ENCODER):
        assert verify(folder / name, model).error < 1e-5
        with monkeypatch.context() as patched:
            patched.setattr(verify_maps, "TOLERANCE", -1.0)
            with pytest.raises(DistvaeError, match=f"{name} does not give what the model gives"):
                verify(folder / name, model)


@pytest.mark.slow
def test_tiles_are_the_whole_before_they_are_rounded(folder: Path) -> None:
    latents = normals(1, MAPS, 40, 51)
    with with_mean(folder / LATENT_DECODER) as session:

        def mean(parts: tuple[slice, ...]) -> NDArray[np.float32]:
            feeds = {"latents": latents[(slice(None), slice(None), *parts)], "label": LABEL}
            found: NDArray[np.float32] = session.run(["mean_image"], feeds)[0][0]
            return found

        whole = mean((slice(None), slice(None)))
        for overlap, same in ((NEEDED, True), (NEEDED // 2, False)):
            places = (104 // FACTOR, overlap // FACTOR)
            strips = in_tiles(mean, (40, 51), *places, FACTOR, True)
            tiled = np.concatenate([strip for _, strip in strips], 1)
            assert (np.abs(tiled - whole).max() <= 1e-5) == same
    trained = Trained.of(str(folder), LATENT_ENCODER)
    stored = np.random.default_rng(1).integers(0, 256, (2, 3, 160, 204), dtype=np.uint8)
    given = np.array([[0.0], [1.0]], np.float32)
    tiled_posterior, posterior = (
        large_of(trained, tile).encode(stored, given) for tile in (104, None)
    )
    for found, expected in zip(tiled_posterior, posterior, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5)


@pytest.mark.slow
def test_commands_work_without_torch(
    model: VAE, folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Parts, facts and images are those that the weights give, in the same layout."""
    random = np.random.default_rng(0)
    for number in range(5):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (160, 200, 3), dtype=np.uint8)).save(path)
    model.save_pretrained(tmp_path / "model")
    asked: list[object] = ["--data", tmp_path / "pictures", "--image-size", 160, "--tile", 104]
    asked += ["--part-images", 3, "--draw", "--variances", "--seed", 3]
    picture = tmp_path / "pictures" / "b" / "1.png"
    told = run_without_torch(
        tmp_path,
        environment,
        ["latents", folder, *asked, "--output", "latents"],
        ["decode", folder, "--data", "latents", "--label", "b", "--output", "images.npy"],
        ["decode", folder, "--data", picture, "--label", "b", "--tile", 96, "--output", "a.png"],
    )
    assert "5 images, latents of 2 x 40 x 40 each" in told
    config = LatentsConfig(
        *(str(tmp_path / "model"), str(tmp_path / "pictures")),
        image_size=160,
        tile=104,
        part_images=3,
        draw=True,
        variances=True,
        seed=3,
        output=str(tmp_path / "weighed"),
    )
    write_latents(config)
    names = sorted(path.name for path in (tmp_path / "weighed").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "latents").iterdir())
    _same_parts(tmp_path / "latents", tmp_path / "weighed")
    latents = np.concatenate(
        [load_file(part)["latents"] for part in sorted((tmp_path / "latents").glob("part-*"))]
    )
    _same_images(np.load(tmp_path / "images.npy"), decode(model, latents, "b"))
    encoded = np.array(Image.open(picture)).transpose(2, 0, 1)[None]
    (mean,) = model.means(torch.from_numpy(encoded) / 255.0, Context.of_label(torch.tensor([1])))
    found = np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1)[None]
    _same_images(found, decode(model, mean.numpy(), "b"))


def _same_parts(found: Path, expected: Path) -> None:
    assert (found / "index.csv").read_bytes() == (expected / "index.csv").read_bytes()
    for part in expected.glob("part-*"):
        ours, theirs = load_file(found / part.name), load_file(part)
        assert {**ours}.keys() == theirs.keys()
        for name, values in theirs.items():
            assert ours[name].dtype == values.dtype
            np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-5)
    ours, theirs = (json.loads((each / "latents.json").read_text()) for each in (found, expected))
    assert ours.pop("sha256") != theirs.pop("sha256")  # of the file itself
    assert ours == {
        name: pytest.approx(fact, rel=1e-5, abs=1e-5) if isinstance(fact, float | list) else fact
        for name, fact in theirs.items()
    }


def _same_images(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() < 1e-3  # of values next to a rounding border


@pytest.mark.slow
def test_blended_tiles_of_a_file_are_those_of_the_weights(model: VAE, folder: Path) -> None:
    latents = normals(1, MAPS, 40, 51)
    for settings in ({"tile": 96, "overlap": 16}, {"tile": 104}):
        found, expected = (decode(one, latents, "a", **settings) for one in (folder, model))
        assert np.abs(found.astype(int) - expected).max() <= 1
    with pytest.raises(DistvaeError, match=r"--tile 64 is too small.*34 on either side"):
        decode(folder, latents, "a", tile=64)
    with pytest.raises(DistvaeError, match=r"shape \[1, 3, 4, 4\].*\[N, 2, H, W\]"):
        decode(folder, normals(1, 3, 4, 4), "a")


@pytest.mark.slow
def test_files_that_do_not_do_are_told(folder: Path, tmp_path: Path) -> None:
    latents = normals(1, MAPS, 3, 3)
    path = tmp_path / LATENT_DECODER
    content = bytearray((folder / LATENT_DECODER).read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DistvaeError, match=r"is damaged"):
        decode(tmp_path, latents, "a")
    proto = onnx.load(folder / LATENT_DECODER)
    manifest = read_manifest(folder / LATENT_DECODER)
    for changes in ({"any_size": None}, {"any_size": AnySizeRecord(8, 34)}, {"graph": "decoder2"}):
        changed = dataclasses.replace(manifest, **changes)
        onnx.helper.set_model_props(proto, {KEY: changed.to_json()})
        path.write_bytes(proto.SerializeToString())
        with pytest.raises(DistvaeError):
            decode(tmp_path, latents, "a")
    onnx.helper.set_model_props(proto, {EARLIER: json.dumps({"factor": FACTOR})})
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(DistvaeError, match=r"is of an earlier version.*tiles must.*Export the run"):
        decode(tmp_path, latents, "a")
    (tmp_path / "decoder.onnx").write_bytes(b"")
    path.unlink()
    with pytest.raises(DistvaeError, match=r"there is no .*latent_decoder.*--latents spatial"):
        decode(tmp_path, latents, "a")
