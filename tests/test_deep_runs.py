"""A run on images of 16 bits: trained, evaluated, exported, drawn from and held against them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distvae.cli import main
from distvae.config import ModelConfig
from distvae.domains import Images
from distvae.export import Sampler
from distvae.likelihoods import LIKELIHOODS
from distvae.likelihoods.logistic import log_mass

SIDE = 8


def opened(path: Path) -> NDArray[Any]:
    """The pixels of a picture, as they are."""
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("location", "scale"), [(0.3, 1e-5), (0.999, 0.01), (0.0, 0.2)])
def test_the_mass_of_65_536_levels_is_one(location: float, scale: float) -> None:
    levels = torch.arange(65536, dtype=torch.float32) / 65535
    at = torch.full_like(levels, location), torch.full_like(levels, float(np.log(scale)))
    mass = log_mass(levels, *at, 65536)
    assert float(mass.double().exp().sum()) == pytest.approx(1.0, abs=0.02)
    cdf = torch.sigmoid(((torch.arange(65537).double() - 0.5) / 65535 - location) / scale)
    cdf[0], cdf[-1] = 0.0, 1.0
    expected = cdf.diff()
    likely = expected > 1e-9
    off = (mass.double()[likely] - expected[likely].log()).abs()
    assert float((off * expected[likely]).sum()) < 0.01


@pytest.mark.parametrize("name", ["discretized_logistic", "discretized_logistic_mixture"])
def test_a_likelihood_begins_with_the_mean_of_65_536_levels(name: str) -> None:
    domain = Images((1, 1, 5), levels=65536)
    likelihood = LIKELIHOODS[name](ModelConfig(), domain)
    mean = torch.tensor([[[1.0 / 65535, 0.2, 0.5, 0.9, 0.99]]])
    found = likelihood.mean(likelihood.parameters_of(mean)[None])[0]
    assert torch.allclose(found, mean, atol=3e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blots of 16 bits in two classes, and a run on them."""
    folder = tmp_path_factory.mktemp("deep")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    for name, width in (("small", 4.0), ("large", 20.0)):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(30):
            blot = np.exp(-((x - rng.normal()) ** 2 + (y - rng.normal()) ** 2) / width)
            image = (60_000 * blot + 5_000 * rng.random(blot.shape)).astype(np.uint16)
            Image.fromarray(image).save(folder / "data" / name / f"{number}.png")
    flags = [
        "--network",
        "mlp",
        "--hidden",
        "32",
        "--prior",
        "normal",
        "--max-steps",
        "30",
        "--batch-size",
        "16",
    ]
    flags += ["--likelihood", "discretized_logistic", "--threads", "1", "--latent-dim", "3"]
    main(["train", "--data", str(folder / "data"), "--output", str(folder / "run"), *flags])
    return folder / "run"


@pytest.mark.slow
def test_a_run_of_16_bits_is_exported_and_drawn_from_without_torch(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads((run / "config.json").read_text())["domain"]["levels"] == 65536
    main(["export", str(run), "--onnx"])
    main(["sample", str(run), "--label", "small", "--count", "3", "--output", str(tmp_path / "w")])
    decoder = run / "onnx" / "decoder.onnx"
    main(
        [
            "sample",
            str(decoder),
            "--label",
            "small",
            "--count",
            "3",
            "--output",
            str(tmp_path / "o"),
        ]
    )
    weights, exported = (
        np.stack([opened(file) for file in sorted((tmp_path / name).iterdir())])
        for name in ("w", "o")
    )
    assert weights.dtype == exported.dtype == np.uint16
    assert abs(weights.astype(int) - exported).max() <= 1
    assert len(np.unique(weights)) > 150  # of 192; 8 bits repeat themselves
    drawn = Sampler(decoder).sample(["small"], 3, 0)
    assert np.array_equal(drawn[:, 0], exported)
    script = [sys.executable, str(run / "onnx" / "sample.py"), "--output", str(tmp_path / "s.png")]
    assert subprocess.run(script, check=False).returncode == 0
    assert opened(tmp_path / "s.png").dtype == np.uint8
    main(
        [
            "sample",
            str(run),
            "--label",
            "small",
            "--count",
            "1",
            "--output",
            str(tmp_path / "1.png"),
        ]
    )
    assert np.array_equal(opened(tmp_path / "1.png"), weights[0])
    capsys.readouterr()


def test_figures_of_a_run_of_16_bits_count_its_levels(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(run), "--metrics", "elbo"])
    found = json.loads((run / "evaluation.json").read_text())
    assert 8.0 < found["bits_per_dim"] < 17.0
    output = tmp_path / "pairs.npz"
    main(["reconstruct", str(run), "--data", str(run.parent / "data"), "--output", str(output)])
    with np.load(output) as arrays:
        originals, decoded = arrays["originals"].astype(float), arrays["reconstructions"]
        assert decoded.dtype == np.uint16
    squared = np.square(originals - decoded).reshape(len(originals), -1).mean(1)
    told = float(np.mean(10 * np.log10(65535**2 / squared)))
    assert f"PSNR {told:.2f}" in capsys.readouterr().out
    main(["reconstruct", str(run), "--output", str(tmp_path / "sheet.png")])
    assert opened(tmp_path / "sheet.png").dtype == np.uint8
    page = ["export", str(run), "--onnx", "--web", "--output", str(tmp_path / "page")]
    assert main(page) == 2
    assert "256 levels" in capsys.readouterr().err
