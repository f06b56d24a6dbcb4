"""p(z) and p(z|y): where latents are drawn from, and what the posterior is held against.

Every prior turns noise into latents (``transform``), so a sampler is always noise in, image out.
"""

from collections.abc import Callable

from torch import Tensor

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.domains import Domain
from distvae.errors import DistvaeError
from distvae.posteriors import Posterior
from distvae.priors.base import Prior
from distvae.priors.flow import FlowPrior
from distvae.priors.label import LabelPrior
from distvae.priors.mixture import MixturePrior
from distvae.priors.normal import NormalPrior
from distvae.priors.vamp import VampPrior

PRIORS: dict[str, type[Prior]] = {
    "normal": NormalPrior,
    "label": LabelPrior,
    "mixture": MixturePrior,
    "vamp": VampPrior,
    "flow": FlowPrior,
}

OF_A_LABEL = ("label", "mixture", "vamp")
"""Those with parameters for each label; several attributes have no such list."""

__all__ = [
    "PRIORS",
    "FlowPrior",
    "LabelPrior",
    "MixturePrior",
    "NormalPrior",
    "Prior",
    "VampPrior",
    "build_prior",
]


def build_prior(
    config: ModelConfig,
    given: ContextShape,
    domain: Domain,
    encode: Callable[[Tensor, Context | None], Posterior],
) -> Prior:
    """The prior of a model.

    Args:
        config: of the model.
        given: what the contexts of the model hold.
        domain: of the examples.
        encode: inputs and their context to the posterior.

    Raises:
        DistvaeError: the prior knows one label, and the contexts hold something else.
    """
    if config.prior in OF_A_LABEL and not given.is_label:
        raise DistvaeError(
            f"--prior {config.prior} has parameters for each label of one attribute",
            f"these examples have {given.attributes}, which may be missing or be numbers",
            "Take --prior flow, which sees them all, or --prior normal.",
        )
    if config.prior == "vamp":
        return VampPrior(config, given, domain, encode)
    return PRIORS[config.prior or "normal"](config, given)
