"""One level of the latents drawn anew: which level, from which noise, and models of one level."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distvae.config import ModelConfig
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.export.convert import Origin, decoder_graph, write_graph
from distvae.models import VAE, build_model
from distvae.tools.resample import resample

SIDE, DRAWS = 16, 3


def a_model(**changes: Any) -> VAE:
    torch.manual_seed(0)
    usual = {"network": "conv", "width": 0.1, "latent_space": "ladder", "latent_dim": 3}
    config = ModelConfig(**{**usual, "prior": "normal", **changes})
    model = build_model(config, (1, SIDE, SIDE), ("dark", "bright")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.requires_grad_(False)


def test_one_level_is_drawn_anew_and_the_others_are_kept(tmp_path: Path) -> None:
    model = a_model(levels=3, level_maps=1)
    found = resample(model, label="bright", count=DRAWS, seed=5)
    assert found.levels == ("z1", "z2", "z3")
    assert found.frames.shape == (3, 1 + DRAWS, 1, SIDE, SIDE)
    noise = standard_normal(5, 0, 1 + DRAWS, model.latents.noise_dim)
    ends = np.cumsum([level.size for level in model.latents.levels])
    context = model.conditioner.of_label(torch.tensor([1]))
    for row, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        for column in range(1 + DRAWS):
            point = noise[:1].copy()
            point[:, start:end] = noise[column, start:end]
            drawn = model.render(model.latents.draw(torch.from_numpy(point), context), context)
            stored = model.domain.to_stored(drawn).numpy()[0]
            assert np.abs(found.frames[row, column].astype(int) - stored).max() <= 1
    assert (found.changes > 0).all()
    write_graph(decoder_graph(model, Origin({}, {})), tmp_path / "decoder.onnx")
    exported = resample(tmp_path, label="bright", count=DRAWS, seed=5)
    assert exported.levels == found.levels
    assert np.abs(exported.frames.astype(int) - found.frames).max() <= 1
    assert found.save(tmp_path / "levels.png").stat().st_size > 100


def test_one_level_is_refused() -> None:
    with pytest.raises(DistvaeError, match=r"one level of latents.*\n?.*--latents ladder"):
        resample(a_model(latent_space="gaussian"), count=2)
