"""Pictures of reconstructions, paths, latents and planes, beside closed forms and the model."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from scipy.stats import norm  # type: ignore[import-untyped, unused-ignore]
from sklearn.decomposition import PCA

from distvae import VAE, DistvaeError
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.data.provenance import open_recorded
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.similarity import psnr, ssim
from distvae.models import build_model
from distvae.runs import find_run
from distvae.tools.batches import context_of
from distvae.tools.gif import MILLISECONDS
from distvae.tools.interpolate import interpolate
from distvae.tools.manifold import manifold
from distvae.tools.paths import between
from distvae.tools.reconstruct import reconstruct
from distvae.tools.smoothness import Features, smoothness
from distvae.tools.traverse import traverse
from distvae.tools.whitened import whitened
from tests.conftest import SIDE, TEST_IMAGES, Command, assert_refused, write_shapes


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    """0.26.0 with Gaussian weights, population moments, sigma 1.5 and the range 255 gives these."""
    random = np.random.default_rng(5)
    first = random.integers(0, 256, (3, 2, 16, 13), np.uint8)
    noise = random.integers(-60, 61, first.shape)
    second = np.clip(first.astype(int) + noise, 0, 255).astype(np.uint8)
    published = [0.8812629153210634, 0.8983789356168429, 0.8876014166529415]
    np.testing.assert_allclose(ssim(first, second), published, rtol=1e-12)
    error = np.mean((first.astype(float) - second) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(psnr(first, second), 20 * np.log10(255 / np.sqrt(error)))
    small = first[:, :, :8, :8]
    np.testing.assert_allclose(ssim(small, small), 1.0)
    assert np.isinf(psnr(small, small)).all()


def test_reconstructions_are_the_decoders_means(
    finished: Path, command: Command, tmp_path: Path
) -> None:
    model, run = VAE.from_pretrained(finished), find_run(finished)
    test = open_recorded(run, None).test
    found = reconstruct(finished)
    assert test.labels is not None
    with torch.no_grad():
        codes = model.encode(torch.from_numpy(test.images / np.float32(255)), test.labels).mean
        decoded = (255 * model.decode(codes, test.labels)).round().byte().numpy()
    assert (found.originals == test.images).all()
    assert np.abs(found.decoded.astype(int) - decoded).max() <= 1
    figures = dict(elbo_metrics(model, ResidentImages.from_split(test), 0))
    np.testing.assert_allclose(found.nats.rate.mean(), figures["rate"], rtol=1e-5)
    np.testing.assert_allclose(found.nats.distortion.mean(), figures["distortion"], rtol=1e-5)
    ended = command("reconstruct", finished, "--output", tmp_path / "out", "--count", 12)
    assert ended.code == 0, ended.err
    assert f"PSNR {found.psnr.mean():.2f} ±" in ended.out
    assert f"elbo {figures['elbo']:.2f} ±" in ended.out
    with (tmp_path / "out" / "reconstructions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == TEST_IMAGES
    np.testing.assert_allclose([float(row["ssim"]) for row in rows], found.ssim, rtol=1e-4)
    with np.load(tmp_path / "out" / "reconstructions.npz") as arrays:
        assert (arrays["reconstructions"] == found.decoded).all()


def test_an_arc_turns_evenly_and_a_line_is_straight() -> None:
    first, last, times = np.array([3.0, 0.0, 0.0]), np.array([0.0, 3.0, 0.0]), np.linspace(0, 1, 7)
    angles = times * np.pi / 2
    circle = np.stack([3 * np.cos(angles), 3 * np.sin(angles), 0 * times], 1)
    np.testing.assert_allclose(between(first, last, times, "spherical"), circle, atol=1e-12)
    a, b = np.random.default_rng(0).normal(size=(2, 40))
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    angle, t = np.arccos(a @ b / (a @ a)), times[:, None]
    slerp = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    np.testing.assert_allclose(between(a, b, times, "spherical"), slerp)
    lengths = np.linalg.norm(between(a, 2 * b, times, "spherical"), axis=1)
    np.testing.assert_allclose(lengths, (1 + times) * np.linalg.norm(a))
    np.testing.assert_allclose(between(a, b, times, "linear"), a + t * (b - a))
    np.testing.assert_allclose(between(a, -a, times, "spherical"), a - 2 * t * a, atol=1e-12)


def test_smoothness_of_a_straight_way_and_of_a_jump() -> None:
    times = np.linspace(0, 1, 33, dtype=np.float32)[:, None]
    plain = Features("", lambda values: [values])
    straight = smoothness([times * np.array([[3.0, 4.0]], np.float32)], plain)
    assert straight.length == pytest.approx(25.0)
    assert straight.detour == pytest.approx(1.0)
    assert straight.largest == pytest.approx(1 / 32)
    jump = smoothness([(times > 0.5).astype(np.float32)], plain)
    assert (jump.length, jump.largest) == pytest.approx((32.0, 1.0))
    half_circle = np.concatenate([np.cos(np.pi * times), np.sin(np.pi * times)], 1)
    assert smoothness([half_circle], plain).detour == pytest.approx(np.pi / 2, rel=1e-3)


def test_a_path_begins_and_ends_with_the_reconstructions(
    finished: Path, command: Command, tmp_path: Path
) -> None:
    folder = write_shapes(tmp_path / "few", 2, 11)
    paths = [folder / "circle" / "000.png", folder / "cross" / "001.png"]
    images = np.stack([np.asarray(Image.open(path))[None] for path in paths])
    whole = reconstruct(finished, images, "circle")
    for path in ("linear", "spherical"):
        found = interpolate(finished, images, "circle", steps=5, path=path)
        assert (found.frames[0, [0, -1]].astype(int) - whole.decoded).__abs__().max() <= 1
    words = ("interpolate", finished, *paths, "--label", "circle", "--output", tmp_path / "path")
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert "perceptual path length" in ended.out
    with Image.open(tmp_path / "path" / "interpolation.gif") as moving:
        shown = [frame.info["duration"] for frame in ImageSequence.Iterator(moving)]
    assert sum(shown) == (2 * 33 - 2) * MILLISECONDS  # equal frames are one
    plain = command("interpolate", finished, "--steps", 2, "--output", tmp_path / "drawn.npz")
    assert "no --label: all are given label circle" in plain.out
    assert_refused(command("interpolate", finished, paths[0]), "expected two")
    assert_refused(command("interpolate", finished, *paths, "--label", "0,1,2"), "one for all")
    drawn = interpolate(finished, labels=["circle", "square"], seeds=[3], steps=4)
    model = VAE.from_pretrained(finished)
    first = model.domain.to_stored(model.sample(labels=["circle"], seed=3)).numpy()
    assert np.abs(drawn.frames[0, 0].astype(int) - first[0]).max() <= 1


@pytest.mark.parametrize("prior", ["normal", "flow", "mixture", "label"])
def test_latents_come_back_from_the_space_of_every_prior(prior: str) -> None:
    torch.manual_seed(0)
    labelled = prior in ("label", "mixture")
    config = ModelConfig(
        model="cvae" if labelled else "vae", prior=prior, hidden=(8,), latent_dim=4
    )
    model = build_model(config, (1, SIDE, SIDE), ("a", "b") if labelled else ())
    for name, parameter in model.latents.named_parameters():
        if name.startswith("prior"):
            parameter.data += 0.1 * torch.randn_like(parameter)
    space = whitened(model.eval())
    given = np.array([[0.0], [1.0], [1.0]], np.float32) if labelled else None
    context = context_of(model, given, 3)
    z = torch.randn(3, 4)
    one = None if given is None else given[:1]
    with torch.no_grad():
        again = space.latents(space.of((z,), context), context)[0]
        noise = torch.randn(20_000, model.latents.noise_dim)
        drawn = model.latents.draw(noise, context_of(model, one, 20_000))
        coordinates = space.of(drawn, context_of(model, one, 20_000)).numpy()
        table = space.quantiles([0.1, 0.5, 0.9], context_of(model, given, 3))
    np.testing.assert_allclose(again.numpy(), z.numpy(), atol=1e-4)
    for share, row in zip((0.1, 0.5, 0.9), table, strict=True):
        below = (coordinates < row).mean(0)
        assert (np.abs(below - share) < 0.015).all()


def test_traversals_move_one_latent_through_the_quantiles(
    plain: Path, command: Command, tmp_path: Path
) -> None:
    model, found = VAE.from_pretrained(plain), traverse(plain, steps=7)
    assert found.latents == tuple(str(at) for at in np.argsort(-found.all_rates))
    assert (np.diff(found.rates) <= 0).all()
    run = find_run(plain)
    test = open_recorded(run, None).test
    posterior = model.encode(torch.from_numpy(test.images / np.float32(255)))
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp()),
        torch.distributions.Normal(0.0, 1.0),
    ).mean(0)
    np.testing.assert_allclose(found.all_rates, kl.detach().numpy(), rtol=1e-3, atol=1e-5)
    values = norm.ppf(np.linspace(0.01, 0.99, 7))
    np.testing.assert_allclose(found.values, np.tile(values, (3, 1)), atol=1e-12)
    z = torch.zeros(7, 3)
    z[:, int(found.latents[1])] = torch.from_numpy(values).float()
    with torch.no_grad():
        expected = (255 * model.decode(z)).round().numpy()
    assert np.abs(found.frames[1].astype(int) - expected).max() <= 1
    image = test.images[:1]
    kept = traverse(plain, image, latents=[2], steps=3)
    with torch.no_grad():
        base = posterior.mean[:1].repeat(3, 1)
        base[:, 2] = torch.from_numpy(norm.ppf([0.01, 0.5, 0.99]))
        expected = (255 * model.decode(base)).round().numpy()
    assert np.abs(kept.frames[0].astype(int) - expected).max() <= 1
    ended = command("traverse", plain, "--steps", 5, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert {path.name for path in (tmp_path / "out").iterdir()} > {
        *("traversal.png", "traversal.gif", "traversal.npz", "rates.csv")
    }
    with Image.open(tmp_path / "out" / "traversal.gif") as moving:
        assert 256 <= max(moving.size) <= 2 * 256  # of three small pictures
    assert_refused(command("traverse", plain, "--latent", "7"), "this model has 0..2")


def test_a_manifold_is_the_decoder_over_a_plane(
    plain: Path, finished: Path, command: Command, tmp_path: Path
) -> None:
    model = VAE.from_pretrained(plain)
    found = manifold(plain, size=4, latents=[2, 0])
    values = norm.ppf(np.linspace(0.02, 0.98, 4))
    z = torch.zeros(4, 4, 3)
    z[..., 2] = torch.from_numpy(values).float()[None, :]
    z[..., 0] = torch.from_numpy(values).float()[:, None]
    with torch.no_grad():
        expected = (255 * model.decode(z.view(16, 3))).round().numpy().reshape(4, 4, 1, SIDE, SIDE)
    assert np.abs(found.frames.astype(int) - expected).max() <= 1
    test = open_recorded(find_run(plain), None).test
    with torch.no_grad():
        means = model.encode(torch.from_numpy(test.images / np.float32(255))).mean.numpy()
    principal = manifold(plain, size=2, plane="principal")
    axes = PCA(2, svd_solver="full").fit(means.astype(np.float64)).components_
    np.testing.assert_allclose(np.abs((principal.axes * axes).sum(1)), 1.0, atol=1e-4)
    ended = command("manifold", finished, "--size", 3, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {f"manifold-label-{name}.png" for name in ("circle", "cross", "square")}
    with pytest.raises(DistvaeError, match="expected two"):
        manifold(plain, latents=[1])
