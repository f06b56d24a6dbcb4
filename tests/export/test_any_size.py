"""Graphs of latents at every place: any height and width, without torch."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from distvae.conditions import Context
from distvae.errors import DistvaeError
from distvae.export import any_size
from distvae.export.any_size import DECODER, ENCODER, KEY, has_any_size, write_any_size
from tests.test_spatial import MAPS, random_model

FACTOR = 4


@pytest.mark.slow
def test_images_of_other_sides_go_through_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(width=0.25)
    assert has_any_size(model)
    write_any_size(model, tmp_path)
    facts = json.loads(onnx.load(tmp_path / DECODER).metadata_props[0].value)
    assert onnx.load(tmp_path / DECODER).metadata_props[0].key == KEY
    assert (facts["factor"], facts["latent_channels"]) == (FACTOR, MAPS)
    decoder, encoder = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        for name in (DECODER, ENCODER)
    )
    random, label = np.random.default_rng(0), np.array([1])
    latents = random.standard_normal((1, MAPS, 6, 11), np.float32)
    (image,) = decoder.run(None, {"latents": latents, "label": label})
    context = Context.of_label(torch.tensor([1]))
    mean = model.render((torch.from_numpy(latents),), context)
    expected = model.domain.to_stored(mean).numpy()
    assert image.shape == (1, 3, 6 * FACTOR, 11 * FACTOR)
    assert np.abs(image.astype(int) - expected).max() <= 1
    found = encoder.run(None, {"image": image, "label": label})
    (posterior,) = model.posteriors(torch.from_numpy(image) / 255.0, context)
    for one, other in zip(found, posterior.base, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-4)

    monkeypatch.setattr(any_size, "TOLERANCE", -1.0)
    (tmp_path / "none").mkdir()
    with pytest.raises(DistvaeError, match=r"latent_encoder.*does not give what the model gives"):
        write_any_size(model, tmp_path / "none")
    assert not (tmp_path / "none" / ENCODER).exists()
