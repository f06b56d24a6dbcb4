"""VAE and ConditionalVAE: what callers use of a model. What they give it is checked.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub import ModelHubMixin
from torch import Tensor

from distvae.attribute_values import Given
from distvae.attributes import Attribute
from distvae.checks import (
    asked_images,
    checked_conditions,
    checked_latents,
    checked_noise,
    given_images,
)
from distvae.composition import Composition, Terms
from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.domains import Domain
from distvae.drawn import drawn
from distvae.errors import DistvaeError
from distvae.files import write_json
from distvae.hub import model_folder
from distvae.labels import Labels
from distvae.latents import only
from distvae.memory import check_memory
from distvae.posteriors import Posterior
from distvae.priors import Prior
from distvae.records import RunRecord
from distvae.runs import CONFIG, WEIGHTS, domain_recorded, read_model_record, settings_in
from distvae.tensors import check_weights, load_weights, write_tensors
from distvae.text import counted
from distvae.weightless import weightless

__all__ = ["VAE", "ConditionalVAE", "Terms", "build_model", "load_model"]


class VAE(Composition, ModelHubMixin, library_name="distvae"):
    """Variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114).

    Args:
        model: which parts, and their sizes.
        example: what the examples are; channels, height and width stand for images.
        label_names: names of the labels, in the order of their numbers; empty without labels.
        binarize: how inputs are made of stored images, see :class:`distvae.domains.Images`.

    Raises:
        DistvaeError: the parts do not fit each other or the images.
    """

    def forward(
        self,
        images: Tensor,
        labels: Labels | None,
        noise: Tensor,
        draws: int | None = None,
        densities: bool = False,
    ) -> Terms:
        """Encode, draw, decode; what is given is checked.

        Args:
            images: ``[B, C, H, W]``, floating point in [0, 1].
            labels: by name or number, one for each image ``[B]`` or one for all; None for an
                unconditional model.
            noise: standard normal, ``[B, Z]`` for one z of each image or ``[B, K, Z]`` for K.
            draws: K, which have an axis of their own; None for one without it.
            densities: whether log p(z) and log q(z|x) are asked for.

        Raises:
            DistvaeError: type, shape or range of an argument is another, or a label is unknown.
        """
        images = self.domain.checked_input(images)
        noise = checked_noise(noise, "noise", [self.latents.infer_dim], len(images), draws)
        return self.terms_of(images, self._context(labels, images), noise, draws, densities)

    def encode(self, images: Tensor, labels: Labels | None = None) -> Posterior:
        """Posterior of the latents of images, where they are of one level; see ``encode_levels``.

        Args:
            images: ``[B, C, H, W]``, floating point in [0, 1].
            labels: by name or number, one for each image ``[B]`` or one for all; None for an
                unconditional model.

        Returns:
            Its ``mean`` and ``log_variance [B, Z]`` are float32, or float64 of a model in float64.
            The mean of a flow posterior is where the flow carries the mean of its base.

        Raises:
            DistvaeError: type, shape or range of the images is another, a label is unknown, or the
                latents have several levels.
        """
        return only(tuple(self.encode_levels(images, labels).values()), "VAE.encode")

    def encode_levels(self, images: Tensor, labels: Labels | None = None) -> dict[str, Posterior]:
        """Posterior of each level of the latents by its name, given the means of those before."""
        images = self.domain.checked_input(images)
        found = self.posteriors(images, self._context(labels, images))
        return dict(zip((level.name for level in self.latents.levels), found, strict=True))

    def decode(self, z: Tensor | Mapping[str, Tensor], labels: Labels | None = None) -> Tensor:
        """Mean images of latents; what is given is checked.

        Args:
            z: ``[B, Z]``, floating point; of several levels a mapping from the name of each.
            labels: by name or number, one for each row ``[B]`` or one for all; None for an
                unconditional model.

        Returns:
            ``[B, C, H, W]`` in [0, 1].

        Raises:
            DistvaeError: type or shape of the latents is another, they are not finite, or a label
                is unknown.
        """
        shapes = {level.name: level.shape for level in self.latents.levels}
        latents = checked_latents(z, shapes)
        return self.render(latents, self._context(labels, latents[0]))

    def _context(self, labels: Labels | None, like: Tensor) -> Context | None:
        """Of labels, checked."""
        found = checked_conditions(labels, self.attributes, len(like), like.device)
        context: Context | None = self.conditioner(found)
        return context

    def sample(
        self,
        labels: Labels | None = None,
        n: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        prior: Prior | None = None,
    ) -> Tensor:
        """Images drawn from the prior, as the mean of the likelihood.

        Image number i of a seed is the same whatever the batch size or the device.

        Args:
            labels: one label or several by name or number, ``n`` images for each: a string, a whole
                number, or a list, tensor, array or pandas Series of them; None draws all labels in
                turn from a conditional model. A number is a name where all names are whole numbers.
                Of several attributes a mapping, ``{"digit": 7, "colour": ["red", "blue"]}``; one
                that is None or left out is not known, and so is None in a list.
            n: images for each label, or in all without labels.
            seed: seed of the noise.
            temperature: factor of the noise; below 1 samples are more typical and less diverse.
            prior: where the latents come from, such as a fitted one; None for the model's own.

        Returns:
            ``[len(labels) * n, C, H, W]`` in [0, 1], label by label, on the model's device.

        Raises:
            DistvaeError: a label this model does not know, something that is no label, or a number
                out of range.
        """
        asked = asked_images(labels, n, self.attributes)
        total, _ = asked
        check_memory(
            4 * total * math.prod(self.domain.shape),
            counted(total, "images"),
            "Draw fewer, or take them in parts: sample_batches.",
        )
        batches = list(drawn(self, *asked, seed, temperature, prior))
        return torch.cat(batches) if batches else torch.empty(0, *self.domain.shape)

    def sample_batches(
        self,
        labels: Labels | None = None,
        n: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        prior: Prior | None = None,
    ) -> Iterator[Tensor]:
        """The images of :meth:`sample`, in batches ``[B, C, H, W]``: memory stays flat."""
        asked = asked_images(labels, n, self.attributes)
        return drawn(self, *asked, seed, temperature, prior)

    def sample_given(
        self,
        total: int,
        given: Given,
        seed: int = 0,
        temperature: float = 1.0,
    ) -> Iterator[Tensor]:
        """Images in batches ``[B, C, H, W]``, as :meth:`sample_batches` gives them.

        Args:
            total: how many.
            given: numbers of images int64 ``[B]`` to values of their attributes float32 ``[B, A]``:
                the index of a label or a number, NaN for what is not known.
            seed: of the noise.
            temperature: factor of the noise.
        """
        return drawn(self, total, given_images(given), seed, temperature)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_json(save_directory / CONFIG, self.hub_config())
        write_tensors(save_directory / WEIGHTS, self.state_dict())

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> "VAE":
        """A trained model, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a run, a checkpoint, a folder of ``save_pretrained``, or
                the id of one on the Hub, OWNER/NAME.
            revision: branch, tag or commit on the Hub.
            cache_dir: where what was downloaded is kept.
            force_download: download again.
            local_files_only: download nothing.
            token: for the Hub.

        Raises:
            DistvaeError: there is no such folder or model, a file is missing or damaged, or the
                weights are of another model.
        """
        folder = model_folder(
            pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return load_model(folder)


class ConditionalVAE(VAE, library_name="distvae"):
    """A VAE of images given their label (Sohn et al. 2015): p(x|y), with q(z|x,y) and p(z|y).

    The label reaches encoder, decoder and, where it takes one, the prior.
    """

    conditional = True


def build_model(
    model: ModelConfig,
    example: Domain | Sequence[int],
    label_names: Sequence[str],
    binarize: str = "none",
    attributes: Sequence[Attribute] = (),
) -> VAE:
    """A fresh model for these examples, conditional where the configuration says so.

    It is given the label of each image, or the ``attributes`` in its place.

    Raises:
        DistvaeError: the parts do not fit the images.
    """
    if model.model == "vae":
        return VAE(model, example, (), binarize)
    if not label_names and not attributes:
        raise DistvaeError(
            "--model cvae needs labels and the data has none",
            "expected a label column or one folder per class",
            "Name the column with --label-column, or take --model vae --prior normal.",
        )
    return ConditionalVAE(model, example, tuple(label_names), binarize, attributes)


def load_model(folder: Path) -> VAE:
    """The model of a folder, in evaluation mode; its weights are checked before any is allocated.

    Raises:
        DistvaeError: a file is missing or damaged, or the weights are of another model.
    """
    record = read_model_record(folder)
    if isinstance(record, RunRecord) and not (folder / WEIGHTS).exists():
        raise DistvaeError(
            f"{folder / WEIGHTS} is missing",
            "expected the weights that a training leaves with its first checkpoint",
            f"Go on with it: distvae train --resume {shlex.quote(str(folder))}",
        )
    config = settings_in(folder, record.model).model
    parts = config, domain_recorded(folder, record), record.label_names, "none", record.attributes
    with weightless():
        check_weights(build_model(*parts), folder / WEIGHTS)
    model = build_model(*parts)
    load_weights(model, folder / WEIGHTS)
    return model.eval()
