"""Terms that are added to an objective, against formulas of their own and sums by hand."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from torch import Tensor, nn

from distvae.batch import Batch
from distvae.combinations import misfit
from distvae.config import ModelConfig, ObjectiveConfig, TrainConfig
from distvae.errors import DistvaeError
from distvae.evaluation.similarity import ssim
from distvae.models import VAE, build_model
from distvae.networks import NETWORKS
from distvae.networks.base import LAYERS
from distvae.objectives import OBJECTIVES, Loss, Pressure, RunFacts
from distvae.terms.fixed import Fixed
from distvae.terms.maps import distance_of_maps
from distvae.terms.perceptual.ms_ssim import ms_ssim, scales_of

SIDE = 26
"""Of pictures that have two scales."""


def pictures(count: int, channels: int, *sides: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pictures of which neighbouring pixels are alike."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (count, channels, *(-(-side // 4) for side in sides)))
    fine = coarse.repeat(4, 2).repeat(4, 3)[:, :, : sides[0], : sides[1]]
    return (fine + generator.uniform(-20, 20, fine.shape)).clip(0, 255).astype(np.uint8)


def in_range(levels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(levels).double() / 255.0


def test_a_small_picture_has_one_scale_which_is_ssim() -> None:
    first = pictures(5, 3, 13, 20)
    second = first // 2 + pictures(5, 3, 13, 20, seed=1) // 3
    found = ms_ssim(in_range(first), in_range(second))
    np.testing.assert_allclose(found, ssim(first, second), rtol=1e-6)


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    for axis in (1, 2):
        values = correlate1d(values, weights / weights.sum(), axis)
    return values[:, 5:-5, 5:-5]


def halved(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of 2 x 2 pixels; what is left of an odd side falls away."""
    _, height, width = values.shape
    whole = values[:, : height // 2 * 2, : width // 2 * 2]
    parts = [whole[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]
    means: NDArray[np.float64] = np.mean(parts, axis=0)
    return means


def by_hand(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """MS-SSIM of two pictures ``[C, H, W]`` of two scales (Wang et al. 2003, eq. 7)."""
    scales = []
    for _ in range(2):
        mean_a, mean_b = smooth(first), smooth(second)
        var_a, var_b = smooth(first**2) - mean_a**2, smooth(second**2) - mean_b**2
        contrast = (2 * (smooth(first * second) - mean_a * mean_b) + 9e-4) / (var_a + var_b + 9e-4)
        bright = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        scales.append((contrast.mean((1, 2)), (contrast * bright).mean((1, 2))))
        first, second = halved(first), halved(second)
    fine, coarse = 0.0448 / 0.3304, 0.2856 / 0.3304
    return float((scales[0][0] ** fine * scales[1][1] ** coarse).mean())


def test_two_scales_are_those_of_the_formula() -> None:
    first = pictures(4, 2, SIDE, 29) / 255.0
    second = 0.7 * first + 0.3 * pictures(4, 2, SIDE, 29, seed=1) / 255.0
    found = ms_ssim(torch.from_numpy(first), torch.from_numpy(second))
    expected = [by_hand(*pair) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert 0.2 < found.min() < found.max() < 0.99


def test_equal_pictures_are_alike_and_gradients_are_finite_where_nothing_is() -> None:
    images = in_range(pictures(3, 1, SIDE, SIDE))
    torch.testing.assert_close(ms_ssim(images, images), torch.ones(3).double())
    for other in (1.0 - images, torch.zeros_like(images), torch.rand_like(images)):
        other = other.requires_grad_()
        (gradient,) = torch.autograd.grad(ms_ssim(other, images).sum(), other)
        assert gradient.isfinite().all()


def test_scales_are_as_many_as_fit() -> None:
    sides = (11, 21, 22, 43, 44, 87, 88, 175, 176, 5000)
    assert [scales_of(side, 6000) for side in sides] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    with pytest.raises(DistvaeError, match=r"images of 10 x 28 pixels.*windows of 11 x 11"):
        scales_of(10, 28)


def model_and_loss(
    network: str = "conv", draws: int | None = None, **settings: Any
) -> tuple[VAE, Batch, Loss, Loss]:
    """A model, a batch, and its losses with the terms of some settings and without."""
    torch.manual_seed(0)
    parts = {"model": "vae", "network": network, "hidden": (8,), "width": 0.25, "latent_dim": 3}
    model = build_model(ModelConfig(**parts), (1, SIDE, SIDE), (), "dynamic")
    stored = torch.from_numpy(pictures(4, 1, SIDE, SIDE))
    shape = (4, 3) if draws is None else (4, draws, 3)
    batch = Batch(stored, None, torch.randn(shape), torch.rand(stored.shape) * 65536.0 - 32768.0)
    losses = []
    for given in (settings, {key: settings[key] for key in settings.keys() - {"perceptual"}}):
        asked = {} if given.get("objective") == "mmd" else {"importance_samples": draws}
        config = ObjectiveConfig(**asked, **given).resolved()
        facts = RunFacts(config, model.latents.levels, 3, 3, SIDE**2, 100, shape=(1, SIDE, SIDE))
        losses.append(OBJECTIVES[config.objective](facts)(model, batch, Pressure(1.0, 0.0)))
    return model, batch, *losses


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reduction": "mean"},
        {"draws": 2},
        {"objective": "iwae", "draws": 2},
        {"objective": "mmd", "draws": 2},
        {"objective": "dip_i"},
    ],
    ids=str,
)
def test_a_term_is_added_in_nats_per_image(settings: dict[str, Any]) -> None:
    settings = dict(settings)
    draws, mmd = settings.pop("draws", None), settings.get("objective") == "mmd"
    model, batch, found, plain = model_and_loss(draws=draws, perceptual="ms_ssim", **settings)
    if mmd:  # of two draws one is of the prior
        draws, batch = None, batch._replace(noise=batch.noise[:, 0])
    seen = model.terms(batch, draws)
    images = batch.stored / 255.0
    means = torch.sigmoid(seen.parameters.view(4, -1, 1, SIDE, SIDE))
    each = [ms_ssim(means[:, draw], images) for draw in range(means.shape[1])]
    likeness = torch.stack(each).mean()
    scale = 1 if settings.get("reduction") == "mean" else SIDE**2
    torch.testing.assert_close(found.loss - plain.loss, scale * (1 - likeness), rtol=1e-3, atol=0)
    torch.testing.assert_close(found.extras["ms_ssim"], likeness)
    torch.testing.assert_close(found.distortion, plain.distortion)
    assert found.parameters is None is plain.parameters


@pytest.mark.parametrize("network", NETWORKS)
def test_the_last_layer_is_the_one_that_is_called_last(network: str) -> None:
    torch.manual_seed(0)
    parts: dict[str, Any] = {"model": "vae", "network": network, "hidden": (8,), "width": 0.25}
    flat = TrainConfig().to_flat()
    if misfit({**flat, **parts, "latent_space": "gaussian", "prior": "normal"}):
        parts["latent_space"] = "spatial"
    model = build_model(ModelConfig(**parts), (3, 16, 16), ())
    called: list[nn.Module] = []
    for part in model.decoder.modules():
        if isinstance(part, LAYERS):
            part.register_forward_hook(lambda layer, *_: called.append(layer))
    model.decoder(torch.randn(1, *model.latents.state_shape), None)
    assert called[-1].weight is model.decoder.last


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"perceptual": "ms_ssim", "objective": "dreg"}, r"--perceptual ms_ssim.*--objective dreg"),
        ({"perceptual": "ms_ssim", "objective": "m2"}, r"--perceptual ms_ssim.*--objective m2"),
        ({"perceptual_weight": 2.0}, r"--perceptual-weight 2\.0.*take --perceptual .*ms_ssim"),
        ({"perceptual": "ms_ssim", "perceptual_weight": -1.0}, r"--perceptual-weight is -1\.0"),
        ({"perceptual": "ms_sim"}, r"perceptual is 'ms_sim'.*Did you mean ms_ssim"),
        (
            {"perceptual": "ms_ssim", "domain": "vectors"},
            r"--perceptual ms_ssim.*looks at pictures",
        ),
    ],
)
def test_what_does_not_fit_a_term_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        TrainConfig().updated(settings, "the test")


