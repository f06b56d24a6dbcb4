"""p(x|z): what the decoder's output parameterizes."""

from distvae.likelihoods.base import Likelihood
from distvae.parts import registry

__all__ = ["LIKELIHOODS", "Likelihood"]

LIKELIHOODS: dict[str, type[Likelihood]] = registry("likelihood")
