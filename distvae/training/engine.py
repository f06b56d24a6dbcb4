"""What a training step is made of, put together once from a run's settings.

Legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

import copy
import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from distvae.checkpoint import Trained
from distvae.config import TrainConfig
from distvae.data.batches import ResidentImages, shard
from distvae.data.inputs import NoiseSource
from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.models import build_model
from distvae.training.optimizer import OneCallAdamW
from distvae.training.update import LossOf, Update, autograd_update, loss_function

MEAN_OF = 10_000


@dataclass(frozen=True)
class Engine:
    """Everything a step reads; what changes from step to step is in tensors and in Progress."""

    config: TrainConfig
    accelerator: Accelerator
    trained: Trained
    forward: torch.nn.Module
    """The model as Accelerate has wrapped it."""
    stepped: torch.optim.Optimizer
    """The optimizer, wrapped where gradients are scaled."""
    loss_of: LossOf
    update: Update
    shards: list[slice]
    """Positions of the global batch that this process handles, by micro-batch."""
    train_images: ResidentImages
    test_images: ResidentImages
    noise: NoiseSource
    steps_per_epoch: int
    total_steps: int
    conditional: bool
    binarize: str


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
    shards = _shards(config, accelerator)
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
    # Accelerate's optimizer scales fp16, and skips the step while gradients are accumulated, which
    # the update does itself; it also looks for packages on the disk in every step
    stepped = optimizer if accelerator.scaler is None else prepared
    trained = Trained(model, averaged, optimizer)
    loss_of = loss_function(config, math.prod(data.image_shape))
    return Engine(
        config=config,
        accelerator=accelerator,
        trained=trained,
        forward=wrapped,
        stepped=stepped,
        loss_of=loss_of,
        update=autograd_update(accelerator, wrapped, stepped, trained, loss_of, optim.clip),
        shards=shards,
        train_images=images.to(device),
        test_images=ResidentImages.from_split(data.test).to(device),
        noise=noise,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        conditional=model.conditional,
        binarize=config.data.binarize or "none",
    )


def _shards(config: TrainConfig, accelerator: Accelerator) -> list[slice]:
    world = accelerator.num_processes, accelerator.process_index
    batch_size, accumulate = config.optim.batch_size, config.optim.accumulate
    return [shard(batch_size, accumulate, micro, *world) for micro in range(accumulate)]


def _mean_image(images: ResidentImages) -> Tensor:
    """Mean of at most ``MEAN_OF`` training images, taken evenly: ``[C, H, W]`` in [0, 1]."""
    rows = torch.arange(0, len(images.images), max(1, len(images.images) // MEAN_OF))
    return images.gather(rows)[0].double().mean(0).div(255.0).float()
