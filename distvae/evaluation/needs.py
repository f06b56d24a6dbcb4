"""What each metric needs of a model and its data, told before the first is measured."""

from collections.abc import Callable

import numpy as np

from distvae.data.store import ImageData
from distvae.domains.images import WHITE
from distvae.errors import DistvaeError
from distvae.evaluation.distances import LEAST
from distvae.evaluation.elbo import is_cross_entropy
from distvae.evaluation.features import inception_weights
from distvae.models import VAE

Requirement = Callable[[str, VAE, ImageData], None]
LOOKED_AT = 1000
"""Test images in which grey levels are looked for, at most."""


def _conditional(name: str, model: VAE, data: ImageData) -> None:
    if not model.conditional:
        raise DistvaeError(
            f"--metrics {name} needs a conditional model and this one knows no labels",
            "it was trained with --model vae",
            f"Leave {name} out, or train with --model cvae on data with labels.",
        )


def _two_labels(name: str, model: VAE, data: ImageData) -> None:
    labels = data.train.labels
    seen = 0 if labels is None else len(np.unique(labels[labels >= 0]))
    if seen < 2:
        raise DistvaeError(
            f"--metrics {name} needs images of at least two labels, and the training images of "
            f"{data.source} have {seen or 'none'}",
            "it rests on telling labels apart",
            f"Leave {name} out, or name the labels by --label-column when you train.",
        )


def _features(name: str, model: VAE, data: ImageData) -> None:
    if data.num_labels < 2 and not inception_weights():
        raise DistvaeError(
            f"--metrics {name} needs features of images, and {data.source} has "
            f"{'no labels' if not data.num_labels else 'a single label'}",
            "features are those of classifiers trained on labelled data, or of Inception-v3 where "
            "its weights and the package torch_fidelity are on this machine",
            f"Leave {name} out, or name the labels by --label-column when you train.",
        )


def _enough_images(name: str, model: VAE, data: ImageData) -> None:
    if len(data.test) < LEAST:
        raise DistvaeError(
            f"{len(data.test)} test images are too few to take distances between",
            f"expected at least {LEAST}",
            "Choose a larger --split-test.",
        )


def _factors(name: str, model: VAE, data: ImageData) -> None:
    if not data.factors:
        raise DistvaeError(
            f"--metrics {name} needs data whose factors are known, and {data.source} is none",
            "the scores hold latents against what the images were drawn from",
            f"Leave {name} out, or train on --data sprites or on dSprites' own .npz.",
        )


def _a_likelihood(name: str, model: VAE, data: ImageData) -> None:
    if not is_cross_entropy(model):
        return
    images = data.test.images[:: max(1, len(data.test) // LOOKED_AT)]
    if ((images > 0) & (images < WHITE)).any():
        raise DistvaeError(
            f"--metrics {name} needs a likelihood of the images, and {CROSS_ENTROPY}",
            "expected black and white pixels, or a likelihood of grey levels",
            f"Leave {name} out, or train with --binarize dynamic or another --likelihood.",
        )


CROSS_ENTROPY = (
    "--likelihood bernoulli with --binarize none takes grey levels as probabilities, a "
    "cross-entropy that is no likelihood of them"
)
REAL = "a density of real numbers is none of levels, which bits count"
OF_ANY = ("elbo", "likelihood", "marginal", "latents")
"""Metrics of examples of any kind; the others look at pictures."""
NEEDS: dict[str, tuple[Requirement, ...]] = {
    "likelihood": (_a_likelihood,),
    "marginal": (_conditional, _a_likelihood),
    "factors": (_factors,),
    "judge": (_conditional, _two_labels),
    "distances": (_features, _enough_images),
    "downstream": (_two_labels,),
    "augmentation": (_conditional, _two_labels),
}
"""By metric; what is not here needs nothing."""


def check(name: str, model: VAE, data: ImageData) -> None:
    """Refuse a metric before the first is measured.

    Raises:
        DistvaeError: it needs something of the model or its data that is not there.
    """
    if data.columns and name not in OF_ANY:
        raise DistvaeError(
            f"--metrics {name} needs images, and {data.source} holds vectors",
            "it looks at pictures",
            f"Leave {name} out, or take some of {', '.join(OF_ANY)}.",
        )
    for requirement in NEEDS.get(name, ()):
        requirement(name, model, data)
