"""A small classifier of the real training images that judges generated ones.

It knows nothing of the VAE, so what it says of a generated image is independent evidence.

Legend: B batch, C channels, H height, W width, F features.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from distvae.data.batches import ResidentImages
from distvae.data.identity import Progress
from distvae.data.inputs import to_input
from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.files import new_folder, read_json, write_json
from distvae.runs import CONFIG, WEIGHTS
from distvae.tensors import load_weights, write_tensors

VERSION = 1
"""Raised with every change of architecture or training, so that old caches are left alone."""
SIDE = 32
WIDTHS = (16, 32, 64)
FEATURES = 128
STEPS = 700
BATCH = 256
LEARNING_RATE = 8e-3
GROUP = 32
"""Images of a batch that are shifted alike."""
BLOCK = 128
SEED = 0


class JudgeNetwork(nn.Module):
    """Three convolutions of stride 2 and a hidden layer, for images of any size and channels."""

    def __init__(self, image_shape: tuple[int, int, int], num_labels: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False)]
        grid = shrink(torch.zeros(1, 1, height, width)).shape[2:]
        for before, after, kernel in zip((channels, *WIDTHS), WIDTHS, (5, 3, 3), strict=False):
            conv = nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
            grid = torch.Size(-(-side // 2) for side in grid)
        layers += [nn.Flatten(), nn.Linear(WIDTHS[-1] * grid.numel(), FEATURES), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, num_labels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_labels]`` of shrunk images ``[B, C, h, w]`` in [0, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained judge and how far it can be trusted."""

    model: JudgeNetwork
    """In evaluation mode."""
    test_accuracy: float
    """Fraction of the real test images that it labels rightly."""
    recall: dict[str, float]
    """The same for the test images of each label, by name; labels without any are left out."""
    path: Path
    """The folder that holds it."""

    def classify(self, images: Tensor) -> Tensor:
        """Labels int64 ``[N]`` of images ``[N, C, H, W]`` in [0, 1], on the judge's device."""
        return self.label(self.features(images))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The hidden layer that the decision rests on, ``[N, F]``, on the judge's device."""
        network, device = self.model.features, self.model.head.weight.device
        return torch.cat([network(shrink(x.to(device))) for x in torch.split(images, BLOCK)])

    @torch.no_grad()
    def label(self, features: Tensor) -> Tensor:
        """Labels int64 ``[N]`` of :meth:`features`."""
        labels: Tensor = self.model.head(features).argmax(dim=1)
        return labels


