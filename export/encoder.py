"""Posteriors from an exported encoder, without PyTorch. Needs numpy and onnxruntime only."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.export.inputs import checked_rows, given_of_rows
from distvae.export.manifest import ENCODER
from distvae.export.session import Opened
from distvae.labels import Labels


class Posterior(NamedTuple):
    """q(z|x) of every image, a Gaussian.

    Of a model trained with a flow on top: the code that the flow makes of the Gaussian's mean, and
    the Gaussian's log-variance.
    """

    mean: NDArray[np.float32]
    """``[N, latent_dim]``."""
    log_variance: NDArray[np.float32]
    """``[N, latent_dim]``."""


class Encoder(Opened):
    """Encodes images with ``encoder.onnx``.

    A file is opened as :class:`distvae.export.session.Opened` says.
    """

    kind = ENCODER

    def encode(self, images: NDArray[Any], labels: Labels | None = None) -> Posterior:
        """Mean and log-variance of the latents of images.

        Args:
            images: uint8 ``[N, C, H, W]``, 0 to 255; or vectors float32 ``[N, F]`` in the units of
                the data.
            labels: one label for all or one for each image, by name or number; None without. Of
                several attributes a mapping from their names, in which None is not known.

        Raises:
            DistvaeError: the images are of another type or shape, or a label is missing or
                unknown.
        """
        name, shape, dtype = self.manifest.example
        many = "images" if self.manifest.image_shape else name
        inputs = {name: checked_rows(images, many, np.dtype(dtype).type, shape)}
        inputs |= given_of_rows(labels, len(images), self.manifest)
        return Posterior(*self._graph.run(inputs, len(images)))
