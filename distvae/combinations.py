"""Which parts and settings go together, and what is said where they do not."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from distvae.errors import DistvaeError

OFF: tuple[Any, ...] = (None, False, 0.0)
"""Values of a setting that is left out."""
COUPLED = ("beta_tc", "factor", "dip_i", "dip_ii", "mmd")
"""Objectives in which the loss of an image depends on the others of its batch."""
WEIGHED = ("iwae", "dreg")


class Rule(NamedTuple):
    """One setting's demand on another."""

    name: str
    values: Collection[Any] | None
    """Those that demand; None is any but those of ``OFF``."""
    other: str
    fitting: Collection[Any]
    """Values of the other that satisfy it."""
    why: str

    def broken(self, settings: Mapping[str, Any]) -> bool:
        """Whether these settings break it; a setting that is not there breaks nothing."""
        value = settings[self.name]
        demands = value not in OFF if self.values is None else value in self.values
        return demands and settings.get(self.other, next(iter(self.fitting))) not in self.fitting


def _rules() -> Iterator[Rule]:
    vectors = "vectors are rows of real numbers and no images"
    for name, fitting in (
        ("network", (None, "mlp")),
        ("likelihood", (None, "gaussian")),
        ("prior", (None, "normal", "label", "mixture", "flow")),
        ("binarize", (None, "none")),
        ("streaming", (False,)),
    ):
        yield Rule("domain", ("vectors",), name, fitting, vectors)
    yield Rule("prior", ("label",), "model", ("cvae",), "it has a Gaussian for each label")
    grey = (
        "continuous_bernoulli",
        "gaussian",
        "discretized_logistic",
        "discretized_logistic_mixture",
        "categorical",
    )
    levels = "it describes grey levels, not black and white"
    yield Rule("likelihood", grey, "binarize", (None, "none"), levels)
    gaussians = "its components are posteriors, of which it needs the density everywhere"
    yield Rule("prior", ("vamp",), "posterior", ("gaussian",), gaussians)
    yield Rule("prior", ("vamp",), "streaming", (False,), "it begins with images of each label")
    yield Rule("prior_components", None, "prior", (None, "mixture", "vamp"), "the others have none")
    yield Rule("pseudo_inputs", None, "prior", (None, "vamp"), "the others have none")
    mixed = ("discretized_logistic_mixture",)
    yield Rule("likelihood_components", None, "likelihood", mixed, "the others have none")
    yield Rule("levels", None, "likelihood", ("categorical",), "the others have no number of them")
    yield Rule("sigma", None, "likelihood", (None, "gaussian"), "the others have none")

    independent = "it holds q(z) against independent dimensions of mean 0 and variance 1"
    disentangling = ("beta_tc", "factor", "dip_i", "dip_ii")
    yield Rule("objective", disentangling, "prior", (None, "normal"), independent)
    moments = "it takes density or moments of the posterior by dimension"
    yield Rule("objective", ("beta_tc", "dip_i", "dip_ii"), "posterior", ("gaussian",), moments)
    counted = "its estimate of q(z) needs the number of images"
    yield Rule("objective", ("beta_tc",), "streaming", (False,), counted)
    yield Rule("objective", COUPLED, "accumulate", (1,), "its term is one of the whole batch")
    yield Rule("objective", COUPLED, "importance_samples", (1, None), "it takes one draw of z")
    yield Rule("objective", WEIGHED, "reduction", ("sum",), "it weighs draws by whole images")
    another = "its gradient is not that of its value"
    yield Rule("objective", ("dreg",), "compile", ("off", "auto"), another)

    for name in ("free_bits", "capacity"):
        yield Rule(name, None, "objective", ("elbo",), "only elbo reads it")
        yield Rule(name, None, "accumulate", (1,), "it is met by the mean of the whole batch")
    yield Rule("free_bits", None, "capacity", OFF, "either says how far the rate is pressed")
    closed = "it needs the KL term of each dimension"
    yield Rule("free_bits", None, "prior", (None, "normal", "label"), closed)
    yield Rule("free_bits", None, "posterior", ("gaussian",), closed)
    yield Rule("penalty", None, "objective", COUPLED, "the others add no term to the bound")
    yield Rule("dip_diagonal", None, "objective", ("dip_i", "dip_ii"), "only these read it")
    for name in ("learning_rate", "schedule", "betas", "start", "steps"):
        yield Rule(f"discriminator_{name}", None, "objective", ("factor",), "the others have none")


RULES = tuple(_rules())


def misfit(settings: Mapping[str, Any]) -> Rule | None:
    """The first rule that settings, by name, break."""
    return next((rule for rule in RULES if rule.broken(settings)), None)


def refuse_misfits(settings: Mapping[str, Any], choices: Mapping[str, Sequence[str]]) -> None:
    """Refuse settings that do not go together.

    Args:
        settings: by name.
        choices: the values of those settings that have names for values.

    Raises:
        DistvaeError: it names the two, why, and what goes with either.
    """
    broken = misfit(settings)
    if broken is None:
        return
    name, other = broken.name, broken.other
    concerned = [rule for rule in RULES if name in (rule.name, rule.other)]
    working = [
        value
        for value in choices.get(name, ())
        if not any(rule.broken({**settings, name: value}) for rule in concerned)
    ]
    ways = [_way(other, broken.fitting), _way(name, working or OFF)]
    raise DistvaeError(
        f"{_flag(name)} {settings[name]} does not fit {_flag(other)} {settings[other]}",
        broken.why,
        f"Either {' or '.join(ways)}.",
    )


def _way(name: str, values: Collection[Any]) -> str:
    """How to give a setting one of these values."""
    allowed = [str(value) for value in values if value not in OFF]
    return f"take {_flag(name)} {', '.join(allowed)}" if allowed else f"leave {_flag(name)} out"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
