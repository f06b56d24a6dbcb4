"""Rows of numbers: trained on, gone on with, measured and drawn as a table."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine

from distvae import VAE
from distvae.config import ModelConfig
from distvae.domains import Vectors
from distvae.errors import DistvaeError
from distvae.export import Sampler
from distvae.models import build_model
from tests.conftest import Command

WINE = load_wine()
SMALL = [
    "--hidden",
    "24",
    "--latent-dim",
    "3",
    "--learning-rate",
    "0.005",
    "--ema",
    "0.9",
    "--beta",
    "1",
    "--seed",
    "1",
]


def write_wine(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*WINE.feature_names, "class"])
        for row, label in zip(WINE.data.tolist(), WINE.target, strict=True):
            writer.writerow([*row, WINE.target_names[label]])


def read_table(path: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Header, numbers and labels."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, np.array([row[:-1] for row in rows], float), [row[-1] for row in rows]


@pytest.mark.slow
def test_wine_from_a_table_to_a_table(distvae: Command, command: Command, tmp_path: Path) -> None:
    write_wine(tmp_path / "wine.csv")
    words = ["train", "--data", "wine.csv", *SMALL, "--epochs", "60"]
    ended = distvae(*words, "--output", "run")
    assert ended.code == 0, ended.err
    assert "rows are taken as vectors (--domain vectors)" in ended.out
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert settings["domain"] == "vectors"
    assert "vectors of 13 columns, 3 labels" in ended.out
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line["split"] == "test"]
    assert losses[-1] < 0.5 * losses[0]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "vectors of 13 columns" in card
    assert "samples/epoch-0060.png" in card
    assert "image" not in card.partition("## Settings")[0]
    assert "image" not in ended.out.replace("there are no images", "")
    header, values, labels = read_table(tmp_path / "run" / "samples" / "epoch-0060.csv")
    assert header == [*WINE.feature_names, "label"]
    assert labels == [name for name in WINE.target_names for _ in range(10)]
    assert (np.abs(values - WINE.data.mean(0)) < 8 * WINE.data.std(0)).all()

    metrics = "elbo,latents,judge,downstream,neighbours,augmentation"
    ended = command("evaluate", "run", "--metrics", metrics, "--seed", 1)
    assert ended.code == 0, ended.err
    assert "left out: augmentation: --metrics augmentation needs images" in ended.out
    assert "generated rows" in ended.out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["elbo"] == pytest.approx(-losses[-1], rel=1e-5)
    assert {"left_out/augmentation", "left_out/bits_per_dim"} <= found.keys()
    assert found["mutual_information_lower"] > 0
    # wine is told apart by nearly any classifier, and so is what is generated of it
    assert found["judge_test_accuracy"] > 0.9
    assert found["judge_accuracy"] > 0.85
    assert found["linear_probe_pixels_accuracy"] > 0.9
    assert found["neighbour_distance_ratio"] > 0.5

    ended = command("sample", "run", "--count", "300", "--output", "drawn.csv", "--seed", "3")
    assert ended.code == 0, ended.err
    header, values, labels = read_table(tmp_path / "drawn.csv")
    assert header == [*WINE.feature_names, "label"]
    assert labels == sorted(labels)
    assert len(labels) == 900
    for number, name in enumerate(WINE.target_names):
        real = WINE.data[WINE.target == number]
        drawn = values[np.array(labels) == name]
        # means of columns by class, in deviations of the column over all classes
        off = (drawn.mean(0) - real.mean(0)) / WINE.data.std(0)
        assert np.abs(off).max() < 0.6
    model = VAE.from_pretrained(tmp_path / "run")
    again = model.domain.to_stored(model.sample(labels=["class_1"], n=300, seed=3))
    only = command("sample", "run", "--label", "class_1", "--count", "300", "--seed", "3")
    assert only.code == 0, only.err
    _, alone, _ = read_table(tmp_path / "run" / "samples" / "label-class_1-seed-3.csv")
    np.testing.assert_allclose(alone, again.numpy(), rtol=1e-6)

    for words, told in (
        (["sample", "run", "--output", "x.png"], "x.png does not fit rows: expected .csv"),
        (["export", "run", "--onnx", "--web"], "--web does not fit"),
        (["export", "run", "--precision", "int8"], "--precision int8 does not fit"),
    ):
        ended = command(*words)
        assert (ended.code, told in ended.err) == (2, True), ended.err
    assert not (tmp_path / "run" / "onnx").exists()
    ended = command("export", "run", "--onnx")
    assert ended.code == 0, ended.err
    assert "rows/s" in ended.out
    bundle = tmp_path / "run" / "onnx"
    assert "--output rows.csv" in (bundle / "README.md").read_text()
    drawn = Sampler(bundle / "decoder.onnx").sample(["class_1"], 300, seed=3)
    scale = np.array(WINE.data.std(0))
    assert (np.abs(drawn - again.numpy()) / scale).max() < 1e-4
    assert command("export", "run", "--check", bundle / "encoder.onnx").code == 0


@pytest.mark.slow
def test_a_run_that_is_gone_on_with_is_one_never_stopped(distvae: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "wine.npz", data=WINE.data, target=WINE.target)
    words = ["train", "--data", "wine.npz", "--domain", "vectors", *SMALL]
    whole = distvae(*words, "--max-steps", "30", "--schedule", "constant", "--output", "whole")
    assert whole.code == 0, whole.err
    short = distvae(*words, "--max-steps", "15", "--schedule", "constant", "--output", "part")
    assert short.code == 0, short.err
    ended = distvae("train", "--resume", "part", "--max-steps", "30")
    assert ended.code == 0, ended.err
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "part")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("words", ["--network conv", "--likelihood bernoulli", "--prior vamp"])
@pytest.mark.parametrize("domain", ["", "--domain vectors"])
def test_parts_of_images_are_refused(
    command: Command, tmp_path: Path, words: str, domain: str
) -> None:
    write_wine(tmp_path / "wine.csv")
    ended = command("train", "--data", "wine.csv", *domain.split(), *words.split())
    assert ended.code == 2
    assert f"{words} does not fit --domain vectors" in ended.err
    assert not (tmp_path / "runs").exists()


def test_a_table_is_looked_at(command: Command, tmp_path: Path) -> None:
    write_wine(tmp_path / "wine.csv")
    ended = command("inspect", "wine.csv")
    assert ended.code == 0, ended.err
    assert "training rows" in ended.out
    assert "alcohol, malic_acid" in ended.out
    assert "rows by label" in ended.out
    [line] = [line for line in ended.out.splitlines() if line.startswith("│ proline ")]
    low, high = (float(cell) for cell in line.split("│")[2:4])
    assert WINE.data[:, -1].min() <= low < high <= WINE.data[:, -1].max()


def vectors_model() -> VAE:
    domain = Vectors.of(tuple(WINE.feature_names), WINE.data.astype(np.float32))
    config = ModelConfig(hidden=(8,), latent_dim=2, likelihood="gaussian")
    return build_model(config, domain, tuple(WINE.target_names)).eval()


def test_a_model_of_vectors_is_saved_and_loaded(tmp_path: Path) -> None:
    model = vectors_model()
    model.save_pretrained(tmp_path / "model")
    again = VAE.from_pretrained(tmp_path / "model")
    assert again.domain == model.domain
    sample = model.sample(labels=["class_0"], n=3)
    assert sample.shape == (3, 13)
    torch.testing.assert_close(again.sample(labels=["class_0"], n=3), sample)
    record = json.loads((tmp_path / "model" / "config.json").read_text())
    record["domain"]["deviation"][3] = 0.0
    del record["sha256"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(record))
    with pytest.raises(DistvaeError, match="columns of a model are damaged"):
        VAE.from_pretrained(tmp_path / "model")


def test_inputs_are_checked_and_pictures_refused() -> None:
    model = vectors_model()
    with pytest.raises(DistvaeError, match=r"expected \[B, 13\]"):
        model.encode(torch.zeros(2, 12), ["class_0", "class_1"])
    with pytest.raises(DistvaeError, match="not finite"):
        model.encode(torch.full((1, 13), torch.nan), ["class_0"])
    with pytest.raises(DistvaeError, match=r"needs images.*vectors of 13 columns"):
        _ = model.image_shape
    config = ModelConfig(hidden=(8,), latent_dim=2, likelihood="gaussian", network="resnet")
    with pytest.raises(DistvaeError, match=r"convolutions do not fit.*\[13\].*--network mlp"):
        build_model(config, model.domain, ("a", "b"))
