"""p(x|z): what the decoder's output parameterizes."""

from distvae.likelihoods.base import GREY_LEVELS, Likelihood
from distvae.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from distvae.likelihoods.categorical import Categorical
from distvae.likelihoods.gaussian import Gaussian
from distvae.likelihoods.logistic import DiscretizedLogistic, DiscretizedLogisticMixture

LIKELIHOODS: dict[
    str,
    type[Bernoulli]
    | type[ContinuousBernoulli]
    | type[Gaussian]
    | type[DiscretizedLogistic]
    | type[DiscretizedLogisticMixture]
    | type[Categorical],
] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "discretized_logistic": DiscretizedLogistic,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
    "categorical": Categorical,
}

__all__ = [
    "GREY_LEVELS",
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Likelihood",
]
