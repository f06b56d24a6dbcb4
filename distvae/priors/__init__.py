"""p(z) and p(z|y): where latents are drawn from, and what the posterior is held against.

Every prior turns noise into latents (``transform``), so a sampler is always noise in, image out.
"""

from collections.abc import Sequence

from distvae.attributes import Attribute, is_label
from distvae.combinations import first_fitting
from distvae.conditions import ContextShape
from distvae.config import ModelConfig
from distvae.declarations import registry, with_trait
from distvae.domains import Domain
from distvae.errors import DistvaeError
from distvae.priors.base import Encode, Prior

__all__ = ["PRIORS", "Prior", "build_prior", "usual_prior"]

PRIORS: dict[str, type[Prior]] = registry("prior")


def usual_prior(config: ModelConfig, attributes: Sequence[Attribute]) -> str:
    """The name of the prior of a model that was given none."""
    names = (*(["label"] if is_label(attributes) else []), "normal", "codes")
    return first_fitting({"latent_space": config.latent_space}, "prior", names)


def build_prior(config: ModelConfig, given: ContextShape, domain: Domain, encode: Encode) -> Prior:
    """The prior of a model, see :meth:`Prior.build`.

    Raises:
        DistvaeError: the prior knows one label, and the contexts hold something else.
    """
    name = config.prior or "normal"
    if name in with_trait("prior", "of_a_label") and not given.is_label:
        raise DistvaeError(
            f"--prior {name} has parameters for each label of one attribute",
            f"these examples have {given.attributes}, which may be missing or be numbers",
            "Take --prior flow, which sees them all, or --prior normal.",
        )
    return PRIORS[name].build(config, given, domain, encode)
