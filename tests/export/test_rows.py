"""Models of vectors as ONNX: rows in the units of the data, from files that need no torch."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from distvae.config import ModelConfig
from distvae.domains import Vectors
from distvae.errors import DistvaeError
from distvae.export import Encoder, Sampler, probe
from distvae.export.convert import (
    decoder_graph,
    described,
    encoder_graph,
    manifest_of,
    write_graph,
)
from distvae.export.manifest import parse_manifest
from distvae.export.parity import TOLERANCE
from distvae.export.verify import verify
from distvae.labels import numbers_of
from distvae.models import VAE, build_model
from tests.conftest import CHECKOUT, Command, assert_refused, run_process
from tests.export.test_convert import ORIGIN
from tests.export.test_verify import shift_one_weight

COLUMNS = ("far", "wide", "tiny", "still", "label")
MEAN = np.array([1e6, -3.0, 2e-7, 5.0, 0.25])
DEVIATION = np.array([2.0, 4e5, 1e-9, 1.0, 0.5])
NAMES = ("oak", "ash, dark", "7")


def rows(count: int) -> NDArray[np.float32]:
    values = np.random.default_rng(0).normal(MEAN, DEVIATION, (count, len(COLUMNS)))
    values[:, 3] = MEAN[3]
    return values.astype(np.float32)


def model_of(labels: tuple[str, ...] = NAMES, **settings: object) -> VAE:
    """A model whose weights are random, with scales that are far from one."""
    config = ModelConfig(
        model="cvae" if labels else "vae",
        hidden=(9,),
        latent_dim=3,
        likelihood="gaussian",
        **settings,
    )
    torch.manual_seed(0)
    model = build_model(config, Vectors.of(COLUMNS, rows(500)), labels).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model


def write(folder: Path, model: VAE) -> tuple[Path, Path]:
    paths = folder / "decoder.onnx", folder / "encoder.onnx"
    for path, graph in zip(paths, (decoder_graph, encoder_graph), strict=True):
        write_graph(graph(model, ORIGIN), path)
    return paths


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: model_of(), id="label"),
        pytest.param(lambda: model_of((), prior="flow", posterior="flow"), id="flow"),
        pytest.param(lambda: model_of((), prior="mixture", prior_components=2), id="mixture"),
    ],
)
def test_rows_are_those_of_the_model_in_the_units_of_the_data(
    model: object, tmp_path: Path
) -> None:
    trained: VAE = model()  # type: ignore[operator]
    decoder, encoder = write(tmp_path, trained)
    for path in (decoder, encoder):
        assert verify(path, trained).error <= TOLERANCE
    sampler = Sampler(decoder)
    assert sampler.columns == COLUMNS
    labels = [NAMES[1]] if trained.conditional else None
    drawn = sampler.sample(labels, 40, seed=3)
    means = trained.sample(labels, 40, seed=3).double().numpy()
    assert drawn.dtype == np.float32
    scale = trained.domain.record()
    expected = np.array(scale["mean"]) + means * scale["deviation"]
    rounding = np.spacing(np.abs(expected).astype(np.float32))
    assert (np.abs(drawn - expected) <= 2e-5 * np.array(scale["deviation"]) + rounding).all()

    asked = None if not trained.conditional else numbers_of(NAMES)[np.arange(6) % 3]
    posterior = Encoder(encoder).encode(rows(6), asked)
    standardized = (rows(6).astype(np.float64) - scale["mean"]) / scale["deviation"]
    of_torch = trained.encode(torch.from_numpy(standardized).float(), asked)
    np.testing.assert_allclose(posterior.mean, of_torch.mean.detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(DistvaeError, match=r"values is float64.*float32"):
        Encoder(encoder).encode(rows(6).astype(np.float64), asked)
    with pytest.raises(DistvaeError, match=r"expected \[N, 5\]"):
        Encoder(encoder).encode(rows(6)[:, :4], asked)


def test_what_differs_by_more_than_rounding_is_found_out(tmp_path: Path) -> None:
    model = model_of()
    proto = decoder_graph(model, ORIGIN)
    path = tmp_path / "decoder.onnx"
    shift_one_weight(proto, 0.5)
    write_graph(proto, path)
    with pytest.raises(DistvaeError, match=r"noise .* of label .*, column .* is .*, in torch"):
        verify(path, model)
    # the graph is right, and only the scale that undoes the standardization is not
    proto = decoder_graph(model, ORIGIN)
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float64:
            moved = onnx.numpy_helper.from_array(values * (1 + 1e-3), tensor.name)
            tensor.CopyFrom(moved)
    write_graph(proto, path)
    with pytest.raises(DistvaeError, match="of a stored number was expected"):
        verify(path, model)


def test_a_machine_that_computes_a_small_column_otherwise_is_found(tmp_path: Path) -> None:
    """The probe looks at columns in their own deviations, however small these are."""
    decoder, _ = write(tmp_path, model_of())
    manifest = Sampler(decoder).manifest
    assert isinstance(manifest.domain, Vectors)
    values = probe.computed(decoder, manifest)
    moved = values["values"].copy()
    moved[:, 2] += np.float32(manifest.domain.deviation[2])
    assert probe.difference(moved, values["values"], manifest) > probe.POSTERIOR.most
    nearest = np.nextafter(values["values"], np.float32(np.inf))
    assert probe.difference(nearest, values["values"], manifest) < probe.POSTERIOR.least


@pytest.mark.parametrize(
    "damage",
    [
        {"domain": None},
        {"image_shape": [1, 2, 3]},
        {"domain": {"name": "vectors", "columns": ["a"], "mean": [0.0], "deviation": [0.0]}},
        {"domain": {"name": "vectors", "columns": ["a", "b"], "mean": [0.0], "deviation": [1.0]}},
        {"domain": {"name": "vectors", "columns": [], "mean": [], "deviation": []}},
        {"domain": {"name": "vector", "columns": ["a"], "mean": [0.0], "deviation": [1.0]}},
        {"domain": 5},
    ],
)
def test_a_damaged_manifest_is_refused(damage: dict[str, object]) -> None:
    whole = json.loads(manifest_of(decoder_graph(model_of(), ORIGIN)).to_json())
    assert parse_manifest(json.dumps(whole), "x").columns == COLUMNS
    with pytest.raises(DistvaeError, match="x has a damaged manifest"):
        parse_manifest(json.dumps({**whole, **damage}), "x")


def test_a_graph_of_other_columns_than_its_manifest_is_refused(tmp_path: Path) -> None:
    proto = decoder_graph(model_of(), ORIGIN)
    manifest = manifest_of(proto)
    whole = manifest.domain
    assert isinstance(whole, Vectors)
    four = Vectors(COLUMNS[:4], whole.mean[:4], whole.deviation[:4])
    path = tmp_path / "decoder.onnx"
    path.write_bytes(described(proto, replace(manifest, domain=four)).SerializeToString())
    with pytest.raises(DistvaeError, match="does not fit its manifest"):
        Sampler(path)


def test_the_command_and_the_script_write_one_table_without_torch(
    python: Path, command: Command, tmp_path: Path
) -> None:
    decoder, _ = write(tmp_path, model_of())
    shutil.copy(CHECKOUT / "export" / "sample.py", tmp_path / "sample.py")
    words = ("--label", '"ash, dark",7', "--count", "30", "--seed", "4")
    bare = {"PATH": "", "PYTHONPATH": str(CHECKOUT)}
    given = ["-m", "distvae.cli", "sample", decoder, *words, "--output", "command.csv"]
    ended = run_process([python, *given], tmp_path, bare)
    assert (ended.code, ended.err) == (0, ""), ended.err
    ended = run_process([python, "sample.py", *words, "--output", "script.csv"], tmp_path, bare)
    assert (ended.code, ended.err, ended.out) == (0, "", "60 rows in script.csv\n")
    with (tmp_path / "command.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == [*COLUMNS, "class"]  # one of its columns is called label already
    assert [line[-1] for line in lines] == 30 * ["ash, dark"] + 30 * ["7"]
    drawn = np.array([line[:-1] for line in lines], np.float64).astype(np.float32)
    np.testing.assert_array_equal(drawn, Sampler(decoder).sample(["ash, dark", "7"], 30, seed=4))
    assert (tmp_path / "script.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()

    ended = run_process([python, "sample.py", "--output", "x.png"], tmp_path, bare)
    assert (ended.code, "written to a .csv" in ended.err) == (2, True)
    refused = command("sample", decoder, "--output", tmp_path / "x.png")
    assert_refused(refused, "does not fit rows", ".csv")
    ended = command("inspect", decoder)
    assert ended.code == 0, ended.err
    assert "far, wide, tiny, still, label" in ended.out
