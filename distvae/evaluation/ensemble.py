"""Five judges of one data set, whose differences say how far each can be trusted.

Legend: N images, C channels, H height, W width, J judges, L labels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distvae.blocks import in_blocks
from distvae.data.batches import ResidentImages
from distvae.data.examples import domain_of_data
from distvae.data.identity import Progress
from distvae.data.store import ImageData
from distvae.draws.philox import CHANCE
from distvae.errors import DistvaeError
from distvae.evaluation.judge import BLOCK, Judge, JudgeNetwork
from distvae.evaluation.judge_stack import train_stacked
from distvae.evaluation.judge_training import gather, train_networks
from distvae.evaluation.passes import gathered, unwatched
from distvae.evaluation.uncertainty import Estimate, share
from distvae.files import new_folder, write_json
from distvae.platform import processor
from distvae.reading import read_json
from distvae.runs import CONFIG, WEIGHTS
from distvae.tensors import load_weights, write_tensors

VERSION = 2
"""Raised with every change of architecture or training, so that old caches are left alone."""
JUDGES = 5
BATCH = 128
LEAST_STEPS, STEPS = 150, 500
PASSES = 20
"""Over the training images, as far as the steps allow."""
MNIST = Path(__file__).with_name("mnist")
"""Judges of the bundled MNIST: what made them says tests/benchmarks/mnist_judges.py."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Judges of one data set, alike but for the seed, and what they say of real images."""

    members: tuple[Judge, ...]
    recall: dict[str, Estimate]
    """The share of the real test images of a label that are labelled rightly, by name of the label;
    labels without test images are left out."""
    test_accuracy: Estimate
    """The same of all test images."""
    path: Path
    """The folder that holds it."""

    @property
    def device(self) -> torch.device:
        """Where the judges compute."""
        return self.members[0].model.head.weight.device

    def classify(self, images: Tensor) -> Tensor:
        """What each judge takes images ``[N, C, H, W]`` in [0, 1] for, int64 ``[N, J]``."""
        return torch.stack([judge.classify(images) for judge in self.members], 1)


