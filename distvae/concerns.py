"""The settings of a training run, by concern: name, type, default, choices and help.

Each concern is a small frozen dataclass, so that a function's signature says which settings can
change its result. The string below a field is its ``--help``.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from distvae.choices import (
    ActivationName,
    Binarization,
    KLScheduleName,
    LearningRateScheduleName,
    MatmulName,
    RateScaleName,
)
from distvae.composed import Composed, choice, composed
from distvae.declarations import TERMS, declared
from distvae.values import (
    LARGEST,
    Count,
    DataName,
    Decay,
    FolderName,
    Name,
    NotNegative,
    Positive,
    RunName,
    Widths,
    Within,
)

Seed = Annotated[int, Within(-(2**63), 2**63 - 1)]


@dataclass(frozen=True)
@composed
class DataConfig(Composed):
    """Where the images come from and how they become tensors."""

    data: DataName = "mnist"
    """What to train on: the bundled `mnist`, `mnist:coloured` (each given its digit and its colour, a tenth of each not known; by its recipe, unless --config names another), `sprites` or `sprites:small` (drawn, with known factors), a Hub id such as `ylecun/mnist`, a folder with one subfolder of images per class, a zip of one, a parquet, csv, tsv, jsonl (image paths beside it, or pixels) or arrow file or folder, npz or npy arrays, IDX files, CIFAR's binary batches, a `save_to_disk` folder, or dSprites' npz."""
    domain: str | None = choice(
        "domain",
        None,
        "What an example is; left out: `images`, and `vectors` where no images are found, or numbers that can be no pixels, and every column but the label holds numbers.",
    )
    split_train: Name = "train"
    """Name of the training split; `Train`, `training` and the like are found too."""
    split_test: Name | None = None
    """Name of the test split; left out: `test`, else `validation`, or whatever is called so (`Testing`, `val`, `dev`), else a seeded tenth of the training split, of each label at least one image where it has two."""
    split_validation: Name | None = None
    """Name of the split by which weights are judged while they are trained, apart from the test split; `held-out`: a tenth of the training split, by label; `auto`: the data's validation split, else that tenth. Left out: `auto` with --early-stopping or --keep-best, else none is taken and the test split is looked at."""
    image_column: Name | None = None
    """Column with the images; left out: found from the features."""
    label_column: Name | None = None
    """Column with the labels; left out: found from the features."""
    only_label: Name | None = None
    """Labels of which examples are taken, such as `3` or `3,5-7`; others are left out of every split, as for `distvae score`, which tells them from these. Left out: all."""
    image_size: Annotated[int, Within(1, 2**16)] | None = None
    """Side in pixels to which every image is resized (shorter side, then a centre crop); needed when sizes are mixed. With --augment crop: the side of a crop."""
    augment: tuple[Literal["crop", "flip"], ...] = ()
    """What is changed of a training image each time it is seen: `crop` takes a random part of --image-size pixels a side, at the image's own scale, for photographs of any size; `flip` exchanges left and right in half of them; `crop,flip` does both. With `crop` test and validation images are cut into a fixed grid. Left out: nothing."""
    shorter_side: Annotated[int, Within(1, 2**16)] | None = None
    """With --augment crop: images whose shorter side has more pixels are first made as small; left out: they keep their size. Those smaller than a crop are enlarged to it."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; left out: as the images are, colour where some are."""
    white: Positive | None = None
    """The value of a white pixel, for images of more or fewer than 256 levels: 4095 for 12 bits, 1 for masks of 0 and 1; left out: told from the images, by the bits that their largest value takes."""
    bits: Literal[8, 16] | None = None
    """In which images are kept: `16` keeps up to 65,536 levels, `8` keeps 256; left out: 16 where values are whole numbers that 8 do not hold."""
    binarize: Binarization | None = None
    """`none` keeps grey levels in [0, 1]; `dynamic` draws a fresh Bernoulli pixel from each grey level every epoch; `threshold` cuts at one half; left out: `dynamic` for the bernoulli likelihood, else `none`."""
    split_seed: Seed = 0
    """Seed of the held-out split that is made when the data has none; kept apart from --seed so that seeds can be compared."""
    allow_outside: bool = False
    """Let a table name images outside its own folder; else it is refused, as a table from others could bring any picture on this machine into the model."""
    keep_labels: Count | None = None
    """Train as if only so many training examples had a label, as many of each label as can be; the others stay, without. Test and validation splits keep theirs, and `evaluate` knows all."""
    keep_seed: Seed = 0
    """Seed of which labels are kept by --keep-labels."""
    spread_labels: RunName | None = None
    """Give training examples without a label the one that spreads to them from the labelled ones, between nearest neighbours in the latents of this run: one of --model vae on the same data."""
    cache_dir: FolderName | None = None
    """Folder for decoded data; left out: $DISTVAE_CACHE, else ~/.cache/distvae."""
    streaming: bool = False
    """Read the training images anew in every epoch instead of decoding all of them first, for data beyond memory and disk."""
    shuffle_buffer: Count = 1000
    """With --streaming: images that each process shuffles at a time, kept in memory as they are encoded."""
    epoch_images: Count | None = None
    """With --streaming: images that make an epoch; left out: those of the training split, where the data says how many. With --augment crop: crops that make an epoch; left out: as many as lie beside each other in the training images."""


