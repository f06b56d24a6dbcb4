"""A network, a prior and a likelihood put together, as training and evaluation compute with them.

Nothing is checked here and nothing waits for the device; no name is looked up. What callers use is
:mod:`distvae.models`.

Legend: B batch, K samples of one posterior, C channels, H height, W width, Z latent dimensions,
P parameter maps.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distvae.attributes import LABEL, Attribute, is_label, label_attribute
from distvae.batch import Batch
from distvae.conditions import Conditioner, Context
from distvae.config import ModelConfig
from distvae.distributions import LOG_SCALE, DiagonalGaussian, full_precision, held, wide
from distvae.domains import Domain, domain_of, images_of
from distvae.flows import build_flow
from distvae.labels import refuse_twins
from distvae.likelihoods import LIKELIHOODS
from distvae.networks import NETWORKS
from distvae.posteriors import FlowPosterior, Posterior
from distvae.priors import build_prior


class Terms(NamedTuple):
    """What a forward pass gives an objective."""

    posterior: Posterior
    """q(z|x)."""
    z: Tensor
    """Drawn from the posterior, in the shape of the noise: ``[B, Z]`` or ``[B, K, Z]``."""
    log_likelihood: Tensor
    """log p(x|z), nats per image ``[B]``, or ``[B, K]`` for K samples."""
    rate: Tensor
    """KL of posterior to prior, nats: by latent dimension ``[B, Z]`` where it has a closed form,
    else estimated with the samples ``[B, 1]``."""
    log_prior: Tensor | None = None
    """log p(z), or log p(z|y), nats ``[B, K]``; only for noise ``[B, K, Z]``."""
    log_posterior: Tensor | None = None
    """log q(z|x), nats ``[B, K]``; only for noise ``[B, K, Z]``."""


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
        usual = model.prior or ("label" if is_label(self.attributes) else "normal")
        model = dataclasses.replace(
            model, network=model.network or "mlp", hidden=model.widths, prior=usual
        )
        self.config = model
        self.domain = domain_of(example, binarize)
        one = is_label(self.attributes) and self.attributes[0].name == LABEL
        self.label_names = self.attributes[0].labels if one else ()
        for each in self.attributes:
            refuse_twins(each.labels, "this model")
        self.conditioner = Conditioner(self.attributes)
        given = self.conditioner.shape
        encoder, decoder = NETWORKS[model.network or "mlp"]
        self.likelihood = LIKELIHOODS[model.likelihood or "bernoulli"](model, self.domain)
        self.prior = build_prior(model, given, self.domain, self.infer)
        self.encoder = encoder(model, self.domain.shape, given)
        self.to_posterior = nn.Linear(self.encoder.out_features, 2 * model.latent_dim)
        flows = model.posterior == "flow"
        self.flow = build_flow(model, self.encoder.out_features) if flows else None
        maps = self.likelihood.maps_per_channel
        self.decoder = decoder(model, self.domain.shape, given, maps)
        self.to(memory_format=self.domain.memory_format)  # type: ignore[call-overload]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images.

        Raises:
            DistvaeError: the examples are no images.
        """
        return images_of(self.domain).shape

    def terms(self, batch: Batch) -> Terms:
        """Make inputs of what is stored, encode, draw, decode.

        Args:
            batch: with noise ``[B, Z]`` for one z of each image, or ``[B, K, Z]`` for K, which also
                gives their densities.
        """
        return self.terms_of(self.inputs_of(batch), self.conditioner(batch.conditions), batch.noise)

    def inputs_of(self, batch: Batch) -> Tensor:
        """What the encoder sees of a batch, ``[B, *S]``."""
        return self.domain.to_input(batch.stored, batch.uniforms)

    def terms_of(self, inputs: Tensor, context: Context | None, noise: Tensor) -> Terms:
        """Encode, draw, decode.

        Args:
            inputs: ``[B, C, H, W]``, floating point in [0, 1].
            context: of the conditions, None for an unconditional model.
            noise: standard normal ``[B, Z]`` or ``[B, K, Z]``, see :meth:`terms`.
        """
        posterior = self.infer(inputs, context)
        z = posterior.sample(noise.to(posterior.base.mean.dtype))
        if noise.dim() == 3:
            return self._several(inputs, context, posterior, z)
        parameters = self._likelihood_of(z, context)
        with full_precision(inputs.device.type):
            log_likelihood = self.likelihood.log_prob(inputs.to(parameters.dtype), parameters)
            rate = self.prior.rate(posterior, z, context)
        return Terms(posterior, z, log_likelihood, rate)

    def _several(
        self, inputs: Tensor, context: Context | None, posterior: Posterior, z: Tensor
    ) -> Terms:
        """The terms of K samples ``z [B, K, Z]`` of each image, every density among them."""
        count, shape = z.shape[1], z.shape[:2]
        y = None if context is None else context.repeated(count)
        flat = z.flatten(0, 1)
        parameters = self._likelihood_of(flat, y)
        with full_precision(inputs.device.type):
            shown = inputs.to(parameters.dtype)
            log_likelihood = self.likelihood.log_prob_of_draws(shown, parameters)
            log_prior = self.prior.log_prob(flat, y).view(shape)
            log_posterior = posterior.log_prob(z)
            rate = self.prior.kl(posterior, context)
            if rate is None:
                rate = (log_posterior - log_prior).mean(1, keepdim=True)
        return Terms(posterior, z, log_likelihood, rate, log_prior, log_posterior)

    def initialize_output(self, mean_image: Tensor) -> None:
        """Let the untrained decoder draw this image ``[C, H, W]`` in [0, 1] whatever its latents.

        Pixels that hardly ever change need not be learned, which saves a small model several nats
        and a run its first epochs.
        """
        self.decoder.initialize_output(self.likelihood.parameters_of(mean_image))

    def infer(self, inputs: Tensor, context: Context | None = None) -> Posterior:
        """Posterior of the latents of inputs ``[B, C, H, W]``, given their context.

        Its standard deviations, before a flow, are held between exp(-10) and exp(10)
        (:data:`~distvae.distributions.LOG_SCALE`).
        """
        features = self.encoder(inputs.to(self.dtype), context)
        mean, log_variance = wide(self.to_posterior(features)).chunk(2, dim=1)
        base = DiagonalGaussian(mean, held(log_variance, 2.0 * LOG_SCALE))
        if self.flow is None:
            return base
        return FlowPosterior(base, wide(features), self.flow.weights())

    def render(self, z: Tensor, context: Context | None = None) -> Tensor:
        """Mean images of latents ``[B, Z]``, given their context."""
        return self.likelihood.mean(self._likelihood_of(z, context))

    def _likelihood_of(self, z: Tensor, context: Context | None) -> Tensor:
        """Parameters of the likelihood ``[B, P, H, W]``."""
        return wide(self.decoder(z.to(self.dtype), context))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Composition":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.dtype = next(self.encoder.parameters()).dtype
        return self
