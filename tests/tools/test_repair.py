"""Pictures behind noisy or hidden pixels: the draws, what pixels say, and the command."""

import csv
import json
import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from distvae import DistvaeError
from distvae.attributes import Attribute
from distvae.config import ModelConfig
from distvae.models import build_model
from distvae.tools import classical
from distvae.tools.annealing import Scale, anneal, climb, next_share, resampled, settle, weighed
from distvae.tools.corruption import (
    MASKS,
    Noise,
    estimated_deviation,
    mask_of,
    noise_of,
)
from distvae.tools.evidence import Counts, Evidence, PixelLaw
from distvae.tools.repair import repair
from distvae.tools.unknown import each_value, most_values
from tests.conftest import Command, Start, assert_refused

LATENT, PIXELS, DEVIATION = 3, 8, 0.7


def linear() -> tuple[Tensor, Tensor, Tensor]:
    """A linear decoder's matrix and offset, and two observations of its pixels."""
    random = torch.Generator().manual_seed(1)
    matrix = torch.randn(PIXELS, LATENT, generator=random)
    offset = torch.randn(PIXELS, generator=random)
    seen = torch.randn(2, LATENT, generator=random) @ matrix.T + offset
    return matrix, offset, seen + DEVIATION * torch.randn(2, PIXELS, generator=random)


class Linear:
    """The posterior of latents of a linear decoder with Gaussian noise."""

    def __init__(self, count: int) -> None:
        self.matrix, self.offset, seen = linear()
        self.seen = seen.repeat_interleave(count, 0)

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        normal = torch.distributions.Normal
        means = z @ self.matrix.T + self.offset
        log_seen = normal(means, DEVIATION).log_prob(self.seen).sum(1)  # type: ignore[no-untyped-call]
        log_prior = normal(torch.zeros(()), torch.ones(())).log_prob(z).sum(1)  # type: ignore[no-untyped-call]
        return log_prior, log_seen

    def sharpness(self, z: Tensor, count: int) -> Tensor:
        return (self.matrix.T @ self.matrix / DEVIATION**2).expand(len(z), LATENT, LATENT)


