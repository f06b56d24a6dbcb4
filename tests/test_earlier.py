"""What earlier versions wrote of images and vectors is read as it was meant."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from distvae import VAE
from distvae.config import DataConfig, ModelConfig
from distvae.data.store import META, cache_folder, open_data
from distvae.domains import Domain, Images, Vectors
from distvae.errors import DistvaeError
from distvae.export.convert import described
from distvae.export.manifest import FORMAT, Manifest, parse_manifest
from distvae.export.sampler import Sampler
from distvae.models import build_model
from tests.export.conftest import Tiny

ROWS = Vectors(("a", "b"), (1.0, -2.0), (0.5, 3.0))
DOMAINS = [Images((1, 4, 5), "dynamic"), Images((3, 4, 4)), ROWS]


def as_before(domain: Domain) -> dict[str, Any]:
    """What a config.json said of it."""
    facts = domain.record()
    if facts.pop("name") == "images":
        return {"image_shape": facts["shape"], "binarize": facts["binarize"]}
    return {"image_shape": None, "vectors": facts, "binarize": "none"}


def rewritten(path: Path, domain: Domain) -> None:
    record = json.loads(path.read_text())
    del record["domain"], record["sha256"]
    path.write_text(json.dumps({**record, **as_before(domain)}))


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.told)
def test_a_model_is_loaded(domain: Domain, tmp_path: Path) -> None:
    config = ModelConfig(hidden=(6,), latent_dim=2, likelihood="gaussian")
    model = build_model(config, domain, ("x", "y")).eval()
    model.save_pretrained(tmp_path)
    rewritten(tmp_path / "config.json", domain)
    again = VAE.from_pretrained(tmp_path)
    assert again.domain == domain
    torch.testing.assert_close(again.sample(n=2, labels=["x"]), model.sample(n=2, labels=["x"]))
    record = json.loads((tmp_path / "config.json").read_text())
    both = {"image_shape": [1, 2, 3], "vectors": as_before(ROWS)["vectors"]}
    (tmp_path / "config.json").write_text(json.dumps({**record, **both}))
    with pytest.raises(DistvaeError, match="does not say what the examples are"):
        VAE.from_pretrained(tmp_path)


def first_format(manifest: Manifest) -> dict[str, Any]:
    facts = json.loads(manifest.to_json())
    del facts["domain"]
    before = as_before(manifest.domain)
    del before["binarize"]
    return {**facts, **before, "format": 1}


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.told)
def test_a_manifest_is_read(domain: Domain) -> None:
    manifest = Tiny(changes={"domain": domain}).manifest("decoder")
    read = parse_manifest(json.dumps(first_format(manifest)), "x")
    assert (read.example, read.format) == (manifest.example, FORMAT)
    assert read.domain.record() == {**domain.record(), **_binarize(domain)}


def _binarize(domain: Domain) -> dict[str, str]:
    """It was no part of a manifest's domain; the settings say it."""
    return {"binarize": "none"} if isinstance(domain, Images) else {}


def test_an_exported_file_is_drawn_from(tmp_path: Path) -> None:
    path = Tiny().decoder(tmp_path / "decoder.onnx")
    drawn = Sampler(path).sample([0], 3, seed=1)
    proto = onnx.load(str(path))
    described(proto, Tiny().manifest("decoder"))
    [entry] = [it for it in proto.metadata_props if it.key == "distvae.manifest"]
    entry.value = json.dumps(first_format(Tiny().manifest("decoder")))
    path.write_bytes(proto.SerializeToString())
    np.testing.assert_array_equal(Sampler(path).sample([0], 3, seed=1), drawn)


def test_a_store_is_opened(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", data=random.normal(size=(60, 3)))
    cache = str(tmp_path / "cache")
    config = DataConfig(data=str(tmp_path / "rows.npz"), domain="vectors", cache_dir=cache)
    data = open_data(config)
    [meta] = cache_folder(config).glob(f"rows-*/{META}")
    record = json.loads(meta.read_text())
    assert record.pop("domain") == "vectors"
    meta.write_text(json.dumps(record))
    again = open_data(config)
    assert (again.domain, again.columns, again.digests) == ("vectors", data.columns, data.digests)