def get_judge(
    data: ImageData,
    cache_dir: Path,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Judge:
    """The judge of a data set, trained on its training split by the first call, then only loaded.

    Training always takes 700 steps of 256 images, each shrunk to at most 32 x 32 pixels: three
    passes over 60 000 images, more over fewer and a part of a larger set, so its time is bounded
    whatever the data. On one device type and number of threads the same data gives the same judge;
    the global random generators are left alone. A damaged cache is trained anew.

    Args:
        data: labelled images.
        cache_dir: the judge lives in a folder here, named after the data's fingerprint.
        device: where it is trained and left.
        progress: called with a description and a number of images; its context gives a function
            that is told how many more are done.

    Raises:
        DistvaeError: the folder cannot be written.
    """
    path = cache_dir / f"judge-v{VERSION}-{data.fingerprint}"
    if judge := _load(path, data, device):
        return judge
    watch = progress("training the judge", STEPS * BATCH) if progress else nullcontext(_unwatched)
    try:
        with new_folder(path) as folder:
            images = ResidentImages.from_split(data.train).to(device)
            with watch as advance:
                network = train_network(images, data.num_labels, advance=advance)
            accuracy, recall = _test(Judge(network, 0.0, {}, path), data)
            facts = {**_identity(data), "test_accuracy": accuracy, "recall": recall}
            write_tensors(folder / WEIGHTS, network.state_dict())
            write_json(folder / CONFIG, facts)
    except OSError as error:
        raise DistvaeError(
            f"cannot write the judge to {path}",
            f"{type(error).__name__}: {error}",
            "Choose another folder by --cache-dir.",
        ) from error
    return Judge(network, accuracy, recall, path)


def shrink(images: Tensor) -> Tensor:
    """Images averaged down to at most 32 pixels a side, ``[B, C, h, w]``; small ones are kept."""
    height, width = images.shape[2:]
    if max(height, width) <= SIDE:
        return images.contiguous(memory_format=torch.channels_last)
    size = (min(height, SIDE), min(width, SIDE))
    return functional.adaptive_avg_pool2d(images, size).contiguous(
        memory_format=torch.channels_last
    )


def _identity(data: ImageData) -> dict[str, object]:
    """What a cached judge must have been made for."""
    return {
        "version": VERSION,
        "fingerprint": data.fingerprint,
        "image_shape": list(data.image_shape),
        "label_names": list(data.label_names),
    }


def _load(path: Path, data: ImageData, device: torch.device | str) -> Judge | None:
    """The judge in a folder, or None where there is none, it is damaged or of other data."""
    try:
        facts = read_json(path / CONFIG)
        if any(facts[name] != value for name, value in _identity(data).items()):
            return None
        network = JudgeNetwork(data.image_shape, data.num_labels)
        load_weights(network, path / WEIGHTS)
        return Judge(network.eval().to(device), facts["test_accuracy"], facts["recall"], path)
    except (DistvaeError, OSError, KeyError, TypeError):
        return None


def train_network(
    images: ResidentImages,
    num_labels: int,
    steps: int = STEPS,
    seed: int = SEED,
    advance: Callable[[int], None] = lambda count: None,
) -> JudgeNetwork:
    """A network that tells labelled images apart: AdamW with one cycle of the learning rate.

    Args:
        images: with labels; it is trained and left on their device.
        num_labels: more than the largest label.
        steps: of 256 images.
        seed: of the first weights, the order of the images and their shifts; the global random
            generators are left alone.
        advance: told the number of images done.

    Returns:
        In evaluation mode.
    """
    channels, height, width = images.images.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = JudgeNetwork((channels, height, width), num_labels).to(images.device)
    optimizer = torch.optim.AdamW(
        network.parameters(), LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.02, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.25
    )
    with torch.enable_grad():
        for inputs, labels in _training_batches(images, steps, seed):
            loss = functional.cross_entropy(network(inputs), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            advance(BATCH)
    return network.eval()


def _training_batches(
    images: ResidentImages, steps: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shrunk images ``[B, C, h, w]`` and labels ``[B]`` of each step, shifted group by group."""
    generator = torch.Generator().manual_seed(seed)
    size = len(images.images)
    passes = [torch.randperm(size, generator=generator) for _ in range(-(-steps * BATCH // size))]
    for rows in torch.split(torch.cat(passes)[: steps * BATCH], BATCH):
        groups = [_gather(images, group) for group in torch.split(rows, GROUP)]
        inputs = torch.cat([_shift(group, generator) for group, _ in groups])
        yield inputs, torch.cat([labels for _, labels in groups])


def _gather(images: ResidentImages, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Shrunk images ``[B, C, h, w]`` in [0, 1] and labels ``[B]`` of the rows."""
    grey, labels = images.gather(rows)
    assert labels is not None
    return shrink(to_input(grey, "none", None)), labels


def _shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images moved by up to a fourteenth of their sides, all alike; edges are repeated."""
    height, width = images.shape[2:]
    down, right = height // 14, width // 14
    top = int(torch.randint(2 * down + 1, (), generator=generator))
    left = int(torch.randint(2 * right + 1, (), generator=generator))
    padded = functional.pad(images, (right, right, down, down), mode="replicate")
    return padded[:, :, top : top + height, left : left + width]


def _test(judge: Judge, data: ImageData) -> tuple[float, dict[str, float]]:
    """Fraction of the real test images labelled rightly, in all and by name of the label."""
    images = ResidentImages.from_split(data.test).to(judge.model.head.weight.device)
    right = torch.zeros(data.num_labels, dtype=torch.float64)
    total = torch.zeros(data.num_labels, dtype=torch.float64)
    for rows in torch.split(torch.arange(len(images.images)), BLOCK):
        inputs, labels = _gather(images, rows)
        hits = (judge.classify(inputs) == labels).double().cpu()
        right.index_add_(0, labels.cpu(), hits)
        total.index_add_(0, labels.cpu(), torch.ones_like(hits))
    recall = {
        name: (hits / count).item()
        for name, hits, count in zip(data.label_names, right, total, strict=True)
        if count
    }
    return (right.sum() / total.sum()).item(), recall


def _unwatched(count: int) -> None:
    """Progress that nobody asked for."""
