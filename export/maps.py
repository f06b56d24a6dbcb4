"""Latents at every place of images of any size, from exported files. numpy and onnxruntime only.

Legend: N images, C channels of an image, Z of the latents, H height and W width of the latents, F
the factor by which they are smaller than the image. Volumes have a depth before.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.export.encoder import Posterior
from distvae.export.inputs import checked_rows, given_of_rows
from distvae.export.manifest import (
    LATENT_DECODER,
    LATENT_ENCODER,
    LATENTS,
    POSTERIOR,
    AnySizeRecord,
    Manifest,
)
from distvae.export.session import Opened, read_manifest
from distvae.labels import Labels
from distvae.text import markdown


def free_of(manifest: Manifest) -> AnySizeRecord:
    """How the latents of a graph that takes any size lie."""
    assert manifest.any_size is not None
    return manifest.any_size


class MapEncoder(Opened):
    """Encodes images of any size with ``latent_encoder.onnx``.

    A file is opened as :class:`distvae.export.session.Opened` says.
    """

    kind = LATENT_ENCODER

    def encode(self, images: NDArray[Any], labels: Labels | None = None) -> Posterior:
        """Mean and log-variance at every place ``[N, Z, H, W]``.

        Args:
            images: as the domain stores them ``[N, C, F * H, F * W]``, such as uint8, 0 to 255.
            labels: one label for all or one for each image, by name or number; None without.

        Raises:
            DistvaeError: the images are of another type, their channels or sides do not fit, or a
                label is missing or unknown.
        """
        name, (channels, *own), dtype = self.manifest.example
        rows = checked_rows(images, name, np.dtype(dtype).type, (channels, *(0 for _ in own)))
        factor = free_of(self.manifest).factor
        if any(side % factor for side in images.shape[2:]):
            raise DistvaeError(
                f"{name} has the sides {' x '.join(map(str, images.shape[2:]))}",
                f"expected multiples of {factor}",
                "Cut or pad it.",
            )
        given = given_of_rows(labels, len(rows), self.manifest)
        mean, log_variance = self._graph.session.run([*POSTERIOR], {name: rows, **given})
        return Posterior(mean, log_variance)


class MapDecoder(Opened):
    """Draws images of any size of their latents with ``latent_decoder.onnx``.

    A file is opened as :class:`distvae.export.session.Opened` says.
    """

    kind = LATENT_DECODER

    def decode(self, latents: NDArray[np.float32], labels: Labels | None = None) -> NDArray[Any]:
        """Images as the domain stores them ``[N, C, F * H, F * W]``.

        Args:
            latents: float32 ``[N, Z, H, W]``.
            labels: as :meth:`MapEncoder.encode` takes them.

        Raises:
            DistvaeError: the latents are of another type or shape or not finite, or a label is
                missing or unknown.
        """
        maps, *own = self.manifest.levels[0].shape
        rows = checked_rows(latents, LATENTS, np.float32, (maps, *(0 for _ in own)))
        given = given_of_rows(labels, len(rows), self.manifest)
        (images,) = self._graph.session.run([self.manifest.example.name], {LATENTS: rows, **given})
        found: NDArray[Any] = images
        return found


def readme_lines(folder: Path) -> str:
    """What a README says of both files: what they take and give; empty where they are not there."""
    path = folder / f"{LATENT_DECODER}.onnx"
    if not path.is_file():
        return ""
    manifest = read_manifest(path)
    (name, (channels, *own), dtype), free = manifest.example, free_of(manifest)
    sides = ("slices", "rows", "columns")[-len(own) :]
    maps = ", ".join(map(str, ("batch", manifest.levels[0].shape[0], *sides)))
    image = ", ".join(map(str, ("batch", channels, *(f"{free.factor} * {it}" for it in sides))))
    given = ", ".join(f"`{markdown(each)}`" for each in manifest.given)
    return (
        f"| `{LATENT_DECODER}.onnx`, `{LATENT_ENCODER}.onnx` | | |\n| --- | --- | --- |\n"
        f"| input `{LATENTS}`{f', with {given}' if given else ''} | float32 `[{maps}]` | at every "
        f"place, of any {' and '.join(sides)} |\n"
        f"| output `{name}` | {dtype} `[{image}]` | and the input of the encoder |\n"
        f"| outputs of the encoder, `mean` and `log_variance` | float32 `[{maps}]` | the posterior "
        "|\n\nBoth were run beside the model at several sizes, up to 1e-4. `distvae latents .` and "
        "`distvae decode .` work with them on large images by tiles, without PyTorch.\n\n"
    )
