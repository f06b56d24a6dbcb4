"""The random numbers of a step, and grey levels as a model's input."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math

import pytest
import torch
from torch import Tensor

from distvae.batch import Noise
from distvae.domains import Images
from distvae.draws import steps
from distvae.draws.normals import quick_normals
from distvae.draws.philox import INPUTS, LATENTS, Source, Stream
from distvae.draws.steps import NoiseSource

SHAPE = (3, 5, 7)


def source(
    seed: int = 0, stream: Stream = Stream.TRAINING, pixels: bool = True, device: str = "cpu"
) -> NoiseSource:
    return NoiseSource(seed, stream, 6, SHAPE if pixels else None, torch.device(device))


def first(count: int) -> slice:
    return slice(0, count)


def pixels_of(noise: Noise) -> Tensor:
    assert noise.uniforms is not None
    return noise.uniforms


def test_a_step_has_the_same_numbers_whatever_was_drawn_before() -> None:
    one, other = source(5), source(5)
    expected = one.draw(3, first(32))
    for step in (9, 0, 3):
        found = other.draw(step, first(32))
    assert torch.equal(found.noise, expected.noise)
    assert torch.equal(pixels_of(found), pixels_of(expected))


@pytest.mark.parametrize("count", [1, 7, 128, 4096])
def test_steps_in_a_row_have_the_numbers_that_each_has_alone(count: int) -> None:
    """Also after a step that is drawn twice, and by positions that change between."""
    one, in_a_row = slice(3, 3 + count), source(5, pixels=False)
    for step in (4, *range(5, 40), 39, 40, 60, 61, 62):
        found = in_a_row.draw(step, one).noise
        assert torch.equal(found, source(5, pixels=False).draw(step, one).noise), step
        if step == 30:
            in_a_row.draw(31, first(2))


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    source().draw(0, first(8))
    assert torch.equal(torch.rand(3), expected)


def test_latents_do_not_depend_on_pixel_noise() -> None:
    found = source(pixels=False).draw(2, first(16))
    assert found.uniforms is None
    assert torch.equal(found.noise, source().draw(2, first(16)).noise)


def test_seeds_steps_and_streams_differ() -> None:
    count = 2000
    draws = [
        source(seed, stream).draw(step, first(count)).noise.flatten()
        for seed in (0, 1, 2**40)
        for stream in (Stream.TRAINING, Stream.EVALUATION)
        for step in (0, 1, 2)
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max().item() < 5 / math.sqrt(6 * count)


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_the_parts_of_a_batch_are_drawn_alone(parts: int) -> None:
    whole = source().draw(1, first(24))
    size = 24 // parts
    cut = [source().draw(1, slice(i * size, (i + 1) * size)) for i in range(parts)]
    assert torch.equal(torch.cat([part.noise for part in cut]), whole.noise)
    assert torch.equal(torch.cat([pixels_of(part) for part in cut]), pixels_of(whole))


def test_noise_is_normal_and_uniform() -> None:
    noise = source(1).draw(0, first(5000))
    latent, pixels = noise.noise, pixels_of(noise)
    assert (latent.dtype, latent.shape) == (torch.float32, (5000, 6))
    assert (pixels.dtype, pixels.shape) == (torch.int16, (5000, *SHAPE))
    assert latent.mean().abs().item() < 5 / math.sqrt(latent.numel())
    assert (latent.var() - 1).abs().item() < 5 * math.sqrt(2 / latent.numel())
    counts = torch.bincount(((pixels.long() + 2**15) >> 8).flatten(), minlength=256).double()
    expected = pixels.numel() / 256
    chi_squared = ((counts - expected).square() / expected).sum().item()
    assert abs(chi_squared - 255) < 5 * math.sqrt(2 * 255)
    assert (pixels.min().item(), pixels.max().item()) == (-(2**15), 2**15 - 1)


def test_none_keeps_grey_levels() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    found = Images(SHAPE, "none").to_input(images, None)
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == [torch.tensor(level / 255).item() for level in range(256)]
    assert torch.equal(images.flatten(), torch.arange(256, dtype=torch.uint8))


def test_threshold_cuts_at_one_half() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert (
        Images(SHAPE, "threshold").to_input(images, None).flatten().tolist()
        == [0.0] * 128 + [1.0] * 128
    )


def test_dynamic_meets_the_probability_of_every_grey_level_exactly() -> None:
    # each of the 2^16 values that a pixel's noise can take, once
    noise = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(1, 1, 256, 256)
    for level in range(0, 256, 5):
        images = torch.full_like(noise, level, dtype=torch.uint8)
        white = Images(SHAPE, "dynamic").to_input(images, noise)
        assert white.double().mean().item() == pytest.approx(level / 255, abs=1.6e-5)
        if level in (0, 255):
            assert white.unique().tolist() == [level / 255]
        else:
            assert white.unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("level", [0, 1, 7, 128, 200, 254, 255])
def test_dynamic_draws_white_as_often_as_the_grey_level_says(level: int) -> None:
    batch = 1000
    images = torch.full((batch, *SHAPE), level, dtype=torch.uint8)
    drawn = [
        Images(SHAPE, "dynamic").to_input(images, source(2).draw(step, first(batch)).uniforms)
        for step in (0, 1)
    ]
    probability, count = level / 255, 2 * images.numel()
    frequency = torch.stack(drawn).double().mean().item()
    error = math.sqrt(probability * (1 - probability) / count)
    assert abs(frequency - probability) <= 5 * error
    assert torch.equal(drawn[0], drawn[1]) == (level in (0, 255))


def test_several_draws_of_an_image_have_an_axis_of_their_own() -> None:
    def drawn(draws: int | None, start: int = 0, stop: int = 32) -> Noise:
        kind = NoiseSource(5, Stream.TRAINING, 6, SHAPE, torch.device("cpu"), draws)
        return kind.draw(3, slice(start, stop))

    one, several = drawn(None), drawn(4)
    assert torch.equal(drawn(1).noise, one.noise[:, None])
    assert torch.equal(pixels_of(drawn(1)), pixels_of(one))
    assert several.noise.shape == (32, 4, 6)
    assert torch.equal(drawn(4, 8, 16).noise, several.noise[8:16])
    flat = several.noise.flatten(0, 1)
    assert (torch.corrcoef(flat.T) - torch.eye(6)).abs().max() < 5 / math.sqrt(len(flat))


def test_the_words_of_an_example_follow_those_of_the_one_before() -> None:
    seed, step, position = 5, 3, 11
    found = source(seed).draw(step, slice(position, position + 1))
    words = Source(seed, Stream.TRAINING)
    # six normals take three words, 105 uniforms 27
    normals = quick_normals(words.words(3, step, LATENTS, 3 * position))
    assert found.noise[0].tolist() == normals.tolist()
    whole = words.words(27, step, INPUTS, 27 * position).tolist()
    sixteenths = [word >> shift & 0xFFFF for word in whole for shift in (0, 16, 32, 48)]
    unsigned = [number & 0xFFFF for number in pixels_of(found).flatten().tolist()]
    assert unsigned == sixteenths[:105]


def test_a_device_that_is_no_cpu_makes_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch for it, run on a CPU, as no other device need be here."""
    expected = source(5).draw(3, slice(2, 20))
    monkeypatch.setattr(steps, "BY_NUMPY", "none")
    for step in (3, torch.tensor(3)):
        found = source(5).draw(step, slice(2, 20))
        assert torch.equal(pixels_of(found), pixels_of(expected))
        torch.testing.assert_close(found.noise, expected.noise, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_numbers() -> None:
    found, expected = source(5, device="cuda").draw(3, first(500)), source(5).draw(3, first(500))
    assert torch.equal(pixels_of(found).cpu(), pixels_of(expected))
    torch.testing.assert_close(found.noise.cpu(), expected.noise, rtol=1e-6, atol=2e-6)


def test_a_device_without_triton_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it is not installed or finds no GPU."""
    monkeypatch.setattr(steps, "BY_TRITON", "cpu")
    steps.triton_kernels.cache_clear()
    assert [steps.triton_kernels(torch.device("cpu")) for _ in range(2)] == [None, None]
    steps.triton_kernels.cache_clear()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: random numbers take a hundred small kernels a step")
