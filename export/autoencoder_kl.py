"""A model of --network sd in the layout of the library diffusers, and one of that layout as ours.

There a folder holds config.json and diffusion_pytorch_model.safetensors, which `AutoencoderKL`
reads. The layers are the same and named alike (:mod:`distvae.networks.sd`); images are in [-1, 1]
there and in [0, 1] here, which the networks see to.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distvae.errors import DistvaeError
from distvae.export.library_config import FIXED, scale_of, settings_of
from distvae.export.library_files import CLASS, CONFIG, WEIGHTS, Weights, layout_in, read_weights
from distvae.files import new_folder
from distvae.models import VAE
from distvae.networks.sd import Sizes
from distvae.reading import read_json
from distvae.tensors import write_tensors

NAMES = {"to_posterior.": "quant_conv.", "decoder.post_quant_conv.": "post_quant_conv."}
"""Beginnings of names in our files, and there; the others are the same."""
EARLIER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of earlier versions of the library, in attention."""


def write_folder(
    model: VAE, folder: Path, scaling_factor: float | None = None, shift_factor: float | None = None
) -> None:
    """Write a model as `AutoencoderKL` has it, whole or not at all.

    Args:
        model: of --network sd, without labels.
        folder: a new one.
        scaling_factor: of its latents; None where it was not measured: 1.
        shift_factor: what is taken off them before; None and 0: nothing.

    Raises:
        DistvaeError: the model has another network, likelihood or labels, or the folder cannot be
            written.
    """
    _refuse_others(model)
    sizes, colours = Sizes(model.config), model.image_shape[0]
    facts = {
        "_class_name": CLASS,
        "_diffusers_version": "0.30.0",
        "in_channels": colours,
        "out_channels": colours,
        "down_block_types": ["DownEncoderBlock2D"] * len(sizes.channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(sizes.channels),
        "block_out_channels": list(sizes.channels),
        "layers_per_block": sizes.layers,
        "latent_channels": sizes.latents,
        "norm_num_groups": sizes.groups,
        "sample_size": model.image_shape[1],
        "scaling_factor": scaling_factor or 1.0,
        "shift_factor": shift_factor or None,
        "force_upcast": True,
        **FIXED,
    }
    with new_folder(folder) as there:
        (there / CONFIG).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        write_tensors(there / WEIGHTS, named_there(model.state_dict()))


def named_there(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ours by the names of the library, without those of the likelihood."""
    found = {}
    for name, value in weights.items():
        for ours, theirs in NAMES.items():
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        if not name.startswith("likelihood."):
            found[name] = value
    return found


class Adopted(NamedTuple):
    """A model of the library as ours."""

    model: VAE
    """In evaluation mode."""
    scale: dict[str, float]
    """`scaling_factor` and `shift_factor` of its latents: (latents - shift) * factor is what its
    diffusion model sees."""
    notes: list[str]
    """What to say of it."""


def read_folder(folder: Path) -> Adopted:
    """The model in a folder of the library, or of a pipeline, as one of --network sd.

    Its likelihood is `laplace`, whose scale is not in such a folder and stays as it begins.

    Raises:
        DistvaeError: the folder holds something else, or its layers are not those of our network.
    """
    there = layout_in(folder)
    notes = [] if there == folder else [f"{folder} is a pipeline: {there} is its autoencoder"]
    facts: dict[str, Any] = read_json(there / CONFIG)
    config, shape = settings_of(facts, there)
    model = VAE(config, shape)
    sizes = Sizes(model.config)
    groups = facts.get("norm_num_groups", 32)
    if groups != sizes.groups:
        raise DistvaeError(
            f"{there} has norms over {groups} groups",
            f"--network sd has {sizes.groups} of such channels",
        )
    found = read_weights(there)
    model.load_state_dict({**_by_our_names(found, model), **_of_likelihood(model)})
    return Adopted(model.eval(), scale_of(facts, there), [*notes, *filter(None, [found.note])])


def _refuse_others(model: VAE) -> None:
    config = model.config
    if config.network != "sd":
        raise DistvaeError(
            f"--network {config.network} has no place in the layout of diffusers",
            f"its {CLASS} is --network sd",
            "Train one: distvae train --latents spatial --network sd",
        )
    if model.conditional:
        raise DistvaeError(
            f"{CLASS} takes no labels", "this model is given some", "Train one by --model vae."
        )
    if config.activation != FIXED["act_fn"]:
        raise DistvaeError(
            f"--activation {config.activation} is not that of {CLASS}",
            f"expected {FIXED['act_fn']}",
        )
    if model.likelihood.maps_per_channel != 1:
        raise DistvaeError(
            f"--likelihood {config.likelihood} asks for several maps of a channel",
            f"{CLASS} gives the image itself",
            "Train one by --likelihood laplace or gaussian.",
        )


def _by_our_names(weights: Weights, model: VAE) -> dict[str, Tensor]:
    """The same weights in float32.

    Where the library's model has no convolution beside its latents, one that changes nothing stands
    there.

    Raises:
        DistvaeError: a tensor is missing, too many, or of another shape.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.tensors.items():
        for there, ours in EARLIER.items():
            name = name.replace(f".attentions.0.{there}.", f".attentions.0.{ours}.")
        for ours, there in NAMES.items():
            if name.startswith(there):
                name = ours + name.removeprefix(there)
        found[name] = value.float()
    for name in NAMES:
        if not any(each.startswith(name) for each in found):
            like = model.state_dict()[f"{name}weight"]
            found[f"{name}weight"] = torch.eye(len(like))[:, :, None, None]
            found[f"{name}bias"] = torch.zeros(len(like))
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("likelihood.")}
    for name in sorted(own.keys() | found.keys()):
        if name in own and name in found and own[name].dim() != found[name].dim():
            found[name] = found[name].reshape(own[name].shape)  # attention by 1x1 convolutions
        shapes = [list(each[name].shape) if name in each else "absent" for each in (found, own)]
        if shapes[0] != shapes[1]:
            raise DistvaeError(
                f"{weights.path} is of other layers than --network sd",
                f"{name} is {shapes[0]} there and {shapes[1]} here",
            )
    return found


def _of_likelihood(model: VAE) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.startswith("likelihood.")}
