"""What tools do by exported files, without torch, beside what they do with the weights."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from scipy.stats import norm  # type: ignore[import-untyped, unused-ignore]

from distvae import DistvaeError
from distvae.config import ModelConfig
from distvae.models import build_model
from distvae.tools.embed import embed
from distvae.tools.interpolate import interpolate
from distvae.tools.manifold import manifold
from distvae.tools.reconstruct import reconstruct
from distvae.tools.traverse import traverse
from tests.conftest import SHAPES, TEST_IMAGES, Command, assert_refused, write_shapes

WITHOUT_TORCH = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "accelerate", "datasets", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from distvae.cli import main
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
"""


def run_without_torch(folder: Path, environment: dict[str, str], *commands: list[object]) -> str:
    words = json.dumps([[*map(str, command)] for command in commands])
    process = [sys.executable, "-c", WITHOUT_TORCH, words]
    ended = subprocess.run(process, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_without_torch_files_give_what_the_model_gives(
    exported: Path, here: Path, environment: dict[str, str]
) -> None:
    folder, out = exported / "onnx", here / "out"
    few = write_shapes(here / "few", 1, 11)
    paths = [few / name / "000.png" for name in SHAPES[:2]]
    told = run_without_torch(
        here,
        environment,
        ["embed", folder / "encoder.onnx", "--output", out / "latents.parquet"],
        ["reconstruct", folder, "--output", out / "reconstruct"],
        ["interpolate", folder, *paths, "--output", out / "way.npz"],
        ["traverse", folder, "--image", paths[0], "--output", out / "traverse"],
        ["manifold", folder, "--size", 3, "--output", out / "manifold"],
    )
    assert "exported files tell no nats" in told
    table, weighed = parquet.read_table(out / "latents.parquet"), embed(exported)
    for name, array in (("z", weighed.mean), ("var", weighed.variance)):
        codes = np.stack([table[f"{name}{n}"].to_numpy() for n in range(3)], 1)
        np.testing.assert_allclose(codes, array, rtol=1e-3, atol=1e-4)

    def one_level_apart(name: str, array: str, expected: np.ndarray) -> None:
        with np.load(out / name) as arrays:
            assert np.abs(arrays[array].astype(int) - expected).max() <= 1

    pairs = "reconstruct/reconstructions.npz"
    one_level_apart(pairs, "reconstructions", reconstruct(exported).decoded)
    rows = (out / "reconstruct" / "reconstructions.csv").read_text().splitlines()
    assert rows[0] == "id,label,psnr,ssim"
    assert len(rows) == 1 + TEST_IMAGES
    images = np.stack([np.asarray(Image.open(path))[None] for path in paths])
    one_level_apart("way.npz", "frames", interpolate(exported, images).frames)
    traversal = traverse(exported, images[0])
    one_level_apart("traverse/traversal.npz", "frames", traversal.frames)
    one_level_apart("manifold/manifold.npz", "frames", manifold(exported, size=3).frames)
    rates = dict(row.split(",") for row in (out / "traverse/rates.csv").read_text().split()[1:])
    for name, rate in rates.items():
        assert float(rate) == pytest.approx(traversal.all_rates[int(name)], rel=1e-3, abs=1e-4)
    assert (out / "traverse" / "traversal.gif").stat().st_size > 0
    with pytest.raises(DistvaeError, match="at least 2"):
        manifold(str(folder), plane="principal", size=1)


def test_without_data_latents_are_sorted_by_what_they_change(here: Path, command: Command) -> None:
    torch.manual_seed(0)
    config = ModelConfig(model="vae", prior="normal", hidden=(8,), latent_dim=3)
    model = build_model(config, (1, 5, 5), ()).eval()
    with torch.no_grad():
        next(each for each in model.decoder.parameters() if each.dim() == 2)[:, 1] = 0.0
    model.save_pretrained(here / "saved")
    rows = traverse(str(here / "saved"))
    assert np.isnan(rows.rates).all()
    assert rows.latents[-1] == "1"
    assert rows.strengths.values[1] == 0.0
    z = torch.zeros(5, 3)
    z[:, 0] = torch.from_numpy(norm.ppf([0.01, 0.25, 0.5, 0.75, 0.99]))
    with torch.no_grad():
        levels = (255 * model.decode(z)).round().double().numpy()
    expected = np.sqrt(levels.var(0).mean())
    assert rows.strengths.values[0] == pytest.approx(expected, rel=0.02)
    ended = command("traverse", "saved", "--output", "out")
    assert ended.code == 0, ended.err
    assert "there are no rates: latents are sorted by how much they change an image" in ended.out
    assert (here / "out" / "rates.csv").read_text().startswith("latent,grey levels\n")
    assert command("manifold", "saved", "--size", 3, "--output", "plane").code == 0
    principal = command("manifold", "saved", "--plane", "principal")
    assert_refused(principal, "principal directions", "Name some by --data")


def test_what_a_folder_lacks_is_told(here: Path, command: Command) -> None:
    (here / "old").mkdir()
    (here / "old" / "decoder.onnx").write_bytes(b"")
    ended = command("embed", "old")
    assert_refused(ended, "there is no old/encoder.onnx", "old has decoder.onnx", "distvae export")
    assert_refused(command("score", "old"), "there is no old/score.onnx")
    assert_refused(command("repair", "old"), "folder of ONNX files", "Name the run folder")
