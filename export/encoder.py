"""Posteriors from an exported encoder, without PyTorch. Needs numpy and onnxruntime only."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.export.inputs import of_examples
from distvae.export.manifest import BOOK, CODES, ENCODER, NOISE
from distvae.export.session import Opened
from distvae.labels import Labels


class Posterior(NamedTuple):
    """q(z|x) of every image, a Gaussian; ``S`` are the axes of a level, most often one.

    Of a model trained with a flow on top: the code that the flow makes of the Gaussian's mean, and
    the Gaussian's log-variance.
    """

    mean: NDArray[np.float32]
    """``[N, *S]``."""
    log_variance: NDArray[np.float32]
    """``[N, *S]``."""


class Encoder(Opened):
    """Encodes images with ``encoder.onnx``.

    A file is opened as :class:`distvae.export.session.Opened` says.
    """

    kind = ENCODER

    def encode(self, images: NDArray[Any], labels: Labels | None = None) -> Posterior:
        """Mean and log-variance of the latents of images, where they are of one level.

        Args:
            images: as the domain stores them ``[N, *S]``: uint8 ``[N, C, H, W]``, 0 to 255, or
                rows of a table ``[N, F]`` in the units of the data.
            labels: one label for all or one for each image, by name or number; None without. Of
                several attributes a mapping from their names, in which None is not known.

        Raises:
            DistvaeError: the images are of another type or shape, a label is missing or unknown,
                or the latents have several levels.
        """
        levels = self.manifest.posteriors
        if len(levels) > 1:
            raise DistvaeError(
                f"the latents of this model have the levels {', '.join(levels)}",
                "encode gives the posterior of one",
                "Take encode_levels, which gives that of each.",
            )
        (posterior,) = self.encode_levels(images, labels).values()
        return posterior

    def encode_levels(
        self, images: NDArray[Any], labels: Labels | None = None
    ) -> dict[str, Posterior]:
        """The posterior of each level by its name, given the means of the levels before.

        Takes and raises what :meth:`encode` does; a model of one level has one entry.
        """
        found = self._run(images, labels)
        return {
            level: Posterior(*(found[name] for name in parts))
            for level, parts in self.manifest.posteriors.items()
        }

    def noise(self, images: NDArray[Any], labels: Labels | None = None) -> NDArray[np.float32]:
        """The noise that the decoder turns into the means of the posteriors of images.

        With it :meth:`Sampler.decode` gives the reconstruction, and :meth:`Sampler.interpolate` the
        way between two images. Of a prior that is a mixture it is that of the likeliest component.

        Args:
            images: as :meth:`encode` takes them ``[N, *S]``.
            labels: the same.

        Returns:
            ``[N, noise_dim]``.

        Raises:
            DistvaeError: as :meth:`encode`, or the file does not tell the noise.
        """
        if not self.manifest.gives_noise:
            raise DistvaeError(
                f"{self._graph.path} does not give the noise of an image",
                "it is a smaller file, or one of an earlier version or of latents that no noise is "
                "known of",
                "Take encoder.onnx of a new export: distvae export --onnx",
            )
        return self._run(images, labels)[NOISE]

    def codes(self, images: NDArray[Any], labels: Labels | None = None) -> NDArray[np.int64]:
        """The codes of images, of a model whose latents are codes.

        Takes what :meth:`encode` does.

        Returns:
            ``[N, T]``, or ``[N, H, W]`` of a map: numbers of rows of :attr:`book`.

        Raises:
            DistvaeError: as :meth:`encode`, or the file does not tell codes.
        """
        self._require_codes()
        return self._run(images, labels)[CODES]

    @property
    def book(self) -> NDArray[np.float32]:
        """What each code stands for ``[C, D]``.

        Raises:
            DistvaeError: the file does not tell codes.
        """
        self._require_codes()
        name, shape, dtype = self.manifest.example
        example = {name: np.zeros((1, *shape), dtype)}
        for attribute, kind in self.manifest.given.items():
            example[attribute] = np.zeros(1, kind)
        book: NDArray[np.float32]
        (book,) = self._graph.session.run([BOOK], example)
        return book

    def _require_codes(self) -> None:
        if self.manifest.codes is None:
            raise DistvaeError(
                f"{self._graph.path} gives no codes",
                "the latents of this model are no codes, or the file is of an earlier version",
                "Of a model of --latent-space fsq or vq export anew: distvae export --onnx",
            )

    def _run(self, images: NDArray[Any], labels: Labels | None) -> dict[str, NDArray[Any]]:
        """All outputs by name."""
        inputs = of_examples(images, labels, self.manifest)
        found = self._graph.run(inputs, len(images))
        return dict(zip(self._graph.outputs, found, strict=True))
