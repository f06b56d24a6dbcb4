"""What a step computes must not change by accident."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Settings, losses, trained

# Other processors round otherwise, hence 1e-4.
GOLDEN: dict[str, list[float]] = {
    "mlp cvae": [
        22.916353225708008, 18.02617645263672, 21.518884658813477, 21.33356285095215,
        23.152494430541992, 17.695476531982422, 20.02176856994629, 19.274456024169922,
        19.656530380249023, 22.376718521118164, 22.672183990478516, 20.286569595336914,
        18.89491081237793, 19.18568992614746, 21.730188369750977, 21.02381134033203,
        19.79305648803711, 19.935379028320312, 22.41130828857422, 19.88005828857422,
    ],
    "conv vae": [
        132.41073608398438, 113.85568237304688, 126.24978637695312, 123.99746704101562,
        132.13577270507812, 115.64542388916016, 118.59391784667969, 118.32559204101562,
        113.88553619384766, 124.37639617919922, 128.3362579345703, 117.8011474609375,
        109.84381866455078, 112.18244171142578, 120.64309692382812, 119.57148742675781,
        115.1456298828125, 112.92023468017578, 116.50484466552734, 112.26780700683594,
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
