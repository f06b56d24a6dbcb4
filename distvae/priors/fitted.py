"""A mixture of Gaussians fitted to the posteriors of a finished run, to draw from in its place.

Legend: B batch, Z latent dimensions, M components, G sets of them: one for each label, or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distvae.conditions import Context, summed
from distvae.errors import DistvaeError, shown
from distvae.files import write_json
from distvae.headers import read_header, stored_checksum
from distvae.priors.base import Prior
from distvae.priors.mixture import EXTRA, choose, of_row, thresholds_of
from distvae.reading import read_record
from distvae.tensors import check_finite, read_tensors, write_tensors

TENSORS, FACTS = "fitted-prior.safetensors", "fitted-prior.json"
WEIGHTS = "model.safetensors"
ANEW = "Fit it again: distvae fit-prior"


@dataclass(frozen=True)
class FittedFacts:
    """fitted-prior.json."""

    weights_sha256: str | None
    """Checksum of the weights whose latents it was fitted to."""
    components: int
    seed: int
    images: int
    log_density: dict[str, float]
    """Mean of the training images' latents under it, nats, by label."""


class FittedPrior(Prior):
    """M Gaussians with full covariance, each label with its own.

    Args:
        mean: ``[G, M, Z]``.
        factor: lower triangular roots of the covariances ``[G, M, Z, Z]``.
        log_weights: ``[G, M]``.
    """

    mean: Tensor
    factor: Tensor
    log_weights: Tensor
    invertible = False

    def __init__(self, mean: Tensor, factor: Tensor, log_weights: Tensor) -> None:
        super().__init__()
        self.noise_dim = mean.shape[2] + EXTRA
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        self.register_buffer("log_weights", log_weights)

    def log_prob(self, z: Tensor, context: Context | None) -> Tensor:
        """Nats ``[B]``."""
        mean, factor = (of_row(table, context) for table in (self.mean, self.factor))
        normals = torch.distributions.MultivariateNormal(
            mean, scale_tril=factor, validate_args=False
        )
        densities: Tensor = normals.log_prob(z.unsqueeze(1))  # type: ignore[no-untyped-call]
        return torch.logsumexp(densities + of_row(self.log_weights, context), dim=1)

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """Noise ``[B, 2 + Z]`` to ``mean + factor @ noise`` of a component ``[B, Z]``."""
        thresholds = thresholds_of(self.log_weights).to(noise.dtype)
        component = choose(noise, context, thresholds, len(self.mean) > 1)
        mean, factor = (
            summed(Context(component), table.flatten(0, 1)) for table in (self.mean, self.factor)
        )
        return mean + torch.bmm(factor, noise[:, EXTRA:].unsqueeze(2)).squeeze(2)

    def save(self, folder: Path, facts: Mapping[str, object]) -> None:
        """Write it beside the model it was fitted to, with what is known of it."""
        write_tensors(folder / TENSORS, self.state_dict())
        write_json(folder / FACTS, {**facts, "weights_sha256": stored_checksum(folder / WEIGHTS)})

    @classmethod
    def load(cls, folder: Path, latent_dim: int, num_labels: int) -> "FittedPrior":
        """The prior that was fitted to the model of this folder.

        Args:
            folder: of the model.
            latent_dim: Z of the model.
            num_labels: of the model; 0 for one without.

        Raises:
            DistvaeError: there is none, it is damaged, or the model has changed since.
        """
        if not (folder / TENSORS).is_file() or not (folder / FACTS).is_file():
            raise DistvaeError(
                f"{folder} has no fitted prior",
                f"expected {TENSORS} and {FACTS}",
                f"Fit one: distvae fit-prior {folder}",
            )
        facts = read_record(folder / FACTS, FittedFacts)
        if facts.weights_sha256 != stored_checksum(folder / WEIGHTS):
            raise DistvaeError(
                f"{folder / TENSORS} was fitted to other weights",
                f"{WEIGHTS} has changed since",
                f"{ANEW} {folder}",
            )
        sets, components = max(1, num_labels), facts.components
        expected = {
            "mean": (sets, components, latent_dim),
            "factor": (sets, components, latent_dim, latent_dim),
            "log_weights": (sets, components),
        }
        header = read_header(folder / TENSORS).tensors
        found = {name: tensor.shape for name, tensor in header.items()}
        if found != expected or {tensor.dtype for tensor in header.values()} != {"F32"}:
            raise DistvaeError(
                f"{folder / TENSORS} is no fitted prior of this model",
                f"it holds {shown(found)} and should hold {shown(expected)}",
                f"{ANEW} {folder}",
            )
        tensors = read_tensors(folder / TENSORS)
        check_finite(tensors, folder / TENSORS)
        return cls(**tensors)
