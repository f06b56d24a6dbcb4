"""Latents at every place of images, by a model's weights.

Legend: B batch, C channels of an image, Z of the latents, H height, W width, A attributes.
"""

from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.errors import DistvaeError
from distvae.latents.spatial import Spatial
from distvae.tools.batches import batches, context_of
from distvae.tools.examples import Examples, Part
from distvae.tools.maps import Advance
from distvae.tools.tiling import Floats
from distvae.tools.trained import Trained


class WeighedMaps:
    """Of a model in evaluation mode, on its device."""

    def __init__(self, trained: Trained, what: str) -> None:
        """Take a model.

        Args:
            trained: the model.
            what: is asked of it, for a message.

        Raises:
            DistvaeError: its latents do not lie at every place.
        """
        model = trained.model
        if not isinstance(model.latents, Spatial):
            raise DistvaeError(
                f"{what} is for latents at every place",
                f"those of this model are of --latents {model.config.latent_space}",
                "Train one by --latents spatial.",
            )
        self._trained, self._model = trained, model
        self.channels, side, *_ = model.latents.levels[0].shape
        self.factor = model.domain.shape[1] // side
        self.encoder_reach, self.decoder_reach = model.encoder.reach, model.decoder.reach

    def parts(
        self, examples: Examples, seed: int, size: int, start: int, advance: Advance
    ) -> Iterator[Part]:
        """Unknown labels are those under which the bound is largest."""
        found = batches(self._trained, examples, seed, size=size, start=start, advance=advance)
        return (seen.part for seen in found)

    @torch.no_grad()
    def encode(self, stored: NDArray[Any], given: Values | None) -> tuple[Floats, Floats]:
        """The posterior in closed form."""
        levels = torch.from_numpy(stored).to(self._model.device)
        inputs = self._model.domain.to_expected_input(levels)
        (found,) = self._model.posteriors(inputs, context_of(self._model, given, len(stored)))
        mean, log_variance = (
            part.float().cpu().numpy() for part in (found.mean, found.log_variance)
        )
        return mean, log_variance

    @torch.no_grad()
    def decode(self, latents: Floats, given: Values | None) -> Floats:
        """The likelihood's mean."""
        z = torch.from_numpy(latents).to(self._model.device)
        mean = self._model.render((z,), context_of(self._model, given, len(latents)))
        found: Floats = mean.float().cpu().numpy()
        return found

    def to_stored(self, values: Floats) -> NDArray[Any]:
        """Rounded to levels."""
        stored: NDArray[Any] = self._model.domain.to_stored(torch.from_numpy(values)).numpy()
        return stored
