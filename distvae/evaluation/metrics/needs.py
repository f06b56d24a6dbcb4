"""What several metrics need of a model and its data, told before the first is measured."""

from collections.abc import Callable

import numpy as np

from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.models import VAE

Requirement = Callable[[str, VAE, ImageData], None]
"""Takes the name of the metric, and raises DistvaeError where something is not there."""


def pictures(name: str, model: VAE, data: ImageData) -> None:
    """Examples to look at."""
    if not data.has("pictures"):
        raise DistvaeError(
            f"--metrics {name} needs images, and {data.source} holds {data.domain}",
            "it looks at pictures",
            f"Leave {name} out.",
        )


def judged(name: str, model: VAE, data: ImageData) -> None:
    """Examples that judges look at: images or rows."""
    if len(model.domain.shape) > 3:
        raise DistvaeError(
            f"--metrics {name} needs judges, and {data.source} holds {data.domain}",
            "judges look at images and rows of numbers",
            f"Leave {name} out.",
        )


def drawn_latents(name: str, model: VAE, data: ImageData) -> None:
    """Latents that are drawn, each with a density."""
    if any(level.codes for level in model.latents.levels):
        raise DistvaeError(
            f"--metrics {name} weighs draws of the latents, and those of this model are codes",
            "an example has one code and no others, so importance sampling finds the elbo again",
            f"Leave {name} out: elbo is the bound, nats of the prior plus nats of the decoder.",
        )


def conditional(name: str, model: VAE, data: ImageData) -> None:
    """A model that knows labels."""
    if not model.conditional:
        raise DistvaeError(
            f"--metrics {name} needs a conditional model and this one knows no labels",
            "it was trained with --model vae",
            f"Leave {name} out, or train with --model cvae on data with labels.",
        )


def one_label(name: str, model: VAE, data: ImageData) -> None:
    """A model that is given one label."""
    if not model.label_names:
        given = ", ".join(each.name for each in model.attributes)
        raise DistvaeError(
            f"--metrics {name} sums over the labels of one attribute",
            f"this model is given {given}",
            f"Leave {name} out.",
        )


def two_labels(name: str, model: VAE, data: ImageData) -> None:
    """Images of two labels at least."""
    labels = data.train.labels
    seen = 0 if labels is None else len(np.unique(labels[labels >= 0]))
    if seen < 2:
        raise DistvaeError(
            f"--metrics {name} needs {data.examples} of at least two labels, and the training "
            f"split of {data.source} has {seen or 'none'}",
            "it rests on telling labels apart",
            f"Leave {name} out, or name the labels by --label-column when you train.",
        )
