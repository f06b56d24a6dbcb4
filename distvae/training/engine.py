"""What a training step is made of, put together once from a run's settings.

Legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from distvae.checkpoint import Trained
from distvae.config import TrainConfig
from distvae.data.batches import ResidentImages, shard
from distvae.data.inputs import NoiseSource, to_input
from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.models import build_model
from distvae.objectives import OBJECTIVES, Loss
from distvae.training.optimizer import OneCallAdamW

MEAN_OF = 10_000
StepLoss = Callable[[Tensor, Tensor | None, Tensor, Tensor | None, Tensor], Loss]
"""(grey images, labels, latent noise, pixel noise, KL weight) -> loss."""


@dataclass(frozen=True)
class Engine:
    """Everything a step reads; what changes from step to step is in tensors and in Progress."""

    config: TrainConfig
    accelerator: Accelerator
    trained: Trained
    optimizer: torch.optim.Optimizer
    step_loss: StepLoss
    forward: torch.nn.Module
    train_images: ResidentImages
    test_images: ResidentImages
    noise: NoiseSource
    steps_per_epoch: int
    total_steps: int
    conditional: bool
    binarize: str

    def shards(self) -> list[slice]:
        """Positions of the global batch that this process handles, by micro-batch."""
        optim, accelerator = self.config.optim, self.accelerator
        return [
            shard(
                optim.batch_size,
                optim.accumulate,
                micro,
                accelerator.num_processes,
                accelerator.process_index,
            )
            for micro in range(optim.accumulate)
        ]


def build_accelerator(config: TrainConfig, project_folder: str) -> Accelerator:
    """Accelerate for these settings.

    Raises:
        DistvaeError: the device cannot do the precision asked for, or a tracker is not installed.
    """
    optim = config.optim
    try:
        accelerator = Accelerator(
            mixed_precision=optim.mixed_precision,
            gradient_accumulation_steps=optim.accumulate,
            log_with=list(config.run.tracker) or None,
            project_dir=project_folder,
        )
        if optim.mixed_precision == "fp16" and accelerator.device.type == "cpu":
            raise ValueError("on a CPU it would compute in float32 all the same")
        return accelerator
    except (ValueError, ImportError) as error:
        raise DistvaeError(
            f"Accelerate refuses --mixed-precision {optim.mixed_precision} with trackers "
            f"{list(config.run.tracker)} on this machine",
            str(error),
            "fp16 needs a GPU: take bf16 or no. A tracker needs its package: pip install it.",
        ) from error


def build_engine(config: TrainConfig, data: ImageData, accelerator: Accelerator) -> Engine:
    """Model, optimizer, images and random numbers of a run.

    Raises:
        DistvaeError: model and data do not fit, or the batch is larger than the data or cannot be
            shared equally by the processes.
    """
    optim = config.optim
    steps_per_epoch = len(data.train) // optim.batch_size
    if not steps_per_epoch:
        raise DistvaeError(
            f"--batch-size {optim.batch_size} is larger than the data",
            f"the training split has {len(data.train)} images",
            f"Take --batch-size {len(data.train)} or less.",
        )
    shard(optim.batch_size, optim.accumulate, 0, accelerator.num_processes, 0)  # refuses misfits
    total_steps = optim.epochs * steps_per_epoch
    total_steps = min(total_steps, optim.max_steps or total_steps)
    torch.manual_seed(optim.seed)
    model = build_model(config.model, data.image_shape, data.label_names)
    device = accelerator.device
    images = ResidentImages.from_split(data.train)
    if config.model.start == "data_mean":
        model.start_at(_mean_image(images))
    parameters = list(model.to(device).parameters())
    kind = OneCallAdamW if accelerator.scaler is None else torch.optim.AdamW
    optimizer: torch.optim.Optimizer = kind(
        parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay
    )
    averaged = copy.deepcopy(model).requires_grad_(False) if optim.ema else None
    wrapped, prepared = accelerator.prepare(model, optimizer)
    pixel_shape = data.image_shape if config.data.binarize == "dynamic" else None
    noise = NoiseSource(optim.seed, "training", config.model.latent_dim, pixel_shape, device)
    return Engine(
        config=config,
        accelerator=accelerator,
        trained=Trained(model, averaged, optimizer),
        # Accelerate's wrapper skips the step while gradients are accumulated, which the loop does
        # itself, and scales fp16; it also looks for packages on the disk in every step
        optimizer=optimizer if accelerator.scaler is None else prepared,
        step_loss=_step_loss(config, wrapped, math.prod(data.image_shape)),
        forward=wrapped,
        train_images=images.to(device),
        test_images=ResidentImages.from_split(data.test).to(device),
        noise=noise,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        conditional=model.conditional,
        binarize=config.data.binarize or "none",
    )


def _step_loss(config: TrainConfig, model: torch.nn.Module, dims: int) -> StepLoss:
    """From stored grey levels to the loss, the part of a step that can be compiled."""
    objective = OBJECTIVES[config.objective.objective]
    binarize = config.data.binarize or "none"

    def step_loss(
        grey: Tensor, labels: Tensor | None, latent: Tensor, pixels: Tensor | None, weight: Tensor
    ) -> Loss:
        terms = model(to_input(grey, binarize, pixels), labels, latent)
        return objective(terms, weight, config.objective, dims)

    return step_loss


def _mean_image(images: ResidentImages) -> Tensor:
    """Mean of at most ``MEAN_OF`` training images, taken evenly: ``[C, H, W]`` in [0, 1]."""
    rows = torch.arange(0, len(images.images), max(1, len(images.images) // MEAN_OF))
    return images.gather(rows)[0].double().mean(0).div(255.0).float()