@dataclass(frozen=True)
@composed
class ModelConfig(Composed):
    """The parts a model is composed of."""

    model: Literal["vae", "cvae"] = "cvae"
    """Whether the model is given labels: `vae` has none; `cvae` feeds the label to encoder, decoder and, where it takes one, prior."""
    network: str | None = choice(
        "network",
        None,
        "Family of encoder and decoder; left out: `conv` for fewer than 2,560 training images of 16 pixels a side or more, unless --hidden is given, else `mlp`.",
    )
    hidden: Widths | None = None
    """Widths of the encoder's dense layers, the decoder mirrors them (mlp only): `256,128`; left out: `512,512`."""
    width: Annotated[float, Within(0, 2**10, open=True)] = 1.0
    """Scales the width of every layer of any network."""
    activation: ActivationName = "silu"
    """Nonlinearity between layers."""
    norm: Literal["none", "layer"] = "none"
    """Normalization of the features before each nonlinearity."""
    conditioning: Literal["modulate", "concat"] = "modulate"
    """How a label enters: `modulate` scales and shifts every layer, `concat` appends a one-hot vector to the input."""
    start: Literal["data_mean", "zeros"] = "data_mean"
    """The decoder's first output: the mean training image, which saves epochs, or nothing."""
    latent_dim: Annotated[int, Within(1, 2**16)] = 16
    """Number of latent dimensions."""
    prior: str | None = choice(
        "prior",
        None,
        "p(z), the density of the latents; left out: `vamp` for fewer than 2,560 training images of 16 pixels a side or more, else `label`, or `normal` where there are no labels or the objective asks for it.",
    )
    infer_label: bool | None = None
    """Also learn q(y|x), a network like the encoder that tells the label of an example; left out: with --objective m2, which alone trains it."""
    latent_space: str = choice(
        "latent_space", "gaussian", "Where z lives and how it is inferred.", ("--latents",)
    )
    likelihood: str | None = choice(
        "likelihood",
        None,
        "p(x|z); left out: `bernoulli` for one channel, `gaussian` for colour, which draws shapes soonest.",
    )

    if TYPE_CHECKING:  # a checker does not know the settings of the parts

        def __init__(self, *values: Any, **settings: Any) -> None: ...

    @property
    def widths(self) -> tuple[int, ...]:
        """``--hidden``, or what it is where it was left out."""
        return (512, 512) if self.hidden is None else self.hidden


