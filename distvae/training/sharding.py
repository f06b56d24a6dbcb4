"""FSDP2: weights, gradients, moments and moving average cut up over the processes.

Each process holds a slice of every tensor, a DTensor. A forward or backward pass gathers encoder,
decoder and the rest when it comes to them; the optimizer changes its own slices. What takes a whole
model (evaluation, pictures, checkpoints) takes a whole copy, which all processes gather together.

``torch.distributed.fsdp`` is used directly: next to a CPU Accelerate drops FSDP without a word, and
on GPUs it exchanges the tensors that the optimizer holds lists of.
"""

import os
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from distvae.checkpoint import Trained
from distvae.config import TrainConfig
from distvae.declarations import with_trait
from distvae.errors import DistvaeError
from distvae.models import VAE, build_model
from distvae.training.topology import FSDP, asked
from distvae.weightless import weightless

Named = tuple[str, nn.Parameter]
SWITCHES = {
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params",
    "FSDP_ACTIVATION_CHECKPOINTING": "fsdp_activation_checkpointing",
}
"""What else a launcher may ask of FSDP, as it tells it and as its configuration calls it."""


def shards_model(processes: int) -> bool:
    """Whether the model is to be cut up; one process has nobody to share it with."""
    return processes > 1 and asked().strategy == FSDP


def unsharded(processes: int) -> str:
    """What to say of a run of one process that FSDP was asked for; empty of any other."""
    if processes > 1 or asked().strategy != FSDP:
        return ""
    return "FSDP was asked for, and with one process there is nothing to share: a plain run"


def check_sharding(config: TrainConfig, processes: int) -> None:
    """Refuse what does not go with FSDP, where the model is to be cut up.

    Raises:
        DistvaeError: the launcher asked for another FSDP, or the settings for fp16, which was never
            tried.
    """
    if not shards_model(processes):
        return
    version = os.environ.get("FSDP_VERSION", "2")
    on = [name for switch, name in SWITCHES.items() if os.environ.get(switch, "").lower() == "true"]
    problems = {
        f"its fsdp_version is {version}": version != "2",
        f"its {' and '.join(on)} is true": on,
        f"--critic {config.objective.critic} takes gradients at whole weights": (
            config.objective.critic is not None
        ),
        "--skip-above looks at whole gradients": config.optim.skip_above is not None,
        "--mixed-precision is fp16": config.optim.mixed_precision == "fp16",
        f"--prior {config.model.prior} is trained in a second stage": (
            config.model.prior in with_trait("prior", "second_stage")
        ),
    }
    found = "; ".join(problem for problem, there in problems.items() if there)
    if found:
        raise DistvaeError(
            f"FSDP was asked for, and {found}",
            "distvae shards by FSDP2 over two or more processes, in float32 or bf16",
            "Change that, or take accelerate_configs/multi_gpu.yaml, which shards nothing.",
        )


def shard_model(root: nn.Module, model: VAE, device_type: str) -> None:
    """Cut a model up in place; its parameters are other tensors afterwards.

    Args:
        root: what is called, the model or what holds it; its own networks stay whole.
        model: what is cut up.
        device_type: of the processes.
    """
    from torch.distributed.device_mesh import init_device_mesh  # a second that others need not wait
    from torch.distributed.fsdp import fully_shard

    # outputs may be views, and nothing is done to them in place
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    mesh = init_device_mesh(device_type, (torch.distributed.get_world_size(),))
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    cut = {parameter for parameter in model.parameters() if parameter.dim()}
    whole = set(root.parameters()) - cut  # fully_shard takes no scalars
    for parameter in whole.intersection(model.parameters()):  # the update averages the others
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_average)  # type: ignore[no-untyped-call]
    again = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true"
    for part in (model.encoder, model.decoder):
        fully_shard(part, mesh=mesh, reshard_after_forward=again, ignored_params=whole)
    fully_shard(root, mesh=mesh, ignored_params=whole)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model was cut up."""
    return any(hasattr(parameter, "to_local") for parameter in model.parameters())


def local_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """This process's slice of each tensor, in place; the tensor itself where it is whole."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


@torch.no_grad()
def whole_model(model: VAE, device: str | None = None) -> VAE:
    """The model itself, or a whole copy if it is sharded; all processes call it together.

    Args:
        model: sharded or not.
        device: of the copy, None for that of the model; ``meta`` where a process needs none.
    """
    if not is_sharded(model):
        return model
    parts = _held(model)
    with weightless():
        whole = build_model(
            model.config, model.domain, model.label_names, attributes=model.attributes
        )
    whole.to_empty(device=device or next(iter(parts.values())).device)
    for name, tensor in _held(whole).items():
        tensor.copy_(_whole(parts[name]))
    return whole


@torch.no_grad()
def whole_state(trained: Trained, device: str) -> Trained:
    """What a checkpoint holds, itself or as a whole copy; all processes call it together."""
    if not is_sharded(trained.model):
        return trained
    model = whole_model(trained.model, device)
    averaged = None if trained.averaged is None else whole_model(trained.averaged, device)
    objective = trained.objective  # which every process holds whole
    own = [] if objective is None else list(objective.parameters())
    optimizer = torch.optim.AdamW([*model.parameters(), *own])
    whole = Trained(model, averaged, optimizer, objective)
    for (_, full), (_, part) in _pairs(whole, trained):
        for key, value in trained.optimizer.state[part].items():
            optimizer.state[full][key] = _whole(value).to(device, copy=True)
    return whole


@torch.no_grad()
def fill_parts(trained: Trained, whole: Trained) -> None:
    """Take this process's slices of what :func:`whole_state` gave and a checkpoint has filled."""
    if whole is trained:
        return
    for part, full in ((trained.model, whole.model), (trained.averaged, whole.averaged)):
        if part is not None and full is not None:
            tensors = full.state_dict()
            for name, tensor in part.state_dict().items():
                _fill(tensor, tensors[name])
    for (_, own), (_, other) in _pairs(trained, whole):
        for key, value in trained.optimizer.state[own].items():
            _fill(value, whole.optimizer.state[other][key])


def _held(model: VAE) -> dict[str, Tensor]:
    """All that a model computes with, tables that no file holds among it."""
    return {**model.state_dict(), **dict(model.named_buffers())}


def _pairs(one: Trained, other: Trained) -> Iterable[tuple[Named, Named]]:
    return zip(one.named_parameters(), other.named_parameters(), strict=True)


def _whole(tensor: Tensor) -> Tensor:
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole


def _fill(tensor: Tensor, whole: Tensor) -> None:
    if hasattr(tensor, "to_local"):
        from torch.distributed.tensor import distribute_tensor

        mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
        whole = distribute_tensor(whole, mesh, placements, src_data_rank=None).to_local()
        tensor = tensor.to_local()
    tensor.copy_(whole)


def _average(parameter: Tensor) -> None:
    """Average the gradient of a parameter that every process holds whole."""
    assert parameter.grad is not None
    torch.distributed.all_reduce(parameter.grad)
    parameter.grad /= torch.distributed.get_world_size()
