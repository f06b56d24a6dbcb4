"""Encoders that tell codes: the model's own numbers, with the book that they are numbers of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distvae.attributes import Attribute
from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.export.convert import Origin, decoder_graph, encoder_graph, write_graph
from distvae.export.encoder import Encoder
from distvae.export.parity import TOLERANCE
from distvae.export.quantize import half, integer
from distvae.export.sampler import Sampler
from distvae.export.ties import Ties
from distvae.export.verify import verify
from distvae.latents.codes import CodeSpace
from distvae.models import build_model
from tests.conftest import SHAPES

SHAPE = (1, 8, 8)
ORIGIN = Origin({}, {"source": "none", "fingerprint": "none"})
NAMED_AS_OUTPUTS = (Attribute("codes", ("few", "many"), missing=True), Attribute("book"))
KINDS = [
    ({"latent_space": "fsq", "fsq_levels": (4, 3), "network": "conv", "width": 0.25}, (4, 4)),
    ({"latent_space": "vq", "vq_codes": 9, "vq_width": 2, "model": "cvae"}, (3,)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "grid"), KINDS, ids=["fsq", "vq"])
def test_an_encoder_tells_the_codes_of_examples(
    settings: dict[str, object], grid: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    own = {"hidden": (16,), "latent_dim": 3, "prior_width": 8, "model": "vae", **settings}
    attributes = NAMED_AS_OUTPUTS if own["model"] == "cvae" else ()
    model = build_model(ModelConfig(**own), SHAPE, (), attributes=attributes).eval()
    space, path = model.latents, tmp_path / "encoder.onnx"
    assert isinstance(space, CodeSpace)
    with torch.no_grad():
        for parameter in space.to_vectors.parameters():
            parameter.mul_(20.0)  # so that more than a few codes are in use
    proto = encoder_graph(model, ORIGIN, noise=True)
    write_graph(proto, path)
    assert verify(path, model).error <= TOLERANCE
    encoder = Encoder(path)
    images = np.random.default_rng(0).integers(0, 256, (300, *SHAPE), np.uint8)
    asked = {"codes": "many", "book": 0.3} if attributes else None
    found = encoder.codes(images, asked)
    assert found.shape == (300, *grid)
    assert found.dtype == np.int64
    given = ["codes", "book"] if attributes else []
    assert [*encoder.manifest.given] == [f"attribute_{name}" for name in given]
    with torch.no_grad():
        seen = torch.from_numpy(images) / 255.0
        context = model._context(asked, seen)
        features = model.features(seen, context)
        expected = space.codes_of(features, context).reshape(found.shape).numpy()
    assert (found == expected).mean() > 0.99  # a number between two codes may fall to either
    assert len(np.unique(found)) > 3
    every = torch.arange(space.codes)[:, None]
    assert np.array_equal(encoder.book, space.values_of(every)[:, 0].numpy())
    means = encoder.encode(images, asked).mean.reshape(300, *([-1] if len(grid) == 1 else [2, 16]))
    stood_for = encoder.book[found.reshape(300, -1)]
    laid_out = stood_for.reshape(300, -1) if len(grid) == 1 else stood_for.transpose(0, 2, 1)
    assert np.array_equal(means, laid_out)
    feed = {"image": images} | {
        name: np.zeros(300, kind) for name, kind in encoder.manifest.given.items()
    }
    for smaller in (half(proto), integer(proto, [feed])):
        write_graph(smaller, path)
        verify(path, model)
        coarse = Encoder(path)
        np.testing.assert_allclose(coarse.book, encoder.book, atol=2e-3)
        assert (coarse.codes(images, asked) == found).mean() > 0.8


@pytest.mark.slow
def test_codes_of_a_few_passes_are_drawn_in_one_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = {"hidden": (16,), "latent_dim": 6, "prior_width": 8, "prior_blocks": 2, "model": "cvae"}
    book = {"latent_space": "fsq", "fsq_levels": (3, 2), "prior_passes": 3}
    model = build_model(ModelConfig(**own, **book), SHAPE, SHAPES).eval()
    space = model.latents
    assert isinstance(space, CodeSpace)
    with torch.no_grad():
        for parameter in space.prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    path = tmp_path / "decoder.onnx"
    write_graph(decoder_graph(model, ORIGIN), path)
    assert verify(path, model).error <= TOLERANCE
    for temperature in (1.0, 0.0):
        asked = SHAPES[1], 50, 3, temperature
        drawn = model.domain.to_stored(model.sample(*asked)).numpy().astype(int)
        assert np.abs(Sampler(path).sample(*asked).astype(int) - drawn).max() <= 1
        assert (len(np.unique(drawn, axis=0)) > 5) == (temperature == 1.0)


def test_an_encoder_of_other_latents_tells_none(tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    model = build_model(ModelConfig(hidden=(8,), latent_dim=2), SHAPE, SHAPES).eval()
    write_graph(encoder_graph(model, ORIGIN), path)
    encoder = Encoder(path)
    for asked in (
        lambda: encoder.codes(np.zeros((1, *SHAPE), np.uint8), SHAPES[0]),
        lambda: encoder.book,
    ):
        with pytest.raises(DistvaeError, match=r"gives no codes.*fsq or vq"):
            asked()


@pytest.mark.parametrize("as_map", [True, False])
def test_codes_at_a_border_are_told_from_errors(as_map: bool) -> None:
    examples, sides, width = 40, (7, 7), 3
    ties = Ties(49, as_map)
    shape = (examples, width, *sides) if as_map else (examples, 49 * width)

    def with_wrong_codes(count: int) -> NDArray[np.float32]:
        """One code of each of so many examples."""
        off = np.full((examples, 49, width), 1e-6, np.float32)
        off[:count, 5] = 0.4
        return off.transpose(0, 2, 1).reshape(shape) if as_map else off.reshape(shape)

    few = with_wrong_codes(9)  # 0.46 % of the codes, in 22 % of the examples
    assert few.max() > 0.3
    kept = ties.but_for_values(few, 1e-5)
    assert (kept.shape, kept.max()) == (shape, np.float32(1e-6))
    assert (kept == 0.0).sum() == 9 * width
    assert ties.but_for_values(with_wrong_codes(10), 1e-5).max() > 0.3
    scores = np.where(np.arange(examples) < 8, 0.2, 1e-6).astype(np.float32)
    assert ties.but_for_examples(scores, 1e-5).max() < 1e-5
    assert ties._replace(length=4).but_for_examples(scores, 1e-5).max() > 0.1
    assert Ties(10_000, as_map).but_for_examples(np.ones(4, np.float32), 1e-5).min() == 1.0
