"""What is said to callers who hand a model something else than it takes."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.models import ConditionalVAE, build_model

SHAPE, LATENTS, BATCH = (1, 4, 6), 2, 3
NAMES = ("1", "2", "10")
IMAGES = torch.linspace(0, 1, 72).view(BATCH, *SHAPE)
NOISE = torch.linspace(-1, 1, 6).view(BATCH, LATENTS)
LABELS = torch.tensor([10, 1, 2])


@pytest.fixture(scope="module")
def model() -> ConditionalVAE:
    torch.manual_seed(0)
    config = ModelConfig(hidden=(8,), latent_dim=LATENTS, prior="label")
    made = build_model(config, SHAPE, NAMES).eval()
    assert isinstance(made, ConditionalVAE)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def with_value(tensor: torch.Tensor, value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed.view(-1)[5] = value
    return changed


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES * 255, r"between 0 and 255: expected values between 0 and 1.*images / 255"),
        (IMAGES * 65535, "images / 65535"),
        (IMAGES * 2 - 1, r"between -1 and 1: .*\(images \+ 1\) / 2"),
        (with_value(IMAGES, torch.nan), "between nan and nan: .*none of them NaN"),
        (with_value(IMAGES, torch.inf), "between 0 and inf"),
        ((IMAGES * 255).to(torch.uint8), "images are uint8: expected floating point.*/ 255"),
        (IMAGES.long(), "images are int64"),
        (IMAGES > 0.5, "images are bool"),
        (IMAGES.numpy(), r"images are numpy.ndarray: expected a torch tensor.*as_tensor"),
        (IMAGES.tolist(), r"images are builtins.list"),
        (IMAGES[0], r"shape \[1, 4, 6\]: expected \[B, 1, 4, 6\] for this model.*unsqueeze\(0\)"),
        (IMAGES[:, 0], r"shape \[3, 4, 6\]: expected \[B, 1, 4, 6\]"),
        (IMAGES.flatten(1), r"shape \[3, 24\]"),
        (IMAGES.transpose(2, 3), r"shape \[3, 1, 6, 4\]"),
        (IMAGES.repeat(1, 3, 1, 1), r"shape \[3, 3, 4, 6\]"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_wrong_images_are_refused(model: ConditionalVAE, images: Any, message: str) -> None:
    for call in (lambda: model.encode(images, LABELS), lambda: model(images, LABELS, NOISE)):
        with pytest.raises(DistvaeError, match=message):
            call()
        with pytest.raises(ValueError, match=message):
            call()


def test_a_rounding_error_and_other_precisions_are_taken(model: ConditionalVAE) -> None:
    expected = model.encode(IMAGES, LABELS).mean
    for images in (IMAGES.double(), IMAGES.half(), IMAGES.bfloat16(), with_value(IMAGES, -1e-5)):
        torch.testing.assert_close(
            model.encode(images, LABELS).mean, expected, atol=0.02, rtol=0.02
        )
    assert model.encode(IMAGES[:0], LABELS[:0]).mean.shape == (0, LATENTS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels are missing: this model knows 3 labels"),
        ([1, 2], "there are 2 labels: expected 3"),
        (torch.tensor([0, 1, 2]), "label 0 is not in this model: it knows 1, 2, 10"),
        (torch.tensor([1.0, 2.0, 1.0]), "label 1.0"),
        (torch.eye(3), "labels have 2 dimensions.*argmax"),
        ([True, False, True], "label True"),
        ("3", "label 3 is not"),
    ],
)
def test_wrong_labels_are_refused(model: ConditionalVAE, labels: Any, message: str) -> None:
    calls = (
        lambda: model.encode(IMAGES, labels),
        lambda: model.decode(NOISE, labels),
        lambda: model(IMAGES, labels, NOISE),
    )
    for call in calls:
        with pytest.raises(DistvaeError, match=message):
            call()


def test_labels_mean_the_same_to_every_method(model: ConditionalVAE) -> None:
    index = Context(torch.tensor([2, 0, 1]))
    for labels in (LABELS, ["10", "1", 2], np.array([10, 1, 2]), pd.Series([10, 1, 2])):
        assert torch.equal(model.encode(IMAGES, labels).mean, model.posterior(IMAGES, index).mean)
        assert torch.equal(model.decode(NOISE, labels), model.render((NOISE,), index))
        found, expected = (
            model(IMAGES, labels, NOISE),
            model.terms_of(IMAGES, index, NOISE),
        )
        assert torch.equal(found.log_likelihood, expected.log_likelihood)
        drawn = model.sample(labels=labels, n=2, seed=3)
        assert torch.equal(drawn, model.sample(labels=["10", "1", "2"], n=2, seed=3))
    one = model.decode(NOISE, torch.tensor([2, 2, 2]))
    for alone in (2, "2", torch.tensor(2)):
        assert torch.equal(model.decode(NOISE, alone), one)
    assert torch.equal(model.sample("10", n=2), model.sample([10], n=2))


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (NOISE[0], r"shape \[2\]: expected \[\w+, 2\]"),
        (torch.zeros(BATCH, 3), r"shape \[3, 3\]: expected \[\w+, 2\]"),
        (NOISE.long(), "int64"),
        (NOISE.numpy(), "expected a torch tensor"),
        (with_value(NOISE, torch.nan), "is not finite"),
    ],
)
def test_wrong_latents_are_refused(model: ConditionalVAE, noise: Any, message: str) -> None:
    for call in (lambda: model.decode(noise, 1), lambda: model(IMAGES, LABELS, noise)):
        with pytest.raises(DistvaeError, match=message):
            call()


def test_noise_for_another_number_of_images_is_refused(model: ConditionalVAE) -> None:
    with pytest.raises(DistvaeError, match=r"shape \[2, 2\]: expected \[3, 2\]"):
        model(IMAGES, LABELS, NOISE[:2])


def test_several_draws_are_asked_for_by_name(model: ConditionalVAE) -> None:
    several = NOISE[:, None].repeat(1, 4, 1)
    assert model(IMAGES, LABELS, several, draws=4).log_likelihood.shape == (BATCH, 4)
    with pytest.raises(DistvaeError, match=r"expected \[3, 2\].*by name: draws=4"):
        model(IMAGES, LABELS, several)
    with pytest.raises(DistvaeError, match=r"shape \[3, 4, 2\]: expected \[3, 5, 2\]"):
        model(IMAGES, LABELS, several, draws=5)
    with pytest.raises(DistvaeError, match=r"shape \[3, 2\]: expected \[3, 1, 2\]"):
        model(IMAGES, LABELS, NOISE, draws=1)


def test_labels_for_a_model_without_are_refused() -> None:
    plain = build_model(
        ModelConfig(model="vae", prior="normal", hidden=(8,), latent_dim=2), SHAPE, ()
    )
    assert plain.encode(IMAGES).mean.shape == (BATCH, LATENTS)
    for call in (lambda: plain.encode(IMAGES, LABELS), lambda: plain.decode(NOISE, "1")):
        with pytest.raises(DistvaeError, match="labels were given to a model without"):
            call()


def test_a_model_is_not_built_with_two_labels_of_one_name() -> None:
    with pytest.raises(DistvaeError, match="two labels of this model are called 'a'"):
        build_model(ModelConfig(), SHAPE, ("a", "b", "a"))


def test_checks_are_left_out_of_a_graph(model: ConditionalVAE) -> None:
    graph = torch.export.export(model, (IMAGES, LABELS, NOISE), strict=False).module()
    found = graph(IMAGES * 255, LABELS, NOISE).draws[0].posterior.mean
    index = Context(torch.tensor([2, 0, 1]))
    torch.testing.assert_close(found, model.posterior(IMAGES * 255, index).mean)
