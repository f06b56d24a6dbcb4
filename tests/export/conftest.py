"""Graphs so small that they are made by hand, and what they compute said again in numpy."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from distvae.domains import Images
from distvae.export.manifest import KEY, Manifest

NAMES = ("circle", "cross", "square")
NOISE_DIM, LATENT_DIM = 3, 3
SHAPE = (3, 4, 5)
SHIPPED = ("numpy", "onnxruntime", "PIL")


@dataclass(frozen=True)
class Tiny:
    """A model of one matrix and one row for each label."""

    names: tuple[str, ...] = NAMES
    shape: tuple[int, int, int] = SHAPE
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the manifest."""

    @property
    def matrix(self) -> NDArray[np.float32]:
        random = np.random.default_rng(7)
        return random.standard_normal((NOISE_DIM, int(np.prod(self.shape)))).astype(np.float32)

    @property
    def table(self) -> NDArray[np.float32]:
        random = np.random.default_rng(8)
        sides = (max(1, len(self.names)), int(np.prod(self.shape)))
        return random.standard_normal(sides).astype(np.float32)

    def manifest(self, graph: str) -> Manifest:
        facts: dict[str, Any] = {
            "graph": graph,
            "precision": "fp32",
            "domain": Images(self.shape),
            "noise_dim": NOISE_DIM,
            "latent_dim": LATENT_DIM,
            "label_names": self.names,
            "prior": "normal",
            "likelihood": "bernoulli",
            "network": "mlp",
            "settings": {"beta": 1.5},
            "data": {"source": "shapes", "fingerprint": "f00"},
            "weights_sha256": "0" * 64,
            "opset": 18,
            "versions": {"distvae": "0.1.0"},
        }
        return Manifest(**{**facts, **self.changes})

    def images(
        self, noise: NDArray[np.float32], labels: Sequence[int] | NDArray[np.integer[Any]]
    ) -> NDArray[np.uint8]:
        """What the decoder draws."""
        logits = noise.astype(np.float64) @ self.matrix + self.table[list(labels)]
        levels = np.rint(255.0 / (1.0 + np.exp(-logits.clip(-100.0, 100.0))))
        images: NDArray[np.uint8] = levels.astype(np.uint8).reshape(-1, *self.shape)
        return images

    def decoder(self, path: Path) -> Path:
        """Write the decoder."""
        label = ["label"] if self.names else []
        numbers = "label" if self.names else "zero"
        nodes = [
            helper.make_node("MatMul", ["noise", "matrix"], ["from_noise"]),
            helper.make_node("Gather", ["table", numbers], ["from_label"]),
            helper.make_node("Add", ["from_noise", "from_label"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["mean"]),
            helper.make_node("Mul", ["mean", "most"], ["scaled"]),
            helper.make_node("Round", ["scaled"], ["levels"]),
            helper.make_node("Cast", ["levels"], ["flat"], to=TensorProto.UINT8),
            helper.make_node("Reshape", ["flat", "sides"], ["image"]),
        ]
        constants = {
            "matrix": self.matrix,
            "table": self.table,
            "most": np.float32(255.0),
            "sides": np.array([-1, *self.shape]),
            **({} if self.names else {"zero": np.array([0])}),
        }
        inputs = [helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", NOISE_DIM])]
        inputs += [
            helper.make_tensor_value_info(one, TensorProto.INT64, ["batch"]) for one in label
        ]
        output = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *self.shape])
        return write(path, nodes, inputs, [output], constants, self.manifest("decoder"))

    def encoder(self, path: Path) -> Path:
        """Write the encoder: mean = pixels in [0, 1] by the matrix, log-variance = -mean."""
        label = ["label"] if self.names else []
        numbers = "label" if self.names else "zero"
        nodes = [
            helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["levels", "sides"], ["flat"]),
            helper.make_node("Div", ["flat", "most"], ["scaled"]),
            helper.make_node("Gather", ["table", numbers], ["from_label"]),
            helper.make_node("Add", ["scaled", "from_label"], ["sum"]),
            helper.make_node("MatMul", ["sum", "matrix"], ["mean"]),
            helper.make_node("Neg", ["mean"], ["log_variance"]),
        ]
        constants = {
            "matrix": self.matrix.T.copy(),
            "table": self.table,
            "most": np.float32(255.0),
            "sides": np.array([-1, int(np.prod(self.shape))]),
            **({} if self.names else {"zero": np.array([0])}),
        }
        inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *self.shape])]
        inputs += [
            helper.make_tensor_value_info(one, TensorProto.INT64, ["batch"]) for one in label
        ]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", LATENT_DIM])
            for name in ("mean", "log_variance")
        ]
        return write(path, nodes, inputs, outputs, constants, self.manifest("encoder"))


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, Any],
    manifest: Manifest,
) -> Path:
    """Write a graph and its manifest."""
    tensors = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, {KEY: manifest.to_json()})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with numpy, onnxruntime and pillow in it and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = {*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")}
    for name in SHIPPED:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        home = Path(spec.origin).parent
        libraries = (home.parent / f"{one}.libs" for one in (name, "pillow"))
        for part in (home, *libraries):
            if part.is_dir() and not (packages / part.name).exists():
                (packages / part.name).symlink_to(part)
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
