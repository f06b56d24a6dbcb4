"""The bound is that of each image alone, whatever the blocks it is computed in."""

import math

import numpy as np
import pytest
import torch

from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.passes import BLOCK
from distvae.models import build_model
from tests.spaces import gaussian


@pytest.mark.parametrize("size", [7, BLOCK, 2 * BLOCK + 203])
def test_evaluation_is_exact(size: int) -> None:
    config = ModelConfig(hidden=(16,), latent_dim=4, likelihood="bernoulli", prior="normal")
    torch.manual_seed(0)
    model = build_model(config, (1, 8, 8), ("a", "b", "c"), "threshold").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    images = torch.randint(0, 256, (size, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(size) % 3
    found = dict(
        elbo_metrics(
            model,
            ResidentImages(images, labels, torch.device("cpu")),
            seed=5,
            label_names=("a", "b", "c"),
        )
    )

    source = NoiseSource(5, Stream.EVALUATION, 4, None, torch.device("cpu"))
    bounds, rates, means = [], [], []
    double = build_model(config, (1, 8, 8), ("a", "b", "c")).double().eval()
    double.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    for row in range(size):  # one image at a time
        noise = source.draw(0, slice(row, row + 1)).noise[0].double()
        x = (images[row : row + 1] > 127).double()
        y = Context(labels[row : row + 1])
        with torch.no_grad():
            raw = gaussian(double).to_posterior(*double.encoder(x, y))[0]
            mean, log_variance = raw[:4], raw[4:]
            z = mean + noise * (log_variance / 2).exp()
            logits = double.decoder(z[None], y).flatten()
        log_likelihood = (x.flatten() * logits - torch.nn.functional.softplus(logits)).sum()
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        rate = torch.distributions.kl_divergence(posterior, prior).sum()
        bounds.append(float(log_likelihood - rate))
        rates.append(float(rate))
        means.append(mean.numpy())
    assert found["elbo"] == pytest.approx(np.mean(bounds), rel=1e-6)
    assert found["rate"] == pytest.approx(np.mean(rates), rel=1e-5)
    assert found["distortion"] == pytest.approx(-np.mean(bounds) - np.mean(rates), rel=1e-6)
    error = np.std(bounds, ddof=1) / math.sqrt(size)
    assert found["elbo_standard_error"] == pytest.approx(error, rel=1e-4)
    error = np.std(rates, ddof=1) / math.sqrt(size)
    assert found["rate_standard_error"] == pytest.approx(error, rel=1e-3)
    means_of = [np.mean(bounds[label::3]) for label in range(3)]
    assert [found[f"elbo/{name}"] for name in "abc"] == pytest.approx(means_of, rel=1e-6)
    error = np.std(bounds[1::3], ddof=1) / math.sqrt(len(bounds[1::3]))
    assert found["elbo/b_standard_error"] == pytest.approx(error, rel=1e-4)
    gap = max(means_of) - min(means_of)
    assert 0.0 <= found["elbo_spread"] <= gap * (1.0 + 1e-6)
    assert found["bits_per_dim"] == pytest.approx(-np.mean(bounds) / 64 / math.log(2), rel=1e-6)
    assert found["active_units"] == (np.var(means, axis=0) > 0.01).sum()
