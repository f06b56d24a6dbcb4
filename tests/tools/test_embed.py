"""`distvae embed` beside the model itself, pyarrow, numpy and scikit-learn."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from distvae import VAE, DistvaeError
from distvae.data.provenance import open_recorded
from distvae.runs import find_run
from distvae.tools.embed import embed
from distvae.tools.probing import folds, probe
from distvae.tools.projector import project
from tests.conftest import (
    SHAPES,
    TEST_IMAGES,
    Command,
    Start,
    assert_refused,
    listing,
    write_shapes,
)


def expected(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, means and variances of the test split."""
    test = open_recorded(find_run(run), None).test
    model = VAE.from_pretrained(run)
    assert test.labels is not None
    with torch.no_grad():
        found = model.encode(torch.from_numpy(test.images / np.float32(255)), test.labels)
    return test.labels, found.mean.numpy(), found.log_variance.exp().numpy()


def test_the_table_holds_what_the_model_encodes(run: Path, command: Command) -> None:
    ended = command("embed", run, "--projector")
    assert ended.code == 0, ended.err
    assert "labels told from the latents: linear probe" in ended.out
    table = parquet.read_table(run / "embed" / "latents")
    assert table.column_names == ["id", "label", *(f"{x}{n}" for x in ("z", "var") for n in "012")]
    labels, mean, variance = expected(run)
    assert table["label"].to_pylist() == [SHAPES[label] for label in labels]
    assert table["id"][0].as_py() == "test/circle/000.png"
    for name, array in (("z", mean), ("var", variance)):
        found = np.stack([table[f"{name}{n}"].to_numpy() for n in range(3)], 1)
        np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-5)
    with Image.open(run / "embed" / "projector.png") as sheet:
        assert sheet.width > 1100
    rows = (run / "embed" / "projector-pca.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + TEST_IMAGES
    first = listing(run / "embed")
    assert command("embed", run, "--projector").code == 0
    assert listing(run / "embed") == first
    assert command("embed", run, "--output", run / "latents.npz").code == 0
    with np.load(run / "latents.npz") as arrays:
        np.testing.assert_allclose(arrays["mean"], mean, rtol=1e-4, atol=1e-5)
        assert (arrays["labels"] == labels).all()
    (run / "mine").mkdir()
    (run / "mine" / "diary.txt").touch()
    assert_refused(command("embed", run, "--output", run / "mine"), "did not write")


def test_columns_of_a_table_are_kept(run: Path, command: Command, tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "some", 3, 8)
    rows = ["file_name,label,age,place"]
    rows += [f"{name}/{n:03d}.png,{name},{n + 20},room {n}" for name in SHAPES for n in range(3)]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "cross" / "001.png").write_bytes(b"no picture")
    ended = command("embed", run, "--data", folder, "--output", tmp_path / "kept.parquet")
    assert ended.code == 2
    assert "1 of 9 images" in ended.err.splitlines()[-1]
    table = parquet.read_table(tmp_path / "kept.parquet")
    assert table["age"].to_pylist() == [20, 21, 22, 20, 22, 20, 21, 22]
    assert table["place"].to_pylist()[3:5] == ["room 0", "room 2"]
    assert table["id"].to_pylist()[3:5] == ["cross/000.png", "cross/002.png"]


@pytest.mark.slow
def test_a_killed_process_goes_on_with_the_same_bytes(
    run: Path, command: Command, start: Start
) -> None:
    data = np.random.default_rng(0).integers(0, 256, (6000, 8, 8), np.uint8)
    labels = np.arange(6000) % 3
    np.savez(run / "many.npz", images=data, labels=labels)
    flags = ("embed", run, "--data", run / "many.npz", "--part-rows", 500)
    assert command(*flags, "--output", run / "whole").code == 0
    process = start(*flags, "--output", run / "killed")
    parts = run / "killed" / "latents"
    while not (parts / "part-00002.parquet").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    state = json.loads((parts / ".unfinished.json").read_text(encoding="utf-8"))
    assert 0 < state["parts"] < 12
    ended = command(*flags, "--output", run / "killed")
    assert ended.code == 0, ended.err
    assert f"going on after {500 * state['parts']:,} of 6,000" in ended.out
    digests = [
        {path.name: digest for path, digest in listing(run / name / "latents").items()}
        for name in ("whole", "killed")
    ]
    assert digests[0] == digests[1]
    first = parts / "part-00000.parquet"
    assert first.stat().st_mtime_ns == begun[first.name]


def test_python_gives_the_same_as_the_command(run: Path, here: Path) -> None:
    labels, mean, variance = expected(run)
    test = open_recorded(find_run(run), None).test
    for given in (test.images, torch.from_numpy(test.images / np.float32(255))):
        found = embed(VAE.from_pretrained(run), given, labels.tolist())
        np.testing.assert_allclose(found.mean, mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.variance, variance, rtol=1e-4, atol=1e-5)
    whole = embed(run)
    assert whole.ids[0] == "test/circle/000.png"
    assert whole.probe() is not None
    with pytest.raises(DistvaeError, match="label hexagon"):
        embed(run, test.images, "hexagon")


def test_principal_components_are_those_of_the_covariance() -> None:
    codes = np.random.default_rng(3).normal(size=(200, 5)) * np.array([1, 5, 2, 0.5, 1])
    centred = codes - codes.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    found = project(codes, "pca")
    for axis in range(2):
        along = centred @ vectors[:, -1 - axis]
        sign = np.sign(along @ found.points[:, axis])
        np.testing.assert_allclose(found.points[:, axis], sign * along, atol=1e-4)
    assert found.explained is not None
    np.testing.assert_allclose(found.explained, values[::-1][:2] / values.sum())


def test_probes_tell_what_is_there_and_guess_what_is_not() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 4, 800)
    noise = random.normal(size=(800, 6))
    told = probe(noise + 6.0 * np.eye(6)[labels], labels)
    guessed = probe(noise, labels)
    assert told is not None
    assert guessed is not None
    assert told.linear > 0.97 < told.neighbours
    assert abs(guessed.linear - 0.25) < 0.08
    assert probe(noise, np.zeros(800, np.int64)) is None
    held = np.concatenate([rows for _, rows in folds(labels, 0)])
    assert sorted(held.tolist()) == list(range(800))
    for fitted, rows in folds(labels, 0):
        assert not set(fitted.tolist()) & set(rows.tolist())
        shares = np.bincount(labels[rows], minlength=4) / np.bincount(labels)
        assert (abs(shares - 0.2) < 0.02).all()
    split = np.where(np.arange(800) < 400, "train", "test")
    assert probe(noise, labels, split).told == 400  # type: ignore[union-attr]


def test_what_only_a_training_is_told_is_said_to_be_so(
    run: Path, command: Command, here: Path
) -> None:
    """Values that are no levels of a picture: a training is told by --white what they mean."""
    np.save(here / "float.npy", np.full((3, 8, 8), 7.5))
    ended = command("embed", run, "--data", here / "float.npy")
    assert ended.code == 2
    assert "--white: a flag of distvae train, not of distvae embed" in ended.err
