"""Judges trained on a GPU: all of them as one, so that a step takes no more kernels than of one.

They see the images that :mod:`distvae.evaluation.judge_training` would show them, shifted alike,
and take the same steps but for rounding, of which training makes more: as trained they are judges
from other seeds.

Legend: J judges, B batch, T steps, N = J * B, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from distvae.data.batches import ResidentImages
from distvae.domains import Domain
from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.evaluation.judge import JudgeNetwork
from distvae.evaluation.judge_training import (
    GROUP,
    Stepper,
    fresh,
    gather,
    loss_of,
    reach,
    row_order,
)
from distvae.evaluation.passes import Advance, unwatched


def train_stacked(
    images: ResidentImages,
    domain: Domain,
    num_labels: int,
    steps: int,
    batch: int,
    seeds: Sequence[int],
    advance: Advance = unwatched,
) -> list[JudgeNetwork]:
    """What :func:`distvae.evaluation.judge_training.train_networks` does, on any device.

    Args:
        images: with labels, on the device that trains.
        domain: of them.
        num_labels: more than the largest label.
        steps: T.
        batch: B, a multiple of ``GROUP``.
        seeds: of each judge.
        advance: told the number of images done.
    """
    networks = [fresh(images, num_labels, seed).train() for seed in seeds]
    parameters, buffers = stack_module_state(networks)
    stepper = Stepper(parameters.values(), steps)

    def loss_of_one(
        weights: dict[str, Tensor], state: dict[str, Tensor], inputs: Tensor, labels: Tensor
    ) -> Tensor:
        return loss_of(functional_call(networks[0], (weights, state), (inputs,)), labels)

    losses = vmap(loss_of_one)
    order = [row_order(images, steps * batch, seed).view(steps, batch) for seed in seeds]
    rows = torch.stack(order, 1).to(images.stored.device)  # [T, J, B]
    shifts = shifts_of(images, domain, rows, seeds)
    with torch.enable_grad():
        for step in range(steps):
            inputs, labels = gather(images, domain, rows[step].flatten())
            if shifts is not None:
                inputs = shifted(inputs, *(part[step] for part in shifts))
            shape = len(seeds), batch
            loss = losses(parameters, buffers, inputs.unflatten(0, shape), labels.view(shape))  # type: ignore[no-untyped-call]
            stepper.step(loss.sum())
            advance(len(labels))
    state = {**parameters, **buffers}
    for number, network in enumerate(networks):
        network.load_state_dict({name: each[number].detach() for name, each in state.items()})
    return [network.eval() for network in networks]


def shifts_of(
    images: ResidentImages, domain: Domain, rows: Tensor, seeds: Sequence[int]
) -> tuple[Tensor, Tensor] | None:
    """From which rows and columns of pixels those of a shifted image come.

    Returns:
        int64 ``[T, N, H]`` and ``[T, N, W]``, as the images' groups are moved in each step; beyond
        an edge the edge is repeated. None of what has no sides.
    """
    sides = gather(images, domain, rows[0, 0, :1])[0].shape[2:]
    if not sides:
        return None
    steps, judges, batch = rows.shape
    groups = -(-batch // GROUP)
    widths = [2 * reach(side) + 1 for side in sides]
    numbers = [
        Numbers(seed, Stream.JUDGE_SHIFTS).integers(0, widths, (steps, groups, 2)) for seed in seeds
    ]
    moves = torch.stack([torch.from_numpy(each) for each in numbers], 1)  # [T, J, groups, 2]
    moves = moves.repeat_interleave(GROUP, 2)[:, :, :batch].reshape(steps, judges * batch, 2)
    moves = moves.to(images.device)
    down, right = (
        (torch.arange(side, device=images.device) + moves[..., axis, None] - reach(side)).clamp_(
            0, side - 1
        )
        for axis, side in enumerate(sides)
    )
    return down, right


def shifted(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Pixels ``[N, C, H, W]`` of images in other places, ``down [N, H]`` and ``right [N, W]``."""
    count, channels = (torch.arange(size, device=images.device) for size in images.shape[:2])
    return images[
        count[:, None, None, None],
        channels[:, None, None],
        down[:, None, :, None],
        right[:, None, None, :],
    ]
