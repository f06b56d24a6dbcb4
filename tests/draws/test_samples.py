"""Noise of samples as a device makes it, against numpy's; on a CPU the same operations run."""

import numpy as np
import pytest
import torch

from distvae.draws import samples
from distvae.draws.normals import standard_normal
from distvae.draws.samples import noise_of_samples

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1, 2**64, 2**127 + 12345])
@pytest.mark.parametrize(("start", "count", "dim"), [(0, 500, 20), (123_456_789_012, 3, 7)])
def test_a_device_draws_the_noise_of_a_cpu(
    monkeypatch: pytest.MonkeyPatch, seed: int, start: int, count: int, dim: int
) -> None:
    expected = standard_normal(seed, start, count, dim)
    assert np.array_equal(noise_of_samples(seed, start, count, dim, CPU).numpy(), expected)
    monkeypatch.setattr(samples, "BY_NUMPY", "no device")
    found = noise_of_samples(seed, start, count, dim, CPU)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-9)
    assert np.mean(found.numpy() == expected) > 0.999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_noise_of_a_cpu() -> None:
    found = noise_of_samples(3, 5, 1000, 20, torch.device("cuda")).cpu().numpy()
    np.testing.assert_allclose(found, standard_normal(3, 5, 1000, 20), rtol=1e-6, atol=1e-9)
