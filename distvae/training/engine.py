"""What a training step is made of, put together once from a run's settings.

Legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    patch_environment,
)
from torch import Tensor

from distvae.checkpoint import Trained
from distvae.config import TrainConfig
from distvae.data.batches import (
    ResidentImages,
    StreamedImages,
    TrainImages,
    epoch_order,
    shard,
)
from distvae.data.inputs import NoiseSource
from distvae.data.store import ImageData
from distvae.errors import DistvaeError, LostError
from distvae.models import build_model
from distvae.objectives import OBJECTIVES, Pressure, Setting
from distvae.priors import VampPrior
from distvae.schedules import Parts, steps_of, whole
from distvae.training.optimizer import OneCallAdamW
from distvae.training.sharding import shard_model
from distvae.training.topology import FSDP, asked
from distvae.training.transfer import Origin
from distvae.training.update import (
    Batch,
    LossOf,
    Training,
    Update,
    autograd_update,
    loss_function,
)
from distvae.training.world import gather_rows

Rows = Tensor | range
"""Numbers of images: int64 ``[B]`` of a split that is resident, a range of one that is streamed."""
MEAN_OF = 10_000
GRADIENTS = DistributedDataParallelKwargs()
"""How processes average their gradients."""


@dataclass(frozen=True)
class Engine:
    """Everything a step reads; what changes from step to step is in tensors and in Progress."""

    config: TrainConfig
    accelerator: Accelerator
    trained: Trained
    training: Training
    """The model and its objective."""
    forward: torch.nn.Module
    """The same as Accelerate has wrapped it."""
    stepped: torch.optim.Optimizer
    """The optimizer, wrapped where gradients are scaled."""
    loss_of: LossOf
    update: Update
    shards: list[slice]
    """Positions of the global batch that this process handles, by micro-batch."""
    train_images: TrainImages
    order: Callable[[int], Rows]
    """(epoch) -> the rows of ``train_images`` that it visits, one after the other."""
    test_images: ResidentImages
    validation_images: ResidentImages | None
    """By which the weights are judged while they are trained; None: by the test images."""
    noise: NoiseSource
    steps_per_epoch: int
    parts: Parts
    """What the learning rate follows."""
    conditional: bool
    binarize: str

    @property
    def judged_images(self) -> ResidentImages:
        """What the weights are judged by while they are trained."""
        return self.test_images if self.validation_images is None else self.validation_images

    @property
    def judging_split(self) -> str:
        """The name of those in metrics.jsonl."""
        return "test" if self.validation_images is None else "validation"

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.parts[-1].end


def build_accelerator(config: TrainConfig, project_folder: str) -> Accelerator:
    """Accelerate for these settings.

    Raises:
        DistvaeError: the device cannot do the precision asked for, or a tracker is not installed.
        LostError: not all processes came.
    """
    optim = config.optim
    wait = InitProcessGroupKwargs(timeout=timedelta(seconds=config.run.timeout))
    try:
        with patch_environment(ACCELERATE_USE_FSDP="false"):  # distvae shards the model itself
            accelerator = Accelerator(
                cpu=asked().cpu is True,  # a launcher of several processes drops use_cpu
                mixed_precision="fp16" if optim.mixed_precision == "fp16" else "no",
                gradient_accumulation_steps=optim.accumulate,
                log_with=list(config.run.tracker) or None,
                project_dir=project_folder,
                kwargs_handlers=[GRADIENTS, wait],
            )
        _check_precision(optim.mixed_precision, accelerator.device.type)
        return accelerator
    except torch.distributed.DistError as error:
        raise LostError(
            f"the processes of the run did not come together within --timeout {config.run.timeout}",
            str(error).splitlines()[0],
            "Start all of them, with one MASTER_ADDR and MASTER_PORT that no other run uses.",
            tells=int(os.environ.get("RANK", "0")) == 0,
        ) from error
    except (ValueError, ImportError) as error:
        raise DistvaeError(
            f"Accelerate refuses --mixed-precision {optim.mixed_precision} with trackers "
            f"{list(config.run.tracker)} on this machine",
            str(error),
            "fp16 needs a GPU: take bf16 or no. A tracker needs its package: pip install it.",
        ) from error


def _check_precision(precision: str, device_type: str) -> None:
    if precision == "fp16" and device_type == "cpu":
        raise ValueError("on a CPU it would compute in float32 all the same")
    if precision == "bf16" and device_type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("this GPU has no bf16")


def build_engine(
    config: TrainConfig,
    data: ImageData,
    accelerator: Accelerator,
    origin: Origin | None = None,
) -> Engine:
    """Model, optimizer, images and random numbers of a run.

    Args:
        config: all settings.
        data: what to train on.
        accelerator: with its process group up.
        origin: a model from whose weights this one starts.

    Raises:
        DistvaeError: model and data do not fit, or the batch is larger than the data or cannot be
            shared equally by the processes.
    """
    config = config.fitted(data.train_images, min(data.image_shape[1:]), data.num_labels)
    optim = config.optim
    steps_per_epoch = data.train_images // optim.batch
    if not steps_per_epoch:
        raise DistvaeError(
            f"--batch-size {optim.batch} is larger than the data",
            f"the training split has {data.train_images} images",
            f"Take --batch-size {data.train_images} or less.",
        )
    shards = _shards(config, accelerator)
    total_steps = steps_of(optim, steps_per_epoch)
    torch.manual_seed(optim.seed)
    model = build_model(config.model, data.image_shape, data.label_names)
    device = accelerator.device
    images = ResidentImages.from_split(data.train)
    if config.model.start == "data_mean":
        model.start_at(_mean_image(images))
    if isinstance(model.prior, VampPrior):
        model.prior.start_at(_pseudo_inputs(config, model.prior, images))
    if origin is not None:
        origin.fill(model)
    train_images, order = _train_images(data, images, optim.seed, accelerator)
    objective = OBJECTIVES[config.objective.objective](
        Setting(
            config.objective,
            latent_dim=config.model.latent_dim,
            prior_noise_dim=model.prior.noise_dim,
            dims=math.prod(data.image_shape),
            images=data.train_images,
            gather=gather_rows(accelerator),
        )
    )
    training = Training(model, objective).to(device)
    averaged = copy.deepcopy(model).requires_grad_(False) if optim.ema else None
    sharded = asked().strategy == FSDP
    if sharded:
        shard_model(training, model, device.type)
        if averaged is not None:
            shard_model(averaged, averaged, device.type)
    wrapped = accelerator.prepare_model(training, evaluation_mode=sharded)  # which only casts
    kind = OneCallAdamW if accelerator.scaler is None else torch.optim.AdamW
    optimizer: torch.optim.Optimizer = kind(
        list(training.parameters()),
        lr=optim.learning_rate,
        weight_decay=optim.weight_decay,
        eps=optim.adam_eps,
    )
    pixel_shape = data.image_shape if config.data.binarize == "dynamic" else None
    noise = NoiseSource(
        optim.seed, "training", objective.noise_dim, pixel_shape, device, objective.draws
    )
    # Accelerate's optimizer scales fp16, and skips the step while gradients are accumulated, which
    # the update does itself; it also looks for packages on the disk in every step, and between
    # processes on a CPU it replaces the moments, of which OneCallAdamW keeps lists, by copies
    stepped = optimizer if accelerator.scaler is None else accelerator.prepare(optimizer)
    trained = Trained(model, averaged, optimizer, objective)
    loss_of = loss_function(config, device.type)
    engine = Engine(
        config=config,
        accelerator=accelerator,
        trained=trained,
        training=training,
        forward=wrapped,
        stepped=stepped,
        loss_of=loss_of,
        update=autograd_update(accelerator, wrapped, stepped, trained, loss_of, optim.clip),
        shards=shards,
        train_images=train_images,
        order=order,
        test_images=ResidentImages.from_split(data.test).to(device),
        validation_images=(
            ResidentImages.from_split(data.validation).to(device) if data.validation else None
        ),
        noise=noise,
        steps_per_epoch=steps_per_epoch,
        parts=whole(optim, total_steps, steps_per_epoch),
        conditional=model.conditional,
        binarize=config.data.binarize or "none",
    )
    if accelerator.num_processes > 1 and not sharded:
        _settle_buckets(engine)
    return engine


def _settle_buckets(engine: Engine) -> None:
    """One backward pass for nothing, after which DDP keeps the order in which it sums gradients.

    It lays out its buckets anew after the first pass. From three processes on, that changes how the
    sums are rounded, so a resumed run would take its first step otherwise than one never stopped.
    """
    noise = engine.noise.draw(0, engine.config.optim.batch).at(engine.shards[0])
    grey, labels = engine.test_images.gather(torch.zeros(len(noise.latent), dtype=torch.int64))
    batch = Batch(grey, labels if engine.conditional else None, *noise)
    pressure = Pressure(*torch.ones(2, device=engine.accelerator.device))
    loss = engine.loss_of(engine.forward, batch, pressure).loss
    loss.backward()  # type: ignore[no-untyped-call]
    engine.trained.optimizer.zero_grad()


def _train_images(
    data: ImageData, images: ResidentImages, seed: int, accelerator: Accelerator
) -> tuple[TrainImages, Callable[[int], Rows]]:
    """What to train on, where it is needed, and the order of an epoch."""
    if data.stream is None:
        resident = images.to(accelerator.device)
        return resident, lambda epoch: torch.from_numpy(epoch_order(len(resident), seed, epoch))
    world = accelerator.process_index, accelerator.num_processes
    streamed = StreamedImages(data.stream, data.image_shape, seed, *world, accelerator.device)
    size = len(streamed)
    return streamed, lambda epoch: range(epoch * size, (epoch + 1) * size)


def _shards(config: TrainConfig, accelerator: Accelerator) -> list[slice]:
    world = accelerator.num_processes, accelerator.process_index
    batch_size, accumulate = config.optim.batch, config.optim.accumulate
    return [shard(batch_size, accumulate, micro, *world) for micro in range(accumulate)]


def _pseudo_inputs(config: TrainConfig, prior: VampPrior, images: ResidentImages) -> Tensor:
    """What a VampPrior begins with: an image for each pseudo-input, or one for all."""
    if config.model.pseudo_inputs == "mean":
        return _mean_image(images)
    rows = prior.rows(images.labels, len(images.images))
    return images.gather(rows)[0].div(255.0)


def _mean_image(images: ResidentImages) -> Tensor:
    """Mean of at most ``MEAN_OF`` training images, taken evenly: ``[C, H, W]`` in [0, 1]."""
    rows = torch.arange(0, len(images), max(1, len(images) // MEAN_OF))
    # exact, as whole numbers; a part at a time, as they take eight times the memory
    sums = [images.gather(part)[0].sum(0, dtype=torch.float64) for part in torch.split(rows, 256)]
    return torch.stack(sums).sum(0).div(len(rows)).div(255.0).float()
