"""How near pictures come back, and for how many bits: one picture at a time, by hand."""

import math

import numpy as np
import pytest
import torch

from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.evaluation import reconstruction
from distvae.evaluation.reconstruction import reconstruction_metrics
from distvae.evaluation.similarity import ssim
from distvae.models import build_model
from tests.spaces import gaussian


@pytest.mark.parametrize("most", [5, 40])
def test_figures_are_means_over_pictures(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(reconstruction, "PICTURES", most)
    monkeypatch.setattr(reconstruction, "NUMBERS", 3 * 12 * 16 * 2)  # blocks of two
    torch.manual_seed(0)
    config = ModelConfig(hidden=(16,), latent_dim=4, likelihood="gaussian", prior="normal")
    model = build_model(config, (3, 12, 16), ("a", "b")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    images = torch.randint(0, 256, (21, 3, 12, 16), dtype=torch.uint8)
    labels = torch.arange(21) % 2
    resident = ResidentImages(images, labels, torch.device("cpu"))
    found = dict(reconstruction_metrics(model, resident, seed=5))

    rows = [0, 5, 10, 15, 20] if most == 5 else list(range(21))
    decibels, likenesses, bits = [], [], []
    for row in rows:
        x, y = images[row : row + 1].float() / 255, Context(labels[row : row + 1])
        with torch.no_grad():
            mean, log_variance = gaussian(model).to_posterior(*model.encoder(x, y))[0].split(4)
            decoded = model.decode(mean[None], labels[row : row + 1])
        levels = (decoded * 255).round().byte()
        error = (levels.double() - images[row].double()).square().mean()
        decibels.append(20 * math.log10(255) - 10 * math.log10(error))
        likenesses.append(float(ssim(images[row : row + 1].numpy(), levels.numpy())[0]))
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        prior = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
        rate = torch.distributions.kl_divergence(posterior, prior).sum()
        bits.append(float(rate) / math.log(2) / (12 * 16))
    for name, values in (
        ("psnr", decibels),
        ("ssim", likenesses),
        ("rate_bits_per_pixel", bits),
    ):
        assert found[name] == pytest.approx(np.mean(values), rel=1e-5)
        deviation = np.std(values, ddof=1) / math.sqrt(len(values))
        assert found[f"{name}_standard_error"] == pytest.approx(deviation, rel=1e-3)
