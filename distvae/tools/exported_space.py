"""The space in which a prior is even, by exported files and without torch: that of the noise.

Legend: N examples, R rows, D coordinates, S the axes of an example, A attributes.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.domains import Images
from distvae.export.encoder import Encoder
from distvae.export.sampler import Sampler
from distvae.terminal import progress_bar
from distvae.tools.encoding import labels_of
from distvae.tools.examples import Examples
from distvae.tools.space import Located, Made, Points, Rates, Space, normal_quantiles, some
from distvae.tools.trained import DECODER, ENCODER, Trained


class ExportedSpace(Space):
    """The noise that decoder.onnx takes and encoder.onnx finds for an image.

    Raises:
        DistvaeError: there is no decoder.onnx, or it cannot be used.
    """

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._decoder = Sampler(trained.file(DECODER))
        manifest = self._decoder.manifest
        self.told = "the noise that the decoder takes"
        if manifest.prior != "normal":
            self.told = f"the noise that the prior ({manifest.prior}) turns into latents"
        choosing = max(0, manifest.noise_dim - manifest.latent_dim)
        numbers = [str(place) for place in range(manifest.noise_dim - choosing)]
        if len(manifest.levels) > 1:
            sizes = ((level.name, math.prod(level.shape)) for level in manifest.levels)
            numbers = [f"{name}.{place}" for name, size in sizes for place in range(size)]
        self.names = (*(f"{place} of the choice" for place in range(choosing)), *numbers)

    @property
    def noise_dim(self) -> int:
        """What the decoder takes."""
        return self._decoder.manifest.noise_dim

    @functools.cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self._trained.file(ENCODER))

    def located(self, examples: Examples, seed: int = 0) -> Located:
        """By encoder.onnx."""
        parts = [part for part in examples.parts() if len(part.rows)]
        examples.refuse_none()
        points = [
            self._encoder.noise(part.stored, labels_of(self._trained, part.given)) for part in parts
        ]
        given = [part.given for part in parts if part.given is not None]
        return Located(
            np.concatenate(points).astype(np.float64),
            np.concatenate(given) if given else None,
            np.concatenate([part.stored for part in parts]),
            np.concatenate([part.rows for part in parts]),
        )

    def of_noise(self, noise: NDArray[np.float32], given: Values | None) -> Points:
        """The noise itself."""
        return noise.astype(np.float64)

    def made(self, points: Points, given: Values | None) -> Made:
        """By decoder.onnx, whose examples are rounded."""
        many = None if given is None else np.broadcast_to(given, (len(points), given.shape[1]))
        noise = np.ascontiguousarray(points, np.float32)
        stored = self._decoder.decode(noise, labels_of(self._trained, many))
        domain = self._trained.domain
        unit = float(domain.white) if isinstance(domain, Images) else domain.scale
        return Made(stored, (stored / unit).astype(np.float32))

    def quantiles(self, shares: Sequence[float], given: Values | None) -> Points:
        """Those of the standard normal."""
        return np.repeat(normal_quantiles(shares)[:, None], len(self.names), 1)

    def along(
        self, axis: NDArray[np.float64], shares: Sequence[float], given: Values | None
    ) -> NDArray[np.float64]:
        """Those of the standard normal."""
        return normal_quantiles(shares)

    def rates(self, examples: Examples) -> Rates:
        """In closed form where the noise is the latent itself; else they are not known."""
        chosen, sums, means, plain = some(examples), [], [], self._is_plain
        with progress_bar("encoding", len(chosen)) as advance:
            for part in chosen.parts():
                if len(part.rows):
                    labels = labels_of(self._trained, part.given)
                    if plain:
                        mean, log_variance = self._encoder.encode(part.stored, labels)
                        variance = np.exp(log_variance.astype(np.float64))
                        kl = 0.5 * (variance + np.square(mean) - 1.0 - log_variance)
                        sums.append(kl.sum(0))
                        means.append(mean)
                    else:
                        means.append(self._encoder.noise(part.stored, labels))
                advance(part.asked.stop - part.asked.start)
        chosen.refuse_none()
        whole = np.concatenate(means).astype(np.float64)
        return Rates(np.sum(sums, axis=0) / len(whole) if plain else None, whole, plain)

    @property
    def _is_plain(self) -> bool:
        """Whether posteriors are Gaussians of one vector of latents with the prior N(0, I)."""
        manifest = self._encoder.manifest
        said = [manifest.settings.get(name, "gaussian") for name in ("latent_space", "posterior")]
        gaussian = manifest.prior == "normal" and {*said} == {"gaussian"}
        return gaussian and not manifest.levels and manifest.noise_dim == manifest.latent_dim
