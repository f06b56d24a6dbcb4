"""Drawing and encoding from exported files: what is computed, and what is refused."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distvae.export
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.export import Encoder, Sampler
from distvae.export.sampler import great_circle
from tests.export.conftest import LATENT_DIM, NAMES, NOISE_DIM, SHAPE, Tiny


@pytest.fixture
def sampler(tmp_path: Path) -> Sampler:
    return Sampler(Tiny().decoder(tmp_path / "decoder.onnx"))


@pytest.fixture
def unlabelled(tmp_path: Path) -> Sampler:
    return Sampler(Tiny(names=()).decoder(tmp_path / "plain.onnx"))


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return Encoder(Tiny().encoder(tmp_path / "encoder.onnx"))


def noise(count: int, seed: int = 0) -> Any:
    return standard_normal(seed, 0, count, NOISE_DIM)


def test_the_public_names() -> None:
    assert dir(distvae.export) == ["Encoder", "Sampler", "Scorer"]
    with pytest.raises(AttributeError, match="no attribute 'Decoder'"):
        distvae.export.Decoder  # noqa: B018


@pytest.mark.parametrize("count", [0, 1, 7, 256, 257, 1000])
def test_decode_draws_what_the_graph_says(sampler: Sampler, count: int) -> None:
    labels = np.arange(count) % 3
    found = sampler.decode(noise(count), labels)
    assert found.dtype == np.uint8
    assert found.shape == (count, *SHAPE)
    np.testing.assert_array_equal(found, Tiny().images(noise(count), labels))


def test_labels_by_name_number_list_or_array(sampler: Sampler) -> None:
    expected = Tiny().images(noise(3), [2, 0, 1])
    several: tuple[Any, ...] = (
        ["square", "circle", "cross"],
        [2, "0", np.int64(1)],
        np.array([2, 0, 1], np.uint8),
        np.array([2, 0, 1], ">i8"),
        np.array(["square", "circle", "cross"]),
        (2, 0, 1),
    )
    for labels in several:
        np.testing.assert_array_equal(sampler.decode(noise(3), labels), expected)
    alone: tuple[Any, ...] = (1, "cross", np.int32(1), [1, 1, 1])
    for label in alone:
        found = sampler.decode(noise(3), label)
        np.testing.assert_array_equal(found, Tiny().images(noise(3), [1, 1, 1]))


@pytest.mark.parametrize(
    "label", [-1, 3, 2**40, 2**63, -(2**70), 1.0, 1.5, True, None, "triangle", "1.0", ""]
)
def test_a_label_that_is_none_is_refused(sampler: Sampler, encoder: Encoder, label: Any) -> None:
    images = np.zeros((1, *SHAPE), np.uint8)
    for call in (
        lambda: sampler.decode(noise(1), [label]),
        lambda: sampler.sample([label]),
        lambda: sampler.stream([label]),
        lambda: encoder.encode(images, [label]),
    ):
        with pytest.raises(DistvaeError, match="label"):
            call()


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 3, 1]),
        np.array([0, -1, 1, 1]),
        np.array([0, 1, 1, 2**63], np.uint64),
        np.array([0, 1, 2, 1], np.float32),
        np.array([True, False, True, True]),
        np.zeros((4, 1), np.int64),
        np.array(1),
        np.zeros(3, np.int64),
        [0, 1, 2],
        [],
        None,
    ],
)
@pytest.mark.parametrize("repeat", [1, 5])
def test_labels_that_do_not_fit_are_refused(sampler: Sampler, labels: Any, repeat: int) -> None:
    if isinstance(labels, np.ndarray) and labels.shape == (4,):
        labels = np.tile(labels, repeat)
    with pytest.raises(DistvaeError, match="label"):
        sampler.decode(noise(4 * repeat), labels)


def test_labels_for_a_model_without_are_refused(unlabelled: Sampler) -> None:
    expected = Tiny(names=()).images(noise(2), [0, 0])
    np.testing.assert_array_equal(unlabelled.decode(noise(2)), expected)
    for labels in ([0, 0], 0, "circle", [], np.array([0, 0]), np.array([], np.int64)):
        with pytest.raises(DistvaeError, match="trained without labels"):
            unlabelled.decode(noise(2), labels)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (noise(2).astype(np.float64), "float64: expected a numpy array of float32"),
        (noise(2).astype(">f4"), "expected a numpy array of float32"),
        (noise(2).tolist(), "noise is list"),
        (noise(2)[:, :2], r"shape \[2, 2\]: expected \[N, 3\]"),
        (noise(2)[0], r"shape \[3\]: expected \[N, 3\]"),
        (np.array([[0, 0, 0], [0, np.nan, 0]], np.float32), "not finite in row 1"),
        (np.array([[-np.inf, 0, 0], [0, 0, np.inf]], np.float32), "not finite in row 0"),
    ],
)
def test_noise_that_does_not_fit_is_refused(sampler: Sampler, wrong: Any, message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        sampler.decode(wrong, 1)


def test_large_and_strided_noise_is_noise(sampler: Sampler) -> None:
    large = np.full((2, NOISE_DIM), 1e30, np.float32)
    np.testing.assert_array_equal(sampler.decode(large, 0), Tiny().images(large, [0, 0]))
    strided = noise(20)[::-3]
    expected = Tiny().images(strided, [0] * 7)
    np.testing.assert_array_equal(sampler.decode(strided, 0), expected)
    fortran = np.asfortranarray(noise(7))
    np.testing.assert_array_equal(sampler.decode(fortran, 0), Tiny().images(noise(7), [0] * 7))


def test_sample_draws_label_by_label(sampler: Sampler, unlabelled: Sampler) -> None:
    found = sampler.sample(["square", 0], 300, seed=5, temperature=0.5)
    expected = Tiny().images(np.float32(0.5) * noise(600, 5), [2] * 300 + [0] * 300)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        sampler.sample(count=8), Tiny().images(noise(8), [0, 1, 2, 0, 1, 2, 0, 1])
    )
    expected = Tiny(names=()).images(noise(9), [0] * 9)
    np.testing.assert_array_equal(unlabelled.sample(count=9), expected)
    np.testing.assert_array_equal(sampler.sample("cross", 4), sampler.sample([1], 4))
    assert sampler.sample([], 4).shape == sampler.sample([1], 0).shape == (0, *SHAPE)


def test_an_image_of_a_seed_is_the_same_however_it_is_asked_for(tmp_path: Path) -> None:
    path = Tiny().decoder(tmp_path / "decoder.onnx")
    whole = Sampler(path).sample([1, 2], 300, seed=3)
    for threads, batch in itertools.product((1, 2), (1, 7, 256, 1000, None)):
        parts = list(Sampler(path, threads=threads).stream([1, 2], 300, seed=3, batch=batch))
        if batch:
            assert [len(part) for part in parts[:-1]] == [batch] * (
                600 // batch - (600 % batch == 0)
            )
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(Sampler(path).sample([1, 2], 300, seed=3)[:5], whole[:5])


def test_a_stream_is_drawn_as_it_is_read(sampler: Sampler) -> None:
    first = next(iter(sampler.stream([0, 1], 10**12, batch=2)))
    np.testing.assert_array_equal(first, sampler.sample([0], 2))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"count": -1}, "count is -1"),
        ({"count": 1.0}, "count is 1.0: expected a whole number"),
        ({"count": True}, "count is True"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**128}, "seed is .* below 2"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"batch": 0}, "batch is 0: expected 1 or more"),
    ],
)
def test_a_wrong_setting_is_refused_at_once(
    sampler: Sampler, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(DistvaeError, match=message):
        sampler.stream(**setting)
    if "batch" not in setting:
        with pytest.raises(DistvaeError, match=message):
            sampler.sample(**setting)


def test_the_largest_seed_draws(sampler: Sampler) -> None:
    found = sampler.sample([0], 2, seed=2**128 - 1)
    np.testing.assert_array_equal(found, Tiny().images(noise(2, 2**128 - 1), [0, 0]))


def test_the_great_circle_keeps_length_and_turns_evenly() -> None:
    a, b = standard_normal(0, 0, 2, 64)
    b = (b * np.linalg.norm(a) / np.linalg.norm(b)).astype(np.float32)
    path = great_circle(a, b, 9)
    np.testing.assert_array_equal(path[[0, -1]], [a, b])
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), np.linalg.norm(a), rtol=1e-6)
    units = path.astype(np.float64) / np.linalg.norm(path, axis=1, keepdims=True)
    turns = np.arccos((units[1:] * units[:-1]).sum(1))
    np.testing.assert_allclose(turns, np.arccos(units[0] @ units[-1]) / 8, rtol=1e-4)


def test_the_great_circle_of_special_ends() -> None:
    x, y = np.eye(2, dtype=np.float32)
    half = float(np.sqrt(0.5))
    cases: tuple[tuple[Any, Any, Any], ...] = (
        (x, y, [half, half]),
        (x, 3 * y, [2 * half, 2 * half]),
        (x, x, [1, 0]),
        (x, 3 * x, [2, 0]),
        (0 * x, y, [0, 0.5]),
        (y, 0 * x, [0, 0.5]),
        (0 * x, 0 * x, [0, 0]),
        (x, -x, [0, 0]),
    )
    for a, b, middle in cases:
        path = great_circle(a, b, 3)
        np.testing.assert_allclose(path, [a, middle, b], atol=1e-6)
        np.testing.assert_array_equal(path[[0, -1]], [a, b])


def test_interpolate_goes_from_one_image_to_the_other(
    sampler: Sampler, unlabelled: Sampler
) -> None:
    a, b = noise(2)
    found = sampler.interpolate(a, b, 5, "square")
    assert found.shape == (5, *SHAPE)
    np.testing.assert_array_equal(found[[0, -1]], Tiny().images(np.stack([a, b]), [2, 2]))
    assert (found[2] != found[0]).any()
    np.testing.assert_array_equal(unlabelled.interpolate(a, b, 2), unlabelled.decode(noise(2)))
    for steps in (1, 2.0):
        with pytest.raises(DistvaeError, match="steps is"):
            sampler.interpolate(a, b, steps, 0)  # type: ignore[arg-type]
    with pytest.raises(DistvaeError, match=r"noise has shape \[1, 2\]"):
        sampler.interpolate(a, b[:2], 5, 0)
    with pytest.raises(DistvaeError, match="not finite"):
        sampler.interpolate(a, np.float32(np.nan) * b, 5, 0)
    with pytest.raises(DistvaeError, match="labels are missing"):
        sampler.interpolate(a, b, 5)


@pytest.mark.parametrize("count", [0, 1, 300])
def test_encode_gives_the_posterior(encoder: Encoder, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)
    labels = np.arange(count) % 3
    posterior = encoder.encode(images, labels)
    inputs = images.reshape(count, int(np.prod(SHAPE))) / 255 + Tiny().table[labels]
    np.testing.assert_allclose(posterior.mean, inputs @ Tiny().matrix.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(posterior.log_variance, -posterior.mean)
    assert posterior.mean.shape == (count, LATENT_DIM)
    assert posterior.mean.dtype == posterior.log_variance.dtype == np.float32


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, *SHAPE), np.float32), "float32: expected a numpy array of uint8"),
        (np.zeros((2, *SHAPE[::-1]), np.uint8), r"shape \[2, 5, 4, 3\]: expected \[N, 3, 4, 5\]"),
        (np.zeros(SHAPE, np.uint8), r"expected \[N, 3, 4, 5\]"),
        ([[1]], "images is list"),
    ],
)
def test_images_that_do_not_fit_are_refused(encoder: Encoder, images: Any, message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        encoder.encode(images, 0)


def test_what_the_file_says_is_at_hand(sampler: Sampler, encoder: Encoder) -> None:
    assert sampler.label_names == encoder.label_names == NAMES
    assert sampler.manifest == Tiny().manifest("decoder")
    assert encoder.manifest == Tiny().manifest("encoder")


def test_more_images_than_fit_into_memory_are_refused_at_once(tmp_path: Path) -> None:
    sampler = Sampler(Tiny().decoder(tmp_path / "decoder.onnx"))
    for labels in (None, ["cross", "square"]):
        with pytest.raises(DistvaeError, match=r"0,000 images take .* GB of memory.*stream"):
            sampler.sample(labels, count=10**12)
        with pytest.raises(DistvaeError, match=r"0,000 images take .* GB of memory.*fewer steps"):
            sampler.interpolate(np.zeros(3, np.float32), np.ones(3, np.float32), 10**12, "cross")
        first = next(sampler.stream(labels, count=10**12, seed=3))
        np.testing.assert_array_equal(first[:5], sampler.sample(labels, count=5, seed=3)[:5])