@dataclass(frozen=True)
@composed
class ObjectiveConfig(Composed):
    """Which bound is optimized."""

    objective: str = choice("objective", "elbo", "The bound that is optimized.")
    importance_samples: Annotated[int, Within(1, 2**20)] | None = None
    """Draws of z for an image; `elbo` averages over them, `iwae` and `dreg` weigh them; left out: 5 for these two, else 1."""
    beta: NotNegative | None = None
    """Final weight of the KL term; 1 is the evidence lower bound, a little more makes samples obey their label better; left out: 1.5 for `elbo`, else 1."""
    capacity: NotNegative | None = None
    """Nats at which `elbo` holds the KL term, --beta the weight of the distance; left out: it is pressed to zero."""
    capacity_epochs: NotNegative = 0.0
    """Epochs over which --capacity rises from zero; 0 is at once."""
    kl_schedule: KLScheduleName = "linear"
    """Path of the KL weight from --kl-start to --beta: at once, along one line, or along --kl-cycles ramps that start anew."""
    kl_warmup_epochs: NotNegative = 0.0
    """Epochs the KL weight takes to reach --beta; 0 is at once."""
    kl_start: NotNegative = 0.0
    """KL weight at the first step of a warm-up; above --beta it is a warm-down, which presses the label out of z."""
    kl_cycles: Annotated[int, Within(1, 10**9)] = 4
    """Number of ramps of the cyclical schedule."""
    free_bits: NotNegative = 0.0
    """Nats per latent dimension below which the KL term is not pressed further."""
    kl_balance: bool = False
    """Of latents of several levels: while the KL weight rises, press each level by its share of the rate, so that one that tells little yet is pressed little; at the end all are pressed alike, as the bound asks."""
    reduction: Literal["sum", "mean"] = "sum"
    """`sum` adds the reconstruction term over pixels, as the bound asks; `mean` averages it as many tutorials do, which multiplies the KL weight by the number of pixels."""

    perceptual: str | None = choice(
        "perceptual",
        None,
        "A likeness of images that is added to the objective, beside the likelihood of their pixels; left out: none.",
    )
    critic: str | None = choice(
        "critic",
        None,
        "A network that is trained beside the model to tell what it draws from images, and that the model learns to please: sharper images, at a price in nats; left out: none.",
    )

    if TYPE_CHECKING:  # a checker does not know the settings of the parts

        def __init__(self, *values: Any, **settings: Any) -> None: ...

    def resolved(self) -> "ObjectiveConfig":
        """These settings with what was left out as the objective and its terms have it."""
        usual: dict[str, Any] = {"importance_samples": 1, "beta": 1.0}
        for kind in ("objective", *TERMS):
            name = getattr(self, kind)
            if name is not None:
                usual |= self.of(declared(kind)[name].part).left_out()
        left_out = {name: value for name, value in usual.items() if vars(self)[name] is None}
        return dataclasses.replace(self, **left_out)


