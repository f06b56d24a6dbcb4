"""Public names: which there are, how they are called, and that docs/python.md runs as printed."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import distvae
from distvae.config import TrainConfig
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from tests.conftest import CHECKOUT, HANG
from tests.test_readme import blocks
from tests.warm import begin

SIGNATURES = {
    "open": "(run: str | os.PathLike[str] | None = None) -> 'TrainedRun'",
    "noise": (
        "(model: distvae.models.VAE, count: int, seed: int, step: int, draws: int | None = None)"
        " -> torch.Tensor"
    ),
    "loss": (
        "(terms: distvae.composition.Terms, beta: float = 1.0, free_bits: float = 0.0, "
        "capacity: float | None = None) -> distvae.objectives.base.Loss"
    ),
    "optimizer": (
        "(model: torch.nn.modules.module.Module, learning_rate: float = 0.002, "
        "weight_decay: float = 0.0) -> torch.optim.optimizer.Optimizer"
    ),
    "VAE.sample": "(labels, n, seed, temperature, prior)",
    "VAE.sample_batches": "(labels, n, seed, temperature, prior)",
    "VAE.encode": "(images, labels)",
    "VAE.decode": "(z, labels)",
    "VAE.forward": "(images, labels, noise, draws, densities)",
    "TrainedRun.samples": "(label, n, seed, temperature)",
    "TrainedRun.evaluate": "(flags)",
    "TrainedRun.export": "(flags)",
    "TrainedRun.embed": "(images, labels, options)",
    "TrainedRun.score": "(images, labels, options)",
    "TrainedRun.reconstruct": "(images, labels, options)",
    "TrainedRun.interpolate": "(images, labels, options)",
    "TrainedRun.traverse": "(image, label, options)",
    "TrainedRun.manifold": "(label, options)",
    "TrainedRun.repair": "(images, labels, options)",
    "TrainedRun.compare": "(others, options)",
    "TrainedRun.report": "(options)",
    "TrainedRun.resume": "(data, flags)",
}
NAMES = {
    *("VAE", "ConditionalVAE", "DistvaeError", "ModelConfig", "TrainConfig", "TrainedRun"),
    *("__version__", "loss", "noise", "open", "optimizer", "sweep", "train"),
}


def test_public_names_stay() -> None:
    assert set(dir(distvae)) == NAMES
    for name, told in SIGNATURES.items():
        thing: Any = distvae
        for part in name.split("."):
            thing = getattr(thing, part)
        found = inspect.signature(thing)
        if "." in name:
            assert f"({', '.join(list(found.parameters)[1:])})" == told, name
        else:
            assert str(found) == told, name
        assert inspect.getdoc(thing)
    training = set(inspect.signature(distvae.train).parameters)
    assert set(TrainConfig().to_flat()) < training
    swept = set(inspect.signature(distvae.sweep).parameters)
    assert swept - training == {"set", "jobs", "by", "select"}
    assert (CHECKOUT / "distvae/py.typed").is_file()


def test_noise_loss_and_optimizer_of_a_loop_of_ones_own() -> None:
    torch.manual_seed(0)
    config = distvae.ModelConfig(model="vae", prior="normal", hidden=(8,), latent_dim=2)
    model = distvae.VAE(config, (1, 4, 4), ())
    images = torch.rand(16, 1, 4, 4)
    noise = distvae.noise(model, 16, seed=4, step=7)
    source = NoiseSource(4, Stream.TRAINING, 2, None, torch.device("cpu"))
    assert torch.equal(noise, source.draw(7, slice(0, 16)).noise)  # that of a run
    assert torch.equal(noise[:5], distvae.noise(model, 5, seed=4, step=7))
    assert not torch.equal(noise, distvae.noise(model, 16, seed=4, step=8))
    assert distvae.noise(model, 16, seed=4, step=7, draws=3).shape == (16, 3, 2)
    terms = model(images, None, noise)
    found = distvae.loss(terms, beta=2.0)
    posterior = model.encode(images)
    q = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    rate = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(found.rate, rate)
    torch.testing.assert_close(found.loss, (found.distortion + 2 * rate).mean())
    optimizer = distvae.optimizer(model, 0.01)
    torch.autograd.backward(found.loss)
    optimizer.step()
    assert distvae.loss(model(images, None, noise), beta=2.0).loss < found.loss


@pytest.mark.slow
def test_the_page_about_python_runs_as_printed(tmp_path: Path, environment: dict[str, str]) -> None:
    source = "\n".join(blocks("docs/python.md", "python"))
    assert source.count("notebook_launcher(work") == 1
    loop = re.search(r"for step.*?zero_grad\(\)", source, re.DOTALL)
    assert loop is not None
    assert loop[0].count("\n") < 20
    (tmp_path / "page.py").write_text(source, encoding="utf-8")
    settings = {**environment, "ACCELERATE_USE_CPU": "1"}
    process = begin([sys.executable, "page.py"], tmp_path, settings)
    said = process.communicate(timeout=HANG)
    assert process.wait() == 0, said
    for name in ("sevens.png", "pairs.png", "own/onnx/decoder.onnx", "runs/two/model.safetensors"):
        assert (tmp_path / name).is_file(), name
