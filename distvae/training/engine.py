"""What a training step is made of, put together once from a run's settings.

Legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from distvae.batch import Batch
from distvae.checkpoint import Trained
from distvae.conditions import Conditions
from distvae.config import TrainConfig
from distvae.data.batches import ResidentImages, TrainImages, shard
from distvae.data.examples import domain_of_data, mean_input
from distvae.data.image_data import ImageData
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.errors import DistvaeError
from distvae.models import VAE, build_model
from distvae.objectives import MODEL, PRIOR, Pressure
from distvae.schedules import Parts, steps_of, whole
from distvae.training.capture import Graphs, use_own_stream
from distvae.training.feeding import training_images
from distvae.training.objective import build_objective
from distvae.training.plan import State
from distvae.training.sharding import shards_model
from distvae.training.transfer import Origin
from distvae.training.update import LossOf, Update, autograd_update, loss_function
from distvae.training.wrapping import Training, Wrapped, wrap


@dataclass(frozen=True)
class Engine:
    """Everything a step is made of."""

    config: TrainConfig
    accelerator: Accelerator
    wrapped: Wrapped
    """What is trained."""
    loss_of: LossOf
    update: Update
    state: State
    """Where the steps are, and what they found."""
    shards: list[slice]
    """Positions of the global batch that this process handles, by micro-batch."""
    train_images: TrainImages
    order: Callable[[int], Tensor | range]
    """(epoch) -> the rows of ``train_images`` that it visits, one after the other, on the host."""
    test_images: ResidentImages
    validation_images: ResidentImages | None
    """By which the weights are judged while they are trained; None: by the test images."""
    noise: NoiseSource
    steps_per_epoch: int
    parts: Parts
    """What the learning rate follows."""
    graphs: Graphs | None = None
    """Of its steps, where they are captured."""
    own_products: bool | None = None
    """Whether a step multiplies by the kernel of this package; None: not decided yet."""
    uncompiled: str = ""
    """Why its step is not compiled, where that would have paid."""

    @property
    def trained(self) -> Trained:
        """What a checkpoint holds."""
        return self.wrapped.trained

    @property
    def training(self) -> Training:
        """The model and its objective."""
        return self.wrapped.training

    @property
    def judged_images(self) -> ResidentImages:
        """What the weights are judged by while they are trained."""
        return self.test_images if self.validation_images is None else self.validation_images

    @property
    def judging_split(self) -> str:
        """The name of those in metrics.jsonl."""
        return "test" if self.validation_images is None else "validation"

    @property
    def judged_from(self) -> int:
        """Steps before the first by which weights are judged: until then a critic is not heard."""
        return self.training.objective.heard

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.parts[-1].end

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of its images, objective and stages, before the first step."""
        objective = self.training.objective
        notes = self.train_images.note, *objective.notes
        second = objective.players.get(PRIOR)
        if second is None or second.stage is None:
            return notes
        first, end = second.stage
        told = f"steps {first + 1:,} to {end:,} train the prior alone, what comes before all else"
        return *notes, told

    @property
    def host_bound(self) -> bool:
        """Whether the images of a step come from the host, one step after the other."""
        return not self.train_images.there

    @property
    def fed(self) -> bool:
        """Whether the host makes something of the batches of a step, while it is taken."""
        return self.host_bound or self.noise.on_host

    def batches(self, step: int | Tensor, rows: Tensor | range) -> list[Batch]:
        """The micro-batches of this process in a step on the global batch ``rows [B]``.

        Args:
            step: steps taken before, on the device unless the noise is drawn on the host.
            rows: on the device, unless the images come from the host.
        """
        return self._batches(step, rows, self.train_images)

    def probe_batches(self) -> list[Batch]:
        """Micro-batches as those of a step, all of one image of the test split."""
        rows = torch.zeros(self.config.optim.batch, dtype=torch.int64)
        return self._batches(0, rows, self.test_images)

    def _batches(
        self, step: int | Tensor, rows: Tensor | range, images: TrainImages
    ) -> list[Batch]:
        batches = []
        for positions in self.shards:
            stored, *known = images.gather(rows[positions])
            given = Conditions.of_examples(*known) if self.trained.model.conditional else None
            batches.append(Batch(stored, given, *self.noise.draw(step, positions)))
        return batches


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
    config = config.fitted(data.train_images, data.side, data.num_labels, bool(data.attributes))
    optim, device = config.optim, accelerator.device
    use_own_stream(device)
    steps_per_epoch = _steps_per_epoch(config, data)
    shards = _shards(config, accelerator)
    images = ResidentImages.from_split(data.train)
    model = _fresh_model(config, data, images, origin)
    train_images, order = training_images(data, images, config, accelerator)
    objective = build_objective(config, data, model, accelerator, steps_per_epoch)
    averaged = copy.deepcopy(model).requires_grad_(False).to(device) if optim.ema else None
    wrapped = wrap(model, averaged, objective, optim, accelerator)
    loss_of = loss_function(config, device.type)
    uniforms_shape = model.domain.uniforms_shape
    engine = Engine(
        config=config,
        accelerator=accelerator,
        wrapped=wrapped,
        loss_of=loss_of,
        update=autograd_update(wrapped, loss_of),
        state=State(device),
        shards=shards,
        train_images=train_images,
        order=order,
        test_images=ResidentImages.from_split(data.test).to(device),
        validation_images=(
            ResidentImages.from_split(data.validation).to(device) if data.validation else None
        ),
        noise=NoiseSource(
            optim.seed,
            Stream.TRAINING,
            objective.noise_dim,
            uniforms_shape,
            device,
            objective.draws,
        ),
        steps_per_epoch=steps_per_epoch,
        parts=whole(optim, steps_of(optim, steps_per_epoch), steps_per_epoch),
    )
    if accelerator.num_processes > 1 and not shards_model(accelerator.num_processes):
        _settle_buckets(engine)
    return engine