@dataclass(frozen=True)
class OptimConfig:
    """How the parameters are found."""

    epochs: Count | None = None
    """Passes over the training split; left out: 16, or below 16,000 images as many as make 2,000 steps of the batch."""
    max_steps: Count | None = None
    """Stop after this many steps, at the latest; where --epochs is left out, take this many."""
    batch_size: Count | None = None
    """Global batch: images per optimizer step, over all processes and accumulation steps; left out: 128, or less where the images are fewer than 2,560, so that an epoch has 20 steps."""
    accumulate: Annotated[int, Within(1, 2**20)] = 1
    """Micro-batches per optimizer step."""
    learning_rate: Positive = 2e-3
    """Peak learning rate, of a batch of --lr-batch images where --lr-scale is on."""
    lr_scale: RateScaleName = "off"
    """What another batch than --lr-batch makes of --learning-rate: `sqrt` multiplies it by the root of how many times as large --batch-size is, `linear` by that number itself; `off` leaves it."""
    lr_batch: Count | None = None
    """With --lr-scale: the batch that --learning-rate is meant for; left out: the recipe's batch_size, with --resume the run's, else what --batch-size is where it is left out."""
    schedule: LearningRateScheduleName = "cosine"
    """`constant`; `cosine` down to zero at the last step; `burda`, eight stages of 1, 3, 9, ... 2187 parts of the run, from one to the next lower by a seventh of a power of ten. A run that is resumed with another length, --learning-rate or --schedule follows it anew over the steps that are left, from the rate where it stood, but at least a tenth of --learning-rate (a cosine ends at zero), or from a --learning-rate that is changed; KL weights go on as they were; see --rewind-schedule."""
    warmup_epochs: NotNegative = 1.0
    """Epochs over which the learning rate rises linearly from zero, at the start of a run only."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay of AdamW."""
    adam_eps: Positive = 1e-8
    """What Adam adds to the root of the second moment."""
    clip: Positive | None = None
    """Largest gradient norm; left out: no clipping."""
    skip_above: Annotated[float, Within(1, LARGEST, open=True)] | None = None
    """Leave out a step whose gradient is more than so many times as long as usual, at most ten in a row; how many were is told. Left out: every step is taken."""
    ema: Decay = 0.998
    """Decay of the exponential moving average of the weights, which is then what is evaluated and saved; 0 is no average."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Arithmetic of the networks; likelihood and KL are always float32. `no` is float32; `auto` takes bf16 on a GPU that has it, and on a CPU that has it where a few steps of this run are at least 1.3 times as fast in it, else `no`. The decision is recorded and stands when the run is gone on with."""
    matmul: MatmulName = "float32"
    """What a GPU multiplies and convolves float32 in, with --mixed-precision no: `float32`, or `tf32`, which rounds the operands to 11 significant bits and is several times as fast where the layers are wide. Refused where no GPU has it; kept for `distvae evaluate`."""
    compile: Literal["off", "on", "auto"] = "off"
    """torch.compile: `auto` compiles when the run is long enough to win back the compilation time."""
    capture: Literal["auto", "on", "off"] = "auto"
    """Record a step once and repeat it without Python, which cannot tell a device as fast what to do: on CUDA as a graph of kernels, compiled or not; on a CPU as a list of operations, where one process trains and does not compile. `auto` does so where nothing is in the way and, on a CPU, for dense networks from 300 steps on, and says what is; `on` refuses to train otherwise. The numbers are the same."""
    early_stopping: Count | None = None
    """Stop after this many evaluations without a better loss, and keep the best weights (--keep-best); left out: never."""
    seed: Seed = 0
    """Seed of the weights, the order of the images, the latent noise and the binarization."""

    @property
    def batch(self) -> int:
        """``--batch-size``, of settings that were fitted to the data."""
        assert self.batch_size is not None
        return self.batch_size

    @property
    def peak_rate(self) -> float:
        """``--learning-rate`` as ``--lr-scale`` makes it, of settings that were fitted."""
        if self.lr_scale == "off":
            return self.learning_rate
        assert self.lr_batch is not None
        factor = self.batch / self.lr_batch
        return self.learning_rate * (math.sqrt(factor) if self.lr_scale == "sqrt" else factor)

    @property
    def passes(self) -> int:
        """``--epochs``, of settings that were fitted to the data."""
        assert self.epochs is not None
        return self.epochs


@dataclass(frozen=True)
class RunConfig:
    """Where a run lives and what it tells."""

    output: FolderName | None = None
    """Run folder; left out: runs/NAME after the recipe, or after data and model."""
    overwrite: bool = False
    """Delete the run that is in the output folder and start anew."""
    checkpoint_every: Count = 1000
    """Steps between checkpoints; one is also written at the end of the run and on Ctrl-C, SIGTERM, SIGHUP or SIGUSR1."""
    keep: Annotated[int, Within(1, 2**20)] = 2
    """Newest checkpoints kept."""
    keep_best: bool | None = None
    """Make model.safetensors the weights of the evaluation with the best loss, and keep their checkpoint too; a resume still goes on from the newest. Left out: with --early-stopping; `--keep-best off`: never."""
    eval_every: Count = 1
    """Epochs between evaluations, on the validation part where there is one (--split-validation), else on the test split; the last epoch is always evaluated."""
    sample_every: Count = 5
    """Epochs between sample sheets; the last epoch always has one."""
    log_every: Count = 50
    """Steps between training lines in metrics.jsonl."""
    threads: Annotated[int, Within(1, 2**16)] | None = None
    """CPU threads of each process; left out: $OMP_NUM_THREADS, else all cores shared among the processes on this machine. Recorded, since it changes how sums are rounded."""
    timeout: Annotated[int, Within(1, 10**9)] = 600
    """Seconds for which processes wait for each other before they stop, so also the longest that the main one may take to decode new data."""
    tracker: tuple[Name, ...] = ()
    """Trackers that Accelerate knows, by name: `tensorboard`, `wandb`, `trackio`."""
