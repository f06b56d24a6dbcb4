"""Files name weights as they always did, whatever module holds them."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from distvae.conditions import Conditions
from distvae.config import ModelConfig
from distvae.models import VAE, build_model
from distvae.weight_names import NAMES, TENFOLD, in_files
from tests.spaces import gaussian

LABELS = ("a", "b")
OF_A_FLOW = {f"flow.layers.{layer}.{part}" for layer in (0, 1) for part in ("latents.weight",)}
OLD = {
    "mlp": {"encoder.layers.dense.0.weight", "to_posterior.weight", "prior.means", *OF_A_FLOW},
    "conv": {"encoder.dense.weight", "encoder.modulation.table.weight", "to_posterior.bias"},
    "resnet": {"encoder.dense.bias", "encoder.modulation.table.weight", "to_posterior.weight"},
}


def a_model(network: Any) -> VAE:
    torch.manual_seed(0)
    flow: Any = "flow" if network == "mlp" else "gaussian"
    config = ModelConfig(
        network=network, hidden=(8,), latent_dim=2, width=0.1, prior="mixture", posterior=flow
    )
    return build_model(config, (1, 8, 8), LABELS)


@pytest.mark.parametrize("network", OLD)
def test_a_folder_names_weights_as_before(network: str, tmp_path: Path) -> None:
    model = a_model(network)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        written = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert written.keys() >= OLD[network]
    assert not [name for name in written if name.startswith("latents.")]
    assert written.keys() == {in_files(name) for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert torch.equal(written[in_files(name)], parameter)
    loaded = VAE.from_pretrained(tmp_path)
    pairs = zip(loaded.parameters(), model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("prior", ["label", "mixture"])
def test_priors_that_were_kept_at_a_tenth_are_read(prior: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden=(8,), latent_dim=2, prior=prior)
    model = build_model(config, (1, 8, 8), LABELS)
    for parameter in gaussian(model).prior.parameters():
        parameter.data.normal_()
    model.save_pretrained(tmp_path)
    before = {now: then for then, now in TENFOLD.items()}
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    tenths = {
        before.get(name, name): weight / 10.0 if name in before else weight
        for name, weight in weights.items()
    }
    assert len(tenths.keys() - weights.keys()) == 3
    save_file(tenths, path)
    loaded = VAE.from_pretrained(tmp_path)
    for found, expected in zip(loaded.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    noise = torch.randn(4, gaussian(model).prior.noise_dim)
    labels = torch.tensor([0, 1, 1, 0])
    drawn = [
        gaussian(one).prior.transform(noise, one.conditioner(Conditions.of_labels(labels)))
        for one in (loaded, model)
    ]
    torch.testing.assert_close(*drawn)


def test_a_model_inside_another_module_and_a_copy_keep_to_the_names() -> None:
    model = a_model("conv")
    inner = copy.deepcopy(model)
    whole = nn.ModuleDict({"model": inner})
    state = whole.state_dict()
    assert {f"model.{name}" for name in model.state_dict()} == state.keys()
    state["model.to_posterior.bias"] = torch.arange(4.0)
    whole.load_state_dict(state)
    assert torch.equal(gaussian(inner).to_posterior.bias, torch.arange(4.0))


def test_the_table_goes_both_ways() -> None:
    beginnings = [*NAMES, *NAMES.values()]
    assert len(set(beginnings)) == len(beginnings)
    for one in beginnings:  # no beginning is another's, or a name could have two
        assert not [other for other in beginnings if other != one and other.startswith(one)]
    own = {in_files(name) for name, _ in a_model("conv").named_parameters()}
    assert len(own) == len(list(a_model("conv").named_parameters()))
