"""--network sd against a second implementation by the names in the file, and against diffusers."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.export.adopt import ImportConfig, import_model
from distvae.export.autoencoder_kl import read_folder, write_folder
from distvae.export.command import ExportConfig, export_run
from distvae.export.library_files import CONFIG, WEIGHTS
from distvae.models import VAE, build_model
from distvae.tools.decode import DecodeConfig, decode, write_decoded

SETTINGS: list[dict[str, Any]] = [
    {"width": 0.0625, "latent_channels": 3},
    {"block_channels": (6, 12), "block_layers": 1},
]
SHAPE = (3, 16, 24)


def random_model(model: str = "vae", **changes: Any) -> VAE:
    torch.manual_seed(0)
    usual: dict[str, Any] = {"latent_space": "spatial", "network": "sd", "likelihood": "laplace"}
    built = build_model(ModelConfig(model=model, **{**usual, **changes}), SHAPE, ("a", "b")).eval()
    for parameter in built.requires_grad_(False).parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built


class Second:
    """AutoencoderKL, written anew from the names of its weights."""

    def __init__(self, folder: Path) -> None:
        self.weights = load_file(folder / WEIGHTS)
        self.facts = json.loads((folder / CONFIG).read_text())

    def there(self, name: str) -> bool:
        return f"{name}.weight" in self.weights

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv2d(x, weight, bias, stride, padding)

    def dense(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        groups = x.unflatten(1, (self.facts["norm_num_groups"], -1)).flatten(2)
        centred = groups - groups.mean(2, keepdim=True)
        scale = (centred.square().mean(2, keepdim=True) + 1e-6).sqrt()
        whole: Tensor = (centred / scale).reshape(x.shape)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return whole * weight[:, None, None] + bias[:, None, None]

    def block(self, x: Tensor, name: str) -> Tensor:
        inner = self.conv(F.silu(self.norm(x, f"{name}.norm1")), f"{name}.conv1", padding=1)
        inner = self.conv(F.silu(self.norm(inner, f"{name}.norm2")), f"{name}.conv2", padding=1)
        short = f"{name}.conv_shortcut"
        return (self.conv(x, short) if self.there(short) else x) + inner

    def middle(self, x: Tensor, name: str) -> Tensor:
        x = self.block(x, f"{name}.resnets.0")
        at, places = f"{name}.attentions.0", self.norm(x, f"{name}.attentions.0.group_norm")
        tokens = places.flatten(2).transpose(1, 2)
        q, k, v = (self.dense(tokens, f"{at}.{part}") for part in ("to_q", "to_k", "to_v"))
        found = torch.softmax(q @ k.transpose(1, 2) / q.shape[2] ** 0.5, 2) @ v
        x = x + self.dense(found, f"{at}.to_out.0").transpose(1, 2).view_as(x)
        return self.block(x, f"{name}.resnets.1")

    def blocks(self, x: Tensor, name: str) -> Tensor:
        number = 0
        while self.there(f"{name}.resnets.{number}.conv1"):
            x = self.block(x, f"{name}.resnets.{number}")
            number += 1
        return x

    def encode(self, images: Tensor) -> Tensor:
        x = self.conv(images, "encoder.conv_in", padding=1)
        for number in range(len(self.facts["block_out_channels"])):
            x = self.blocks(x, f"encoder.down_blocks.{number}")
            halving = f"encoder.down_blocks.{number}.downsamplers.0.conv"
            if self.there(halving):
                x = self.conv(F.pad(x, (0, 1, 0, 1)), halving, stride=2)
        x = self.middle(x, "encoder.mid_block")
        x = self.conv(F.silu(self.norm(x, "encoder.conv_norm_out")), "encoder.conv_out", padding=1)
        return self.conv(x, "quant_conv")

    def decode(self, z: Tensor) -> Tensor:
        x = self.conv(self.conv(z, "post_quant_conv"), "decoder.conv_in", padding=1)
        x = self.middle(x, "decoder.mid_block")
        for number in range(len(self.facts["block_out_channels"])):
            x = self.blocks(x, f"decoder.up_blocks.{number}")
            doubling = f"decoder.up_blocks.{number}.upsamplers.0.conv"
            if self.there(doubling):
                twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                x = self.conv(twice, doubling, padding=1)
        x = F.silu(self.norm(x, "decoder.conv_norm_out"))
        return self.conv(x, "decoder.conv_out", padding=1)


@pytest.mark.parametrize("settings", SETTINGS)
def test_layers_are_those_of_a_second_implementation(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    model = random_model(**settings)
    write_folder(model, tmp_path / "there", 0.5)
    second = Second(tmp_path / "there")
    assert second.facts["scaling_factor"] == 0.5
    images = torch.rand(2, 3, 24, 40)
    (posterior,) = model.posteriors(images)
    parameters = torch.cat([posterior.mean, posterior.log_variance], 1)
    torch.testing.assert_close(parameters, second.encode(2.0 * images - 1.0), rtol=1e-4, atol=1e-4)
    decoded = model.decoder(posterior.mean, None)
    expected = 0.5 * second.decode(posterior.mean) + 0.5
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-4)
    back = read_folder(tmp_path / "there").model
    for name, value in model.state_dict().items():
        if not name.startswith("likelihood."):
            assert torch.equal(back.state_dict()[name], value)


def test_commands_write_and_read_the_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(**SETTINGS[1])
    model.save_pretrained(tmp_path / "run")
    export_run(ExportConfig(run=str(tmp_path / "run"), diffusers=True))
    assert "scaling_factor is 1" in capsys.readouterr().out
    folder = tmp_path / "run" / "diffusers"
    # as earlier versions of the library wrote it: attention by convolutions, no quant_conv
    weights = load_file(folder / WEIGHTS)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for name in list(weights):
        for now, then in old.items():
            if f".{now}." in name:
                value = weights.pop(name)
                weights[name.replace(now, then)] = (
                    value[..., None, None] if value.dim() == 2 else value
                )
    save_file({k: v for k, v in weights.items() if "quant_conv" not in k}, folder / WEIGHTS)
    import_model(ImportConfig(str(folder), str(tmp_path / "ours")))
    found = VAE.from_pretrained(tmp_path / "ours")
    images = torch.rand(1, 3, 16, 16)
    expected = model.encoder(images, None)[0].chunk(2, 1)[0]
    (posterior,) = found.posteriors(images)
    torch.testing.assert_close(posterior.mean, expected)
    z = torch.randn(1, *model.latents.levels[0].shape)
    plain = model.decoder
    torch.nn.init.dirac_(plain.get_parameter("post_quant_conv.weight"))
    torch.nn.init.zeros_(plain.get_parameter("post_quant_conv.bias"))
    torch.testing.assert_close(found.decoder(z, None), plain(z, None))
    with pytest.raises(DistvaeError, match=r"ours exists.*--output"):
        import_model(ImportConfig(str(folder), str(tmp_path / "ours")))


def test_what_has_no_place_in_the_layout_is_refused(tmp_path: Path) -> None:
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"network": "fcn", "width": 0.1}, r"--network fcn has no place.*--network sd"),
        ({"model": "cvae", **SETTINGS[1]}, r"takes no labels.*--model vae"),
        ({"likelihood": "discretized_logistic", **SETTINGS[1]}, r"several maps.*laplace"),
        ({"activation": "gelu", **SETTINGS[1]}, r"--activation gelu.*silu"),
    )
    for changes, message in refused:
        with pytest.raises(DistvaeError, match=message):
            write_folder(random_model(**changes), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(DistvaeError, match=r"6,12 does not fit --downscale 8.*2 times smaller"):
        random_model(downscale=8, **SETTINGS[1])
    write_folder(random_model(**SETTINGS[1]), tmp_path / "there")
    facts = json.loads((tmp_path / "there" / CONFIG).read_text())
    refused = (
        ({"block_out_channels": [6, 6]}, r"other layers.* is \["),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, r"AttnDownEncoderBlock2D"),
        ({"norm_num_groups": 3}, r"over 3 groups"),
        ({"block_out_channels": "6,12"}, r"block_out_channels 6,12.*one or more resolutions"),
        ({"block_out_channels": [6, True]}, r"block_out_channels True.*whole number"),
        ({"latent_channels": 0}, r"latent_channels 0.*from 1"),
        ({"layers_per_block": None}, r"layers_per_block None"),
        ({"sample_size": "large"}, r"sample_size large"),
        ({"out_channels": 4}, r"out_channels 4.*the 3 of in_channels"),
        ({"act_fn": "relu"}, r"act_fn relu.*silu, as --network sd"),
        ({"mid_block_add_attention": False}, r"mid_block_add_attention False"),
        ({"scaling_factor": "1"}, r"scaling_factor 1.*a number"),
        ({"scaling_factor": 0}, r"scaling_factor 0.*another"),
        ({"_class_name": "AsymmetricAutoencoderKL"}, r"holds no AutoencoderKL"),
    )
    for changes, message in refused:
        (tmp_path / "there" / CONFIG).write_text(json.dumps({**facts, **changes}))
        with pytest.raises(DistvaeError, match=message):
            read_folder(tmp_path / "there")


SDXL: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.20.0.dev0",
    "_name_or_path": "../sdxl-vae/",
    "act_fn": "silu",
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "out_channels": 3,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
"""But for the channels the file that is beside the weights of SDXL."""


def in_shards(folder: Path, weights: dict[str, Tensor], middle: str = "") -> None:
    files = [f"model-{number}{middle}.safetensors" for number in (0, 1)]
    places = {name: files[number % 2] for number, name in enumerate(weights)}
    for file in files:
        save_file({k: v for k, v in weights.items() if places[k] == file}, folder / file)
    index = folder / f"diffusion_pytorch_model.safetensors.index{middle}.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))


@pytest.fixture
def pipeline(tmp_path: Path) -> tuple[Path, VAE]:
    """The folder of a pipeline, and the model that lies in it."""
    model = random_model(**SETTINGS[1])
    write_folder(model, tmp_path / "pipeline" / "vae")
    facts = {**SDXL, "block_out_channels": [6, 12], "norm_num_groups": 2}
    (tmp_path / "pipeline" / "vae" / CONFIG).write_text(json.dumps(facts))
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    return tmp_path / "pipeline", model


@pytest.mark.parametrize("files", ["whole", "shards", "half", "half in shards"])
def test_a_pipeline_is_taken_over_in_any_of_its_files(
    pipeline: tuple[Path, VAE], files: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, model = pipeline
    there = folder / "vae"
    weights = load_file(there / WEIGHTS)
    if files != "whole":
        (there / WEIGHTS).unlink()
    if files.startswith("half"):
        weights = {name: value.half() for name, value in weights.items()}
    if files.endswith("shards"):
        in_shards(there, weights, ".fp16" * files.startswith("half"))
    elif files == "half":
        save_file(weights, there / WEIGHTS.replace(".safetensors", ".fp16.safetensors"))
    import_model(ImportConfig(str(folder), str(tmp_path / "ours")))
    told = capsys.readouterr().out
    assert "images 3x1024x1024, latents of 4 x 512 x 512, scaling_factor 0.13025" in told
    assert f"{there} is its autoencoder" in told
    assert ("half precision" in told) == files.startswith("half")
    found = VAE.from_pretrained(tmp_path / "ours")
    for name, value in model.state_dict().items():
        if not name.startswith("likelihood."):
            value = value.half().float() if files.startswith("half") else value
            assert torch.equal(found.state_dict()[name], value)
    export_run(ExportConfig(run=str(tmp_path / "ours"), diffusers=True))
    facts = json.loads((tmp_path / "ours" / "diffusers" / CONFIG).read_text())
    assert facts["scaling_factor"] == 0.13025
    assert facts["shift_factor"] is None


def test_what_is_scaled_is_decoded_by_what_was_taken_over(
    pipeline: tuple[Path, VAE], tmp_path: Path
) -> None:
    folder, model = pipeline
    facts = json.loads((folder / "vae" / CONFIG).read_text())
    facts |= {"scaling_factor": 0.5, "shift_factor": 0.25}
    (folder / "vae" / CONFIG).write_text(json.dumps(facts))
    import_model(ImportConfig(str(folder), str(tmp_path / "ours")))
    latents = np.random.default_rng(0).standard_normal((1, 4, 5, 7), np.float32)
    np.save(tmp_path / "a.npy", (latents - 0.25) * 0.5)
    out = tmp_path / "out.npy"
    run, data = str(tmp_path / "ours"), str(tmp_path / "a.npy")
    write_decoded(DecodeConfig(run=run, data=data, scaled=True, output=str(out)))
    (image,) = decode(model, latents)
    assert np.abs(np.load(out)[0].astype(int) - image).max() <= 1
    export_run(ExportConfig(run=str(tmp_path / "ours"), diffusers=True))
    again = json.loads((tmp_path / "ours" / "diffusers" / CONFIG).read_text())
    assert (again["scaling_factor"], again["shift_factor"]) == (0.5, 0.25)


def test_files_that_cannot_be_used_are_refused(pipeline: tuple[Path, VAE], tmp_path: Path) -> None:
    folder, _ = pipeline
    there = folder / "vae"
    weights = load_file(there / WEIGHTS)

    def refused(message: str) -> None:
        with pytest.raises(DistvaeError, match=message):
            import_model(ImportConfig(str(folder), str(tmp_path / "ours")))
        assert not (tmp_path / "ours").exists()

    broken = {**weights, "decoder.conv_in.bias": torch.full((12,), torch.nan)}
    save_file(broken, there / WEIGHTS)
    refused(r"12 of 12 numbers of decoder.conv_in.bias are NaN")
    (there / WEIGHTS).write_bytes((there / WEIGHTS).read_bytes()[:5000])
    refused(r"is damaged")
    (there / WEIGHTS).unlink()
    refused(r"there is no .*safetensors")
    (there / "diffusion_pytorch_model.bin").write_bytes(b"none")
    refused(r"pickle alone, diffusion_pytorch_model.bin.*safe_serialization")
    in_shards(there, weights)
    (there / "model-1.safetensors").unlink()
    refused(r"model-1.safetensors")
    in_shards(there, weights)
    index = there / "diffusion_pytorch_model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    for content, message in (
        ({**places, "more": "model-0.safetensors"}, r"names more, which model-0.safetensors does"),
        ({**places, "more": "../model-0.safetensors"}, r"is damaged.*files beside it"),
        ({**places, "more": ["model-0.safetensors"]}, r"is damaged.*weight_map"),
        ([], r"is damaged.*weight_map"),
        ({k: v for k, v in places.items() if "conv_in" not in k}, r"other layers.*conv_in"),
    ):
        index.write_text(json.dumps({"weight_map": content}))
        refused(message)
    (there / CONFIG).write_text(json.dumps({"_class_name": "AutoencoderTiny"}))
    refused(r"holds no AutoencoderKL.*is of AutoencoderTiny")


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_diffusers_reads_and_writes_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    model = random_model(**settings)
    write_folder(model, tmp_path / "there")
    theirs = diffusers.AutoencoderKL.from_pretrained(tmp_path / "there").eval()
    images = torch.rand(2, 3, 24, 40)
    (posterior,) = model.posteriors(images)
    with torch.no_grad():
        expected = theirs.encode(2.0 * images - 1.0).latent_dist
        decoded = 0.5 * theirs.decode(expected.mean).sample + 0.5
    torch.testing.assert_close(posterior.mean, expected.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(posterior.log_variance, expected.logvar, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.decoder(posterior.mean, None), decoded, rtol=1e-4, atol=1e-4)
    theirs.save_pretrained(tmp_path / "again")
    (again,) = read_folder(tmp_path / "again").model.posteriors(images)
    torch.testing.assert_close(again.mean, posterior.mean)
