"""The rate of each number of the noise, beside the closed form of Gaussian priors."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.conditions import Context
from distvae.data.store import Split
from distvae.export.rates import rates
from distvae.models import VAE
from tests.export.test_attributes import random_model as model_of_attributes
from tests.export.test_noise import random_model
from tests.spaces import gaussian


def expected(model: VAE, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Tensor:
    """By the prior's own closed form."""
    with torch.no_grad():
        posterior = model.encode(torch.from_numpy(images) / 255, torch.from_numpy(labels))
        found = gaussian(model).prior.kl(posterior, Context(torch.from_numpy(labels)))
    assert found is not None
    return found.mean(0)


def test_rates_are_the_parts_of_the_kl_divergence() -> None:
    model = random_model("label")
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8)
    labels = np.arange(40, dtype=np.int64) % 3
    found = rates(model, Split.of_images(images, labels))
    assert found.images == "40 test images"
    torch.testing.assert_close(
        torch.tensor(found.values), expected(model, images, labels), rtol=1e-4, atol=1e-4
    )


def test_a_latent_that_says_nothing_has_no_rate() -> None:
    model = random_model("flow")
    with torch.no_grad():
        for part in (gaussian(model).prior, gaussian(model).to_posterior):
            for parameter in part.parameters():
                parameter.zero_()
        gaussian(model).to_posterior.weight[2] = 1.0  # the mean of a single one
    values = [value or 0.0 for value in rates(model, None).values]
    assert values[2] == max(values) > 0.01
    assert [values[number] for number in (0, 1, 3)] == pytest.approx([0.0] * 3, abs=1e-6)


def test_what_chooses_a_component_has_none_and_attributes_are_given() -> None:
    assert rates(random_model("vamp"), None).values[:2] == (None, None)
    found = rates(model_of_attributes("label", "concat"), None)
    assert found.images == "256 images that the model drew"
    assert all(value is not None and value >= 0 for value in found.values)