def _steps_per_epoch(config: TrainConfig, data: ImageData) -> int:
    steps = data.train_images // config.optim.batch
    if not steps:
        raise DistvaeError(
            f"--batch-size {config.optim.batch} is larger than the data",
            f"the training split has {data.train_images} {data.examples}",
            f"Take --batch-size {data.train_images} or less.",
        )
    return steps


def _fresh_model(
    config: TrainConfig, data: ImageData, images: ResidentImages, origin: Origin | None
) -> VAE:
    """A model that has taken no step, with the weights of another one where there is one.

    First weights come of torch's generator, on the CPU, and are no part of ``draws/``: a layer of
    torch draws its own. They are the same on any number of processes and devices.
    """
    torch.manual_seed(config.optim.seed)
    domain = domain_of_data(data, config.data.binarize or "none")
    model = build_model(config.model, domain, (), attributes=data.given)
    if config.model.start == "data_mean":
        model.initialize_output(mean_input(domain, images))
    model.latents.prepare(images)
    if origin is not None:
        origin.fill(model)
    return model


def _settle_buckets(engine: Engine) -> None:
    """One backward pass for nothing, after which DDP keeps the order in which it sums gradients.

    It lays out its buckets anew after the first pass. From three processes on, that changes how the
    sums are rounded, so a resumed run would take its first step otherwise than one never stopped.
    """
    batch = engine.probe_batches()[0]
    pressure = Pressure(*torch.ones(len(Pressure._fields), device=engine.accelerator.device))
    loss = engine.loss_of(engine.wrapped.forward, batch, pressure).total((MODEL,))
    loss.backward()  # type: ignore[no-untyped-call]
    engine.trained.optimizer.zero_grad()


def _shards(config: TrainConfig, accelerator: Accelerator) -> list[slice]:
    world = accelerator.num_processes, accelerator.process_index
    batch_size, accumulate = config.optim.batch, config.optim.accumulate
    return [shard(batch_size, accumulate, micro, *world) for micro in range(accumulate)]
