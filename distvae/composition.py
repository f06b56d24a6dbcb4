"""A network, a latent space and a likelihood put together, as training and evaluation compute.

Nothing is checked here and nothing waits for the device; no name is looked up. What callers use is
:mod:`distvae.models`.

Legend: B batch, K draws for an example, R rows: B, or B * K of several draws; S the axes of an
example, N numbers of a noise vector, D dimensions or groups of which a rate is kept, P parameter
maps.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distvae.attributes import LABEL, Attribute, is_label, label_attribute, labels_counted
from distvae.batch import Batch
from distvae.combinations import first_fitting
from distvae.conditions import Conditioner, Context
from distvae.config import ModelConfig
from distvae.distributions import full_precision, wide
from distvae.domains import Domain, domain_of, images_of
from distvae.errors import DistvaeError
from distvae.labels import refuse_twins
from distvae.latents import LATENTS, Draw, Features, Latents, known, only, total
from distvae.likelihoods import LIKELIHOODS
from distvae.networks import NETWORKS
from distvae.networks.classifier import Classifier
from distvae.posteriors import Posterior
from distvae.priors import build_prior, usual_prior
from distvae.weight_names import follow


class Terms(NamedTuple):
    """What a forward pass gives an objective."""

    draws: tuple[Draw, ...]
    """Latents of each level, with rates and densities."""
    parameters: Tensor
    """What the decoder makes of them, ``[B, P, ...]``, or ``[B, K, P, ...]`` of K draws."""
    log_likelihood: Tensor
    """log p(x|z), nats per example ``[B]``, or ``[B, K]``."""

    @property
    def rate(self) -> Tensor:
        """That of all levels side by side ``[B, D]``, nats; the sum of a row is the rate."""
        rates = [draw.rate for draw in self.draws]
        return rates[0] if len(rates) == 1 else torch.cat(rates, 1)

    @property
    def log_p(self) -> Tensor:
        """Log p(z) of all levels, nats ``[B]``, or ``[B, K]``; where densities were asked for."""
        return total([known(draw.log_p) for draw in self.draws])

    @property
    def log_q(self) -> Tensor:
        """Log q(z|x) of all levels, nats ``[B]``, or ``[B, K]``; where densities were asked for."""
        return total([known(draw.log_q) for draw in self.draws])


class Composition(nn.Module):
    """The parts of a variational autoencoder.

    Args:
        model: which parts, and their sizes.
        example: what the examples are; channels, height and width stand for images.
        label_names: names of the labels, in the order of their indices; empty without labels.
        binarize: how inputs are made of stored images, see :class:`distvae.domains.Images`.
        attributes: what examples are given, in place of ``label_names``: several labels, real
            numbers, or a label that may be missing.

    Raises:
        DistvaeError: the parts do not fit each other or the images.
    """

    conditional = False
    dtype = torch.float32
    """In which the networks compute."""

    def __init__(
        self,
        model: ModelConfig,
        example: Domain | Sequence[int],
        label_names: tuple[str, ...] = (),
        binarize: str = "none",
        attributes: Sequence[Attribute] = (),
    ) -> None:
        super().__init__()
        self.attributes = tuple(attributes) or label_attribute(label_names)
        usual = model.prior or usual_prior(model, self.attributes)
        space = {"latent_space": model.latent_space}
        network = model.network or first_fitting(space, "network", ("mlp", "fcn"))
        model = dataclasses.replace(model, network=network, hidden=model.widths, prior=usual)
        self.config = model
        self.domain = domain_of(example, binarize)
        one = is_label(self.attributes) and self.attributes[0].name == LABEL
        self.label_names = self.attributes[0].labels if one else ()
        for each in self.attributes:
            refuse_twins(each.labels, "this model")
        self.conditioner = Conditioner(self.attributes)
        given = self.conditioner.shape
        encoder, decoder = NETWORKS[network]
        self.likelihood = LIKELIHOODS[model.likelihood or "bernoulli"](model, self.domain)
        prior = build_prior(model, given, self.domain, self.posterior)
        self.encoder = encoder(model, self.domain.shape, given)
        self.latents = LATENTS[model.latent_space](model, self.encoder.shapes, given, prior)
        maps = self.likelihood.maps_per_channel
        self.decoder = decoder(model, self.domain.shape, given, maps, self.latents.state_shape)
        self.classifier = self._classifier(model) if model.infer_label else None
        follow(self)
        if self.domain.channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _classifier(self, model: ModelConfig) -> Classifier:
        if not is_label(self.attributes):
            raise DistvaeError(
                f"--infer-label does not fit {labels_counted(self.attributes)}",
                "q(y|x) tells the one label of an example",
                "Leave it out, or name one column by --label-column.",
            )
        return Classifier(model, self.domain.shape, len(self.attributes[0].labels))

    def hub_config(self) -> dict[str, Any]:
        """What ``from_pretrained`` needs to build this model again."""
        named = () if self.label_names else self.attributes
        return {
            "model": {**vars(self.config), "hidden": list(self.config.widths)},
            "label_names": list(self.label_names),
            "domain": self.domain.record(),
            **({"attributes": [vars(each) for each in named]} if named else {}),
        }

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images.

        Raises:
            DistvaeError: the examples are no images.
        """
        return images_of(self.domain).shape

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def label_probabilities(self, images: Tensor) -> Tensor:
        """What q(y|x) says of the labels of images, in the order of ``label_names`` ``[B, L]``.

        Args:
            images: ``[B, C, H, W]``, floating point in [0, 1].

        Raises:
            DistvaeError: type, shape or range of the images is another, or the model has no q(y|x).
        """
        if self.classifier is None:
            raise DistvaeError(
                "this model tells no labels",
                "it was trained without q(y|x)",
                "Train one by --objective m2.",
            )
        images = self.domain.checked_input(images)
        log_q: Tensor = self.classifier(images.to(self.dtype))
        return log_q.exp()

    def terms(self, batch: Batch, draws: int | None = None, densities: bool = False) -> Terms:
        """Make inputs of what is stored, encode, draw, decode.

        Args:
            batch: with noise ``[B, N]``, or ``[B, K, N]`` for K draws.
            draws: K, which have an axis of their own; None for one without it.
            densities: whether the densities of what is drawn are asked for.
        """
        context = self.conditioner(batch.conditions)
        return self.terms_of(self.inputs_of(batch), context, batch.noise, draws, densities)

    def inputs_of(self, batch: Batch) -> Tensor:
        """What the encoder sees of a batch, ``[B, *S]``."""
        return self.domain.to_input(batch.stored, batch.uniforms)

    def terms_of(
        self,
        inputs: Tensor,
        context: Context | None,
        noise: Tensor,
        draws: int | None = None,
        densities: bool = False,
    ) -> Terms:
        """Encode, draw, decode.

        Args:
            inputs: ``[B, *S]``, floating point.
            context: of the conditions, None for an unconditional model.
            noise: standard normal ``[B, N]``, or ``[B, K, N]`` for K draws.
            draws: K, which have an axis of their own; None for one without it.
            densities: whether the densities of what is drawn are asked for.
        """
        features = self.features(inputs, context)
        return self.terms_given(features, inputs, context, noise, draws, densities)

    def terms_given(
        self,
        features: Features,
        inputs: Tensor,
        context: Context | None,
        noise: Tensor,
        draws: int | None = None,
        densities: bool = False,
    ) -> Terms:
        """:meth:`terms_of` inputs whose features are known: draw, decode."""
        drawn = self.latents.infer(features, noise, context, draws, densities)
        latents = tuple(draw.rows for draw in drawn)
        log_prob = self.likelihood.log_prob
        if draws is not None:
            log_prob = self.likelihood.log_prob_of_draws
            context = None if context is None else context.repeated(draws)
        parameters = self._likelihood_of(latents, context, drawn[-1].state)
        with full_precision(inputs.device.type):
            log_likelihood = log_prob(inputs.to(parameters.dtype), parameters)
        if draws is not None:
            parameters = parameters.unflatten(0, (-1, draws))  # type: ignore[no-untyped-call]
        return Terms(drawn, parameters, log_likelihood)

    def features(self, inputs: Tensor, context: Context | None) -> Features:
        """What the encoder makes of inputs ``[B, *S]``."""
        features: Features = self.encoder(inputs.to(self.dtype), context)
        return features

    def posteriors(self, inputs: Tensor, context: Context | None = None) -> tuple[Posterior, ...]:
        """Posterior of each level of the latents of inputs, given the means of those before."""
        return self.latents.posteriors(self.features(inputs, context), context)

    def posterior(self, inputs: Tensor, context: Context | None = None) -> Posterior:
        """That of the only level.

        Raises:
            DistvaeError: there are several.
        """
        return only(self.posteriors(inputs, context), "a single posterior")

    def means(self, inputs: Tensor, context: Context | None = None) -> Latents:
        """The codes of inputs: means of the posteriors of each level."""
        return tuple(posterior.mean for posterior in self.posteriors(inputs, context))

    def drawn(self, inputs: Tensor, context: Context | None, noise: Tensor) -> Latents:
        """One draw of the posterior of each input, by noise ``[B, N]``."""
        draws = self.latents.infer(self.features(inputs, context), noise, context)
        return tuple(draw.z for draw in draws)

    def initialize_output(self, mean_image: Tensor) -> None:
        """Let the untrained decoder draw this image ``[C, H, W]`` in [0, 1] whatever its latents.

        Pixels that hardly ever change need not be learned, which saves a small model several nats
        and a run its first epochs.
        """
        self.decoder.initialize_output(self.likelihood.parameters_of(mean_image))

    def render(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Mean examples of the latents of each level, given their context."""
        return self.likelihood.mean(self._likelihood_of(latents, context))

    def _likelihood_of(
        self, latents: Latents, context: Context | None, state: Tensor | None = None
    ) -> Tensor:
        """Parameters of the likelihood ``[R, P, ...]``.

        Args:
            latents: of each level ``[R, *S]``.
            context: of the rows.
            state: of the latents, where it is known.
        """
        state = self.latents.state(latents, context) if state is None else state
        return wide(self.decoder(state.to(self.dtype), context))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Composition":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.dtype = next(self.encoder.parameters()).dtype
        return self
