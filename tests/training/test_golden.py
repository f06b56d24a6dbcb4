"""What a step computes must not change by accident."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Settings, losses, trained

# Other processors round otherwise, hence 1e-4.
GOLDEN: dict[str, list[float]] = {
    "mlp cvae": [
        19.1900634765625, 22.89872169494629, 19.24929428100586, 19.16120147705078,
        18.905654907226562, 21.81233787536621, 18.202505111694336, 23.50815773010254,
        20.653545379638672, 20.423755645751953, 20.450063705444336, 18.888437271118164,
        22.168991088867188, 20.87405014038086, 19.70418930053711, 18.230375289916992,
        21.659902572631836, 22.93754768371582, 22.49229621887207, 18.34215545654297,
    ],
    "conv vae": [
        116.43391418457031, 132.5082550048828, 119.08493041992188, 119.58466339111328,
        118.37274932861328, 124.3182144165039, 112.04016876220703, 131.07701110839844,
        127.94963073730469, 120.77157592773438, 113.428466796875, 113.78031921386719,
        122.5401840209961, 124.12161254882812, 115.6768569946289, 110.55438232421875,
        120.11357879638672, 118.11544799804688, 117.48092651367188, 108.8460922241211,
    ],
}  # fmt: skip
PINNED: dict[str, Any] = {
    "activation": "relu", "conditioning": "modulate", "start": "data_mean", "beta": 1.0,
    "learning_rate": 1e-3, "schedule": "constant", "warmup_epochs": 0.0, "clip": 40.0,
    "max_steps": 20, "seed": 3,
}  # fmt: skip
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp cvae": {"model": "cvae", "network": "mlp", "prior": "label"},
    "conv vae": {
        "model": "vae", "network": "conv", "prior": "normal", "width": 0.25, "activation": "silu",
        "likelihood": "discretized_logistic",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_losses(settings: Settings, here: Path, name: str) -> None:
    config = settings(**{**PINNED, **NETWORKS[name]})
    assert losses(trained(config, here / "run")) == pytest.approx(GOLDEN[name], rel=1e-4)