class Features(nn.Module):
    """Two maps, of which a batch norm in training would change the second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> list[Tensor]:
        found = self.conv(images)
        return [found, self.norm(found)]


def test_a_network_that_is_not_trained_is_no_part_of_what_is() -> None:
    torch.manual_seed(0)
    network = Features()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    held = Fixed(network)
    whole = nn.ModuleList([held, nn.Linear(2, 2)]).train()
    assert len(list(held.parameters())) == len(held.state_dict()) == len(list(held.buffers())) == 0
    images = torch.rand(2, 1, 5, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(sum(each.sum() for each in held(images)), images)
    assert gradient.any()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert held(images)[1].grad_fn is not None
    assert whole.double()[0](images.double())[0].dtype == torch.float64


def test_maps_are_compared_by_direction() -> None:
    first, second = torch.rand(3, 1, 6, 6, requires_grad=True), torch.rand(3, 1, 6, 6)
    network = Fixed(Features())
    found = distance_of_maps(network, first, second)
    pairs = zip(network(first), network(second), strict=True)
    each = [2.0 - 2.0 * torch.cosine_similarity(a, b, dim=1).mean() for a, b in pairs]
    torch.testing.assert_close(found, torch.stack(each).mean())
    assert distance_of_maps(network, first, first) < 1e-9
    assert torch.autograd.grad(found, first)[0].any()
    opposite = distance_of_maps(lambda images: [images], second, -second)
    assert float(opposite) == pytest.approx(4.0)
