"""Latents at every place of images, by exported files and without torch.

Legend: B batch, C channels of an image, Z of the latents, H height, W width, A attributes.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.export.manifest import LATENT_DECODER, LATENT_ENCODER, Manifest
from distvae.export.maps import MapDecoder, MapEncoder, free_of
from distvae.export.session import read_manifest
from distvae.tools.encoding import labels_of
from distvae.tools.examples import Examples, Part
from distvae.tools.maps import Advance
from distvae.tools.tiling import Floats
from distvae.tools.trained import Trained


class ExportedMaps:
    """Of latent_encoder.onnx and latent_decoder.onnx, each opened when it is needed."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained

    @functools.cached_property
    def _encoder(self) -> MapEncoder:
        return MapEncoder(self._trained.file(f"{LATENT_ENCODER}.onnx"))

    @functools.cached_property
    def _decoder(self) -> MapDecoder:
        return MapDecoder(self._trained.file(f"{LATENT_DECODER}.onnx"))

    @functools.cached_property
    def _manifest(self) -> Manifest:
        assert self._trained.onnx is not None
        return read_manifest(self._trained.onnx)

    @property
    def factor(self) -> int:
        """Pixels of a place of the latents."""
        return free_of(self._manifest).factor

    @property
    def channels(self) -> int:
        """Z."""
        return self._manifest.levels[0].shape[0]

    @property
    def encoder_reach(self) -> int | None:
        """As the encoder's file has it."""
        return free_of(self._encoder.manifest).reach

    @property
    def decoder_reach(self) -> int | None:
        """As the decoder's file has it."""
        return free_of(self._decoder.manifest).reach

    def parts(
        self, examples: Examples, seed: int, size: int, start: int, advance: Advance
    ) -> Iterator[Part]:
        """Unknown labels were refused."""
        for part in examples.parts(size, start):
            if len(part.rows):
                yield part
            advance(part.asked.stop - part.asked.start)

    def encode(self, stored: NDArray[Any], given: Values | None) -> tuple[Floats, Floats]:
        """By latent_encoder.onnx."""
        return self._encoder.encode(stored, labels_of(self._trained, given))

    def decode(self, latents: Floats, given: Values | None) -> Floats:
        """By latent_decoder.onnx, whose levels are rounded."""
        stored = self._decoder.decode(latents, labels_of(self._trained, given))
        return stored.astype(np.float32)

    def to_stored(self, values: Floats) -> NDArray[Any]:
        """Rounded again, where tiles were blended."""
        return np.rint(values).astype(self._trained.domain.dtype)
