"""p(x|z): what the decoder's output parameterizes."""

from distvae.declarations import registry
from distvae.likelihoods.base import Likelihood

__all__ = ["LIKELIHOODS", "Likelihood"]

LIKELIHOODS: dict[str, type[Likelihood]] = registry("likelihood")