def get_judges(
    data: ImageData,
    cache_dir: Path,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Ensemble:
    """The judges of a data set, trained on its training split by the first call, then only loaded.

    Each takes at most 500 steps of 128 images, shrunk to at most 32 x 32 pixels, whatever the data:
    a pass over 60 000 images, twenty over fewer, and 150 steps at least. On a CPU each is trained
    by one thread, so that the number of threads does not matter; a GPU trains all at once. What
    else decides the bits, processor or card and version of torch, is part of the folder's name. The
    bundled MNIST is judged by judges that were trained for longer and come with the package. A
    damaged cache is trained anew.

    Args:
        data: images of at least two labels.
        cache_dir: the judges live in a folder here, named after the data's fingerprint.
        device: where they are trained and left.
        progress: called with a description and a number of images; its context gives a function
            that is told how many more are done.

    Raises:
        DistvaeError: the folder cannot be written.
    """
    device = torch.device(device)
    if result := known_judges(data, cache_dir, device):
        return result
    identity = identity_of(data, device)
    path = _path(data, cache_dir, identity)
    return train_ensemble(path, data, identity, range(JUDGES), device, "the judges", progress)


def train_ensemble(
    path: Path,
    data: ImageData,
    identity: Mapping[str, object],
    seeds: Sequence[int],
    device: torch.device,
    name: str,
    progress: Progress | None = None,
) -> Ensemble:
    """Train classifiers and keep them in a folder.

    Args:
        path: of the folder; what is there is replaced.
        data: images of at least two labels.
        identity: what they are made of and by, which is looked at where they are loaded.
        seeds: of each.
        device: where they are trained and left.
        name: what they are called while they are trained.
        progress: as :func:`get_judges` takes it.

    Raises:
        DistvaeError: the folder cannot be written.
    """
    steps = steps_for(data)
    watch = progress(f"training {name}", len(seeds) * steps * BATCH) if progress else None
    try:
        with new_folder(path) as folder:
            images = ResidentImages.from_split(data.train).to(device)
            train = train_networks if device.type == "cpu" else train_stacked
            domain, labels = domain_of_data(data), data.num_labels
            with watch or nullcontext(unwatched) as advance:
                networks = train(images, domain, labels, steps, BATCH, seeds, advance)
            write_ensemble(folder, networks, data, identity)
    except OSError as error:
        raise DistvaeError(
            f"cannot write {name} to {path}",
            f"{type(error).__name__}: {error}",
            "Choose another folder by --cache-dir.",
        ) from error
    trained = load_ensemble(path, identity, device)
    assert trained is not None
    return trained


def known_judges(data: ImageData, cache_dir: Path, device: torch.device) -> Ensemble | None:
    """Those of :func:`get_judges`, where none need be trained; else None."""
    identity = identity_of(data, device)
    kept = _path(data, cache_dir, identity)
    return _shipped(data, device) or load_ensemble(kept, identity, device)


def _path(data: ImageData, cache_dir: Path, identity: Mapping[str, object]) -> Path:
    return cache_dir / folder_name("judges", data, identity)


def folder_name(kind: str, data: ImageData, identity: Mapping[str, object]) -> str:
    """Under which classifiers of a kind are kept."""
    digest = hashlib.sha256(str(identity).encode()).hexdigest()
    return f"{kind}-v{VERSION}-{data.fingerprint}-{digest[:8]}"


def steps_for(data: ImageData) -> int:
    """Of ``BATCH`` images each, in which a judge is trained."""
    return min(STEPS, max(LEAST_STEPS, PASSES * len(data.train) // BATCH))


def write_ensemble(
    folder: Path,
    networks: Sequence[JudgeNetwork],
    data: ImageData,
    identity: Mapping[str, object],
) -> None:
    """Write networks, in the precision that they have, and what they say of the test images.

    Raises:
        OSError: there is no room, or no way to write.
    """
    whole = nn.ModuleList(networks)
    dtype = next(whole.parameters()).dtype
    write_tensors(folder / WEIGHTS, whole.state_dict())
    hits, labels = _test([Judge(network.float()) for network in networks], data)
    recall = {
        name: share(hits[labels == label])
        for label, name in enumerate(data.label_names)
        if (labels == label).any()
    }
    facts = {
        **identity,
        "judges": len(networks),
        "dtype": str(dtype).removeprefix("torch."),
        "test_accuracy": share(hits)._asdict(),
        "recall": {name: found._asdict() for name, found in recall.items()},
    }
    write_json(folder / CONFIG, facts)


def load_ensemble(
    path: Path, identity: Mapping[str, object], device: torch.device | str
) -> Ensemble | None:
    """The judges in a folder, or None where there are none, they are damaged or of other data."""
    try:
        facts = read_json(path / CONFIG)
        if any(facts[name] != value for name, value in identity.items()):
            return None
        shape = tuple(map(int, facts["image_shape"]))
        count, labels = facts["judges"], len(facts["label_names"])
        with torch.random.fork_rng(devices=[]):
            networks = [JudgeNetwork(shape, labels) for _ in range(count)]
        whole = nn.ModuleList(networks).to(getattr(torch, facts["dtype"]))
        load_weights(whole, path / WEIGHTS)
        whole.eval().float().to(device)
        recall = {name: _estimate(figure) for name, figure in facts["recall"].items()}
        accuracy = _estimate(facts["test_accuracy"])
    except (DistvaeError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return Ensemble(tuple(Judge(network) for network in networks), recall, accuracy, path)


def contents(data: ImageData) -> dict[str, object]:
    """What shipped judges must have been tested on: the test split of their data, to the byte."""
    assert data.test.labels is not None
    digest = hashlib.sha256(np.ascontiguousarray(data.test.images).data)
    digest.update(np.ascontiguousarray(data.test.labels.astype("<i8")).data)
    return {**_shape(data), "test_sha256": digest.hexdigest()}


def _shipped(data: ImageData, device: torch.device | str) -> Ensemble | None:
    """The judges that come with the package, where they are of this data."""
    try:
        facts = read_json(MNIST / CONFIG)
    except DistvaeError:
        return None
    if any(facts[name] != value for name, value in _shape(data).items()):
        return None
    return load_ensemble(MNIST, contents(data), device)


def _shape(data: ImageData) -> dict[str, object]:
    return {
        "version": VERSION,
        "image_shape": list(data.shape),
        "label_names": list(data.label_names),
        "test_images": len(data.test),
    }


def identity_of(data: ImageData, device: torch.device) -> dict[str, object]:
    """What cached judges must have been made of and by."""
    made_by = [processor(), torch.backends.cpu.get_cpu_capability(), torch.__version__]
    if device.type == "cuda":
        made_by = [torch.cuda.get_device_name(device), torch.__version__]
    return {
        **_shape(data),
        "fingerprint": data.fingerprint,
        "made_by": made_by,
        "chance": CHANCE,
    }


def _estimate(told: Mapping[str, Any]) -> Estimate:
    return Estimate(tuple(map(float, told["values"])), float(told["sampling"]))


def _test(judges: Sequence[Judge], data: ImageData) -> tuple[Tensor, Tensor]:
    """Whether a test image is labelled rightly by each judge ``[N, J]``, and its label ``[N]``."""
    device = judges[0].model.head.weight.device
    test, domain = ResidentImages.from_split(data.test).to(device), domain_of_data(data)
    assert test.labels is not None
    rows = (test.labels >= 0).nonzero().squeeze(1)

    def found(part: slice) -> tuple[Tensor, Tensor]:
        inputs, labels = gather(test, domain, rows[part])
        guesses = [judge.classify(inputs) for judge in judges]
        return torch.stack(guesses, 1) == labels[:, None], labels

    hits, own = gathered(in_blocks(found, range(len(rows)), BLOCK, device))
    return hits, own