def closed_form() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean ``[2, Z]`` and covariance of the posterior, and log evidence ``[2]``, in float64."""
    matrix, offset, seen = (each.double().numpy() for each in linear())
    covariance = np.linalg.inv(np.eye(LATENT) + matrix.T @ matrix / DEVIATION**2)
    off = seen - offset
    mean = off @ matrix @ covariance / DEVIATION**2
    spread = matrix @ matrix.T + DEVIATION**2 * np.eye(PIXELS)
    squared = np.einsum("bp,pq,bq->b", off, np.linalg.inv(spread), off)
    log_det = np.linalg.slogdet(2.0 * math.pi * spread)[1]
    return mean, covariance, -0.5 * (squared + log_det)


def test_draws_of_a_linear_gaussian_decoder_have_the_posterior_of_the_closed_form() -> None:
    count = 4000
    random = torch.Generator().manual_seed(0)
    start = torch.randn(2 * count, LATENT, generator=random)
    decoder = Linear(count)
    found = anneal(decoder, decoder.sharpness, start, count, random, moves=2)
    now, length = found.particles, found.length
    settled = settle(decoder, decoder.sharpness, now, length, random, 20)
    draws = settled.z.view(2, count, LATENT).double().numpy()
    mean, covariance, evidence = closed_form()
    error = np.sqrt(np.diag(covariance) / count)
    assert (np.abs(draws.mean(1) - mean) < 6.0 * error).all()
    for own in draws:
        np.testing.assert_allclose(np.cov(own.T), covariance, atol=0.08 * covariance.max())
    np.testing.assert_allclose(found.log_evidence.numpy(), evidence, atol=0.1)
    # far from where the prior's draws began, so that both the stages and the moves are needed
    assert found.stages > 3
    assert np.abs(start.view(2, count, LATENT).mean(1).numpy() - mean).max() > 10 * error.max()


def test_the_likeliest_latents_of_a_linear_gaussian_decoder_are_the_posterior_mean() -> None:
    best = climb(Linear(1), torch.zeros(2, LATENT), steps=800, rate=0.1)
    np.testing.assert_allclose(best.z.numpy(), closed_form()[0], atol=1e-3)
    again = climb(Linear(1), best.z, steps=1, rate=5.0)  # a step too far is not taken
    heights = [each.log_prior + each.log_likelihood for each in (best, again)]
    assert (heights[1] >= heights[0]).all()


def test_draws_of_two_modes_come_in_their_proportions() -> None:
    """p(z | seen) has 3/4 of its mass around 2 and 1/4 around -2, with nothing between."""

    def density(z: Tensor) -> tuple[Tensor, Tensor]:
        modes = -0.5 * ((z - torch.tensor([2.0, -2.0])) / 0.05).square()
        target = (modes + torch.tensor([0.75, 0.25]).log()).logsumexp(1)
        log_prior = -0.5 * z[:, 0].square()
        return log_prior, target - log_prior.detach() if not z.requires_grad else target - log_prior

    random = torch.Generator().manual_seed(0)

    def sharpness(z: Tensor, count: int) -> Tensor:
        return torch.full((1, 1, 1), 1.0 / 0.05**2)

    start = torch.randn(4000, 1, generator=random)
    found = anneal(density, sharpness, start, 4000, random).particles.z[:, 0]
    assert float((found > 0).float().mean()) == pytest.approx(0.75, abs=0.06)
    np.testing.assert_allclose(found.abs().numpy(), 2.0, atol=0.3)


def test_steps_are_scaled_by_the_covariance_of_a_precision() -> None:
    random = torch.Generator().manual_seed(2)
    root = torch.randn(2, LATENT, LATENT, generator=random)
    precision = root @ root.mT + torch.eye(LATENT)
    rows = torch.randn(2 * 50_000, LATENT, generator=random)
    scale = Scale(precision, 50_000)
    covariance = np.linalg.inv(precision.double().numpy())
    for own, drawn in zip(covariance, scale.drawn(rows).view(2, -1, LATENT).numpy(), strict=True):
        np.testing.assert_allclose(np.cov(drawn.T), own, atol=0.03 * own.max())
    torch.testing.assert_close(scale.whitened(scale.drawn(rows)), rows, rtol=1e-3, atol=1e-4)
    by_hand = np.einsum("bij,brj->bri", covariance, rows.view(2, -1, LATENT).numpy())
    found = scale.covariant(rows).view(2, -1, LATENT).numpy()
    np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-4)


def test_gradients_resampling_and_the_next_share() -> None:
    z = torch.randn(2, LATENT, generator=torch.Generator().manual_seed(5))
    matrix, offset, seen = linear()
    slope = weighed(Linear(1), z).likelihood_slope
    expected = (seen - z @ matrix.T - offset) @ matrix / DEVIATION**2
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-4)
    weights = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 1.0, 0.0]]).log()
    rows = resampled(weights, torch.Generator().manual_seed(0))
    assert rows.tolist() == [0, 0, 1, 2, 6, 6, 6, 6]
    fewer = resampled(weights, torch.Generator().manual_seed(0), 2)
    assert fewer.tolist()[2:] == [6, 6]
    likelihoods = torch.tensor([[0.0, -40.0, -80.0, -120.0], [1.0, 1.0, 1.0, 1.0]])
    share = next_share(likelihoods, torch.zeros(2))
    assert float(share[1]) == 1.0
    powers = torch.softmax(share[0] * likelihoods[0], 0)
    assert float(1.0 / powers.square().sum()) == pytest.approx(0.8 * 4, rel=1e-3)


@pytest.mark.parametrize("noise", [Noise("gaussian", 0.3), Noise("salt-pepper", 0.4)])
def test_what_pixels_say_is_a_sum_over_grey_levels(noise: Noise) -> None:
    random = np.random.default_rng(0)
    table = random.dirichlet(np.ones(33), 33)
    law = PixelLaw(torch.from_numpy(table.astype(np.float32)))
    seen = torch.tensor([[0.2, 1.0, 0.55]])
    known = torch.tensor([[True, True, False]])
    evidence = Evidence(seen, known, noise, law)
    levels, place = np.linspace(0.0, 1.0, 33), 13
    means = torch.full((1, 3), place / 32)
    log, expected = 0.0, []
    for y, sees in zip(seen[0].tolist(), known[0].tolist(), strict=True):
        if noise.kind == "gaussian":
            channel = np.exp(-0.5 * ((y - levels) / 0.3) ** 2) / (0.3 * math.sqrt(2 * math.pi))
        else:
            width = 1 / 64
            near = np.exp(-0.5 * ((y - levels) / max(width, 0.02)) ** 2)
            near /= max(width, 0.02) * math.sqrt(2 * math.pi)
            channel = 0.6 * near + (0.2 * 32 if y == 1.0 else 0.0)
        joint = table[place] * (channel if sees else 1.0)
        log += math.log(joint.sum()) if sees else 0.0
        expected.append((joint * levels).sum() / joint.sum())
    assert float(evidence.log_likelihood(means)) == pytest.approx(log, rel=1e-4)
    np.testing.assert_allclose(evidence.expected(means)[0].numpy(), expected, rtol=1e-4)


def test_pixels_that_were_cut_are_counted_as_all_beyond() -> None:
    noise = Noise("gaussian", 0.5, clipped=True)
    found = noise.channel(torch.tensor([[0.0, 1.0]]), torch.tensor([0.0, 0.25]))[0].exp()
    below = [0.5, 0.5 * math.erfc(0.5 / math.sqrt(2))]
    above = [0.5 * math.erfc(2.0 / math.sqrt(2)), 0.5 * math.erfc(1.5 / math.sqrt(2))]
    np.testing.assert_allclose(found.numpy(), [below, above], rtol=1e-5)


def test_the_law_of_pixels_is_what_was_counted() -> None:
    counts, random = Counts(), np.random.default_rng(0)
    pixels = (random.random(200_000) < 0.25).astype(np.float64)
    counts.add(np.full(200_000, 0.25), pixels)
    row = counts.law.table[8].numpy()
    assert row[32] == pytest.approx(0.25, abs=0.005)
    assert row[0] == pytest.approx(0.75, abs=0.005)
    np.testing.assert_allclose(counts.law.table.sum(1).numpy(), 1.0, rtol=1e-5)


def test_noise_is_drawn_as_it_is_called_and_its_deviation_found() -> None:
    flat = np.full((40, 1, 32, 32), 0.5, np.float32)
    noisy = noise_of("gaussian:0.2").draw(flat, np.random.default_rng(0))
    assert float((noisy - flat).std()) == pytest.approx(0.2, rel=0.02)
    assert estimated_deviation(noisy) == pytest.approx(0.2, rel=0.03)
    assert estimated_deviation(flat) == 0.0
    pepper = noise_of("salt-pepper:0.3").draw(flat, np.random.default_rng(0))
    assert float((pepper != 0.5).mean()) == pytest.approx(0.3, abs=0.01)
    assert float((pepper == 1.0).mean()) == pytest.approx(0.15, abs=0.01)
    for text in ("gausian:0.3", "gaussian", "gaussian:0", "salt-pepper:1.5", "gaussian:x"):
        with pytest.raises(DistvaeError, match="--noise"):
            noise_of(text)


def test_masks_are_words_or_pictures_of_the_right_size(tmp_path: Path) -> None:
    for word in MASKS:
        assert 0.2 < mask_of(word, (1, 9, 8), False).mean() < 0.6
    assert mask_of("left", (1, 4, 6), False)[:, :3].all()
    drawn = np.zeros((9, 8), np.uint8)
    drawn[2:4] = 255
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    found = mask_of(str(tmp_path / "mask.png"), (3, 9, 8), False)
    assert (found == (drawn > 0)).all()
    with pytest.raises(DistvaeError, match=r"8 x 9.*16 x 18"):
        mask_of(str(tmp_path / "mask.png"), (1, 18, 16), False)
    assert mask_of(str(tmp_path / "mask.png"), (1, 18, 16), True)[4:8].all()
    Image.fromarray(drawn * 0).save(tmp_path / "none.png")
    with pytest.raises(DistvaeError, match="hides no pixels"):
        mask_of(str(tmp_path / "none.png"), (1, 9, 8), False)
    with pytest.raises(DistvaeError, match="Did you mean"):
        mask_of("lef", (1, 9, 8), False)


@pytest.mark.skipif(not classical.available(), reason="needs scikit-image")
def test_other_methods_take_the_best_parameters_of_their_grids() -> None:
    clean = np.zeros((2, 1, 16, 16), np.float32)
    clean[:, :, :, 8:] = 1.0
    noisy = Noise("gaussian", 0.3).draw(clean, np.random.default_rng(0))
    for name, parameters in classical.tuned(clean, noisy, 0.3).items():
        error = np.square(classical.apply(name, noisy, parameters) - clean).mean()
        assert error < 0.25 * np.square(noisy.clip(0, 1) - clean).mean(), name


def psnr_by_formula(first: np.ndarray, second: np.ndarray) -> float:
    return -10.0 * math.log10(float(np.square(first.astype(np.float64) - second).mean()))


def test_repairing_in_python_keeps_what_is_seen(here: Path, finished: Path, plain: Path) -> None:
    found = repair(str(plain), mask="left", draws=4)
    side = found.truth.shape[3]  # type: ignore[union-attr]
    assert np.isnan(found.before[..., : side // 2]).all()
    for pictures in (found.mean, found.likeliest, *found.draws.swapaxes(0, 1)):
        np.testing.assert_array_equal(pictures[..., side // 2 :], found.before[..., side // 2 :])
    assert found.given is None
    assert (found.spread > 0.0).all()
    unknown = repair(str(finished), noise="gaussian:0.2", unknown=True, draws=4, seed=3)
    assert unknown.given is not None
    assert set(np.unique(unknown.given)) <= {0.0, 1.0, 2.0}
    again = repair(str(finished), noise="gaussian:0.2", unknown=True, draws=4, seed=3)
    np.testing.assert_array_equal(again.mean, unknown.mean)
    other = repair(str(finished), noise="gaussian:0.2", draws=4, seed=4)
    assert other.labels is not None
    np.testing.assert_array_equal(other.given[:, 0, 0], other.labels)  # type: ignore[index]


KIND = Attribute("kind", ("a", "b"))
COLOUR = Attribute("colour", ("red", "green", "blue"))
PLACE = Attribute("place", ("here", "there"), missing=True)
SIZE = Attribute("size", mean=2.0)


def test_labels_of_every_attribute_are_summed_over_where_they_are_not_known() -> None:
    given = torch.tensor([[math.nan, math.nan, math.nan, 5.0], [1.0, 2.0, 0.0, 7.0]])
    attributes = (KIND, COLOUR, PLACE, SIZE)
    values, rows = each_value(attributes, given)
    assert rows == most_values(attributes) == 6
    assert {tuple(row[:2].tolist()) for row in values[:6]} == {
        (float(kind), float(colour)) for kind in range(2) for colour in range(3)
    }
    assert values[:6, 2].isnan().all()  # what examples lacked in training may stay unknown
    assert (values[:6, 3] == 5.0).all()
    assert (values[6:] == given[1]).all()
    assert each_value(attributes, given[1:])[1] == 1
    many = tuple(Attribute(f"a{number}", tuple("abcdefgh")) for number in range(3))
    with pytest.raises(DistvaeError, match=r"512 values .*a0, a1, a2"):
        each_value(many, torch.full((1, 3), math.nan))


@pytest.mark.parametrize("prior", ["label", "vamp", "flow"])
def test_colour_pictures_with_attributes_are_repaired(prior: str) -> None:
    config = ModelConfig(prior=prior, hidden=(8,), latent_dim=2, likelihood="gaussian")
    attributes = (COLOUR,) if prior == "vamp" else (COLOUR, KIND, SIZE)
    torch.manual_seed(0)
    model = build_model(config, (3, 6, 10), (), attributes=attributes)
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 10, 3), np.uint8)
    known = {"colour": ["red", None, "blue"], "kind": ["a", "b", "a"], "size": [1.0, 2.0, 3.0]}
    known = {each.name: known[each.name] for each in attributes}
    hidden = np.zeros((6, 10), np.bool_)
    hidden[2:4] = True
    found = repair(model, images, known, mask=hidden, draws=3)
    assert found.mean.shape == (3, 3, 6, 10)
    np.testing.assert_array_equal(found.mean[:, :, ~hidden], found.before[:, :, ~hidden])
    assert found.given is not None
    assert (found.given[0] == np.array([0, 0, 1.0])[: len(attributes)]).all()
    assert (found.given[1, :, 1:] == np.array([1, 2.0])[: len(attributes) - 1]).all()
    assert set(found.given[1, :, 0]) <= {0.0, 1.0, 2.0}
    unknown = repair(model, images, known, mask=hidden, draws=3, unknown=True)
    assert unknown.given is not None
    assert not np.isnan(unknown.given).any()
    if prior != "vamp":
        assert (unknown.given[:, :, 2] == np.array([[1.0], [2.0], [3.0]])).all()


@pytest.mark.slow
def test_a_killed_process_goes_on_with_the_same_answers(
    plain: Path, command: Command, start: Start, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "many.npz", images=images)
    flags = (
        "repair",
        plain,
        "--data",
        tmp_path / "many.npz",
        "--part-rows",
        10,
        "--draws",
        2,
        "--noise-level",
        0.2,
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command(*flags, "--output", whole).code == 0
    process = start(*flags, "--output", killed)
    parts = killed / "answers"
    while not (parts / "part-00001.npz").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = json.loads((parts / ".unfinished.json").read_text(encoding="utf-8"))["next"]
    assert 0 < done < 60
    first = (parts / "part-00000.npz").stat().st_mtime_ns
    ended = command(*flags, "--output", killed)
    assert ended.code == 0, ended.err
    assert f"going on after {done} of 60" in ended.out
    assert (parts / "part-00000.npz").stat().st_mtime_ns == first
    assert (killed / "repaired.csv").read_bytes() == (whole / "repaired.csv").read_bytes()
    names = sorted(path.name for path in parts.iterdir())
    assert names == [f"part-{number:05d}.npz" for number in range(6)]
    for name in names:
        ours, theirs = (np.load(folder / "answers" / name) for folder in (killed, whole))
        assert ours.files == theirs.files
        for array in ours.files:
            np.testing.assert_array_equal(ours[array], theirs[array])


def test_the_command_writes_what_it_says(command: Command, plain: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words: Sequence[str] = ["repair", str(plain), "--output", str(output), "--draws", "4"]
    done = command(*words, "--noise", "gaussian:0.3", "--count", "5")
    assert done.code == 0, done.err
    assert {"repaired.png", "repaired.csv", "answers"} <= {p.name for p in output.iterdir()}
    arrays = np.load(output / "answers" / "part-00000.npz")
    assert arrays["draws"].shape[:2] == (5, 4)
    rows = list(csv.DictReader((output / "repaired.csv").read_text().splitlines()))
    for row, truth, mean in zip(rows, arrays["truth"], arrays["mean"], strict=True):
        assert float(row["psnr_mean"]) == pytest.approx(psnr_by_formula(truth, mean), abs=1e-3)
    assert "gain" in done.out
    assert_refused(command(*words, "--noise-level", "0.1", "--noise", "gaussian:0.3"), "--noise")
    assert_refused(command(*words, "--mask", "nowhere.png"), "nowhere.png", "left")


def test_noise_that_is_there_already_is_estimated(here: Path, plain: Path) -> None:
    shape = repair(str(plain), mask="top", draws=2).mean.shape[1:]
    flat = np.full((6, *shape), 0.5, np.float32)
    noisy = Noise("gaussian", 0.1).draw(flat, np.random.default_rng(0))
    found = repair(str(plain), noisy, draws=2)
    assert found.truth is None
    assert found.noise is not None
    assert found.noise.amount == pytest.approx(0.1, rel=0.25)
    with pytest.raises(DistvaeError, match="looks clean"):
        repair(str(plain), flat)
    with pytest.raises(DistvaeError, match="expected bool of shape"):
        repair(str(plain), flat, mask=np.ones((3, 3), np.bool_))
