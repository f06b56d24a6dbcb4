"""p(x|z): what the decoder's output parameterizes."""

from distvae.likelihoods.base import Likelihood
from distvae.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from distvae.likelihoods.categorical import Categorical
from distvae.likelihoods.gaussian import Gaussian
from distvae.likelihoods.logistic import DiscretizedLogistic, DiscretizedLogisticMixture

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "discretized_logistic": DiscretizedLogistic,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
    "categorical": Categorical,
}

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Likelihood",
]
