"""Every part with networks, with labels or without: trains, is saved, comes back, draws."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

from pathlib import Path
from typing import Any

import pytest
import torch

from distvae.combinations import misfit
from distvae.config import DataConfig, TrainConfig
from distvae.data.store import ImageData, open_data
from distvae.declarations import with_trait
from distvae.errors import DistvaeError
from distvae.likelihoods import LIKELIHOODS
from distvae.models import VAE
from distvae.networks import NETWORKS
from distvae.objectives import OBJECTIVES
from distvae.priors import PRIORS
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance
from distvae.training.engine import build_engine
from distvae.training.planning import make_plan
from tests.conftest import TRAIN_IMAGES
from tests.spaces import ABOUT_LABELS

STEPS, BATCH = 20, 12
OF_NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 1.0},
    "fcn": {"downscale": 4},
    "sd": {"block_channels": [4, 8, 8]},
}
"""Settings that a network takes beside those of all."""
TINY: dict[str, Any] = {
    "hidden": [12], "latent_dim": 3, "flow_layers": 2, "flow_width": 8, "batch_size": BATCH,
    "warmup_epochs": 0.0, "prior": "normal", "beta": 1.0, "ema": 0.9,
}  # fmt: skip
PARTS: list[dict[str, Any]] = [
    *({"prior": name} for name in PRIORS if name != "codes"),
    *(
        {"latent_space": name, "prior": "codes", "max_steps": 20, "prior_width": 8}
        | ({"prior_passes": 2} if name == "vq" else {})
        for name in with_trait("latent_space", "codes")
    ),
    {"posterior": "flow"},
    {"latent_space": "ladder"},
    {"latent_space": "spatial", "latent_channels": 2},
    {"latent_space": "ladder", "conditioning": "concat", "norm": "layer", "objective": "iwae"},
    *({"likelihood": name} for name in LIKELIHOODS),
    *({"objective": name} for name in OBJECTIVES),
    {"prior": "vamp", "objective": "iwae", "prior_components": 3, "pseudo_inputs": "mean"},
    {"prior": "mixture", "objective": "dreg", "prior_components": 2},
    {"prior": "flow", "posterior": "flow", "objective": "iwae"},
    {"likelihood": "categorical", "levels": 4, "prior": "vamp"},
    {"likelihood": "discretized_logistic_mixture", "likelihood_components": 1},
]
OF_LABELS: list[dict[str, Any]] = [
    {"prior": "label"},
    *({"objective": name} for name in ABOUT_LABELS),
]


def fitting(part: dict[str, Any], row: int) -> list[str]:
    """Networks for this part: all for a latent space, else two by turns of those that go."""
    flat = TrainConfig().to_flat()
    fit = [name for name in NETWORKS if not misfit({**flat, "network": name, **part})]
    if "latent_space" in part:
        return fit
    return [*dict.fromkeys(fit[(2 * row + number) % len(fit)] for number in (0, 1))]


PAIRS = [
    # each part with both kinds and each network with both, over the parts; but for the prior that
    # has a Gaussian for each label, and the objective that tells labels
    (part, network, "cvae" if part in OF_LABELS or (row + column) % 2 else "vae")
    for row, part in enumerate(PARTS)
    for column, network in enumerate(fitting(part, row))
]


def named(value: dict[str, Any] | str) -> str:
    return value if isinstance(value, str) else "-".join(map(str, value.values()))


@pytest.fixture
def data(shapes: Path, here: Path) -> ImageData:
    return open_data(DataConfig(data=str(shapes)))


def trained(config: TrainConfig, data: ImageData, folder: Path) -> VAE:
    """A model after a few steps, each loss of which was finite and each weight of which moved."""
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(folder)))
    model = engine.trained.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = torch.arange(STEPS * BATCH).view(STEPS, BATCH) % TRAIN_IMAGES
    found: list[torch.Tensor] = []
    while len(found) < STEPS:  # another player may join in between
        plan = make_plan(engine, len(found), STEPS - len(found), rows[len(found) :])
        plan, _ = plan.divided(plan.steps)
        advance(engine, plan)
        found += engine.state.found(plan.steps)[:, 0]
    loss, distortion, *_ = torch.stack(found).unbind(1)
    assert loss.isfinite().all()
    assert (distortion[-5:] < 1e4).all()
    for name, value in model.state_dict().items():
        assert value.isfinite().all(), name
        assert not torch.equal(value, before[name]), name
    assert engine.trained.averaged is not None
    return engine.trained.averaged.eval()


@pytest.mark.parametrize(("part", "network", "kind"), PAIRS, ids=named)
def test_a_part_trains_is_saved_comes_back_and_draws(
    shapes: Path,
    data: ImageData,
    tmp_path: Path,
    part: dict[str, Any],
    network: str,
    kind: str,
) -> None:
    own = {"data": str(shapes), "network": network, "width": 0.1, "model": kind, **part}
    own |= OF_NETWORKS.get(network, {})
    model = trained(TrainConfig().updated({**TINY, **own}, "the test"), data, tmp_path)
    model.save_pretrained(tmp_path / "one")
    loaded = VAE.from_pretrained(tmp_path / "one")
    loaded.save_pretrained(tmp_path / "other")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    images = loaded.sample(n=4, seed=1)
    assert torch.equal(images, model.sample(n=4, seed=1))
    assert images.shape == (4, *data.image_shape)
    assert ((images >= 0) & (images <= 1)).all()
    assert len(images.unique(dim=0)) > 1


def test_every_network_and_part_is_trained_with_labels_and_without() -> None:
    assert {network for _, network, _ in PAIRS} == NETWORKS.keys()
    for part in PARTS:
        if part not in OF_LABELS:
            assert {kind for other, _, kind in PAIRS if other == part} == {"vae", "cvae"}, part


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prior": "label", "model": "vae"}, r"--prior label.*--model vae"),
        ({"prior": "vamp", "posterior": "flow"}, r"--prior vamp.*--posterior flow.*gaussian"),
        ({"prior": "normal", "prior_components": 5}, r"--prior-components 5.*mixture, vamp"),
        ({"prior": "mixture", "pseudo_inputs": "mean"}, r"--pseudo-inputs mean.*--prior vamp"),
        ({"prior": "mixture", "prior_components": 0}, r"--prior-components is 0.*at least 1"),
        ({"likelihood": "gaussian", "levels": 8}, r"--levels 8.*--likelihood categorical"),
        ({"likelihood": "categorical", "levels": 257}, r"--levels is 257.*at most 256"),
        ({"likelihood": "categorical", "levels": 1}, r"--levels is 1.*at least 2"),
        ({"likelihood": "bernoulli", "sigma": 0.1}, r"--sigma 0\.1.*--likelihood gaussian"),
        (
            {"likelihood": "bernoulli", "likelihood_components": 3},
            r"--likelihood-components 3.*discretized_logistic_mixture",
        ),
        (
            {"likelihood": "continuous_bernoulli", "binarize": "dynamic"},
            r"continuous_bernoulli.*--binarize dynamic.*none",
        ),
        ({"posterior": "flow", "latent_dim": 1}, r"--posterior flow.*--latent-dim 1.*at least 2"),
        ({"prior": "flow", "flow_layers": 1}, r"--flow-layers is 1.*at least 2"),
        ({"prior": "flow", "flow_width": 0}, r"--flow-width is 0.*at least 1"),
        ({"prior": "wamp"}, r"prior is 'wamp'.*Did you mean vamp"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_those_that_do(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DistvaeError, match=message):
        TrainConfig().updated(changes, "the test")
