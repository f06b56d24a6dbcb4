"""The runs of a sweep ranked without labels, by how well other seeds find the same latents."""

from distvae.errors import DistvaeError
from distvae.sweeps.grid import SEED
from distvae.sweeps.results import UDR, Result
from distvae.sweeps.udr import Encoded, udr
from distvae.tools.examples import Examples, open_examples
from distvae.tools.spaces import space_of
from distvae.tools.trained import Trained, open_trained


def check_seeds(settings: dict[str, tuple[str, ...]]) -> None:
    """Refuse a sweep in which no two runs differ in their seed alone.

    Raises:
        DistvaeError: it is one.
    """
    if len(settings.get(SEED, ())) < 2:
        raise DistvaeError(
            "--select udr compares runs that differ in their seed alone",
            "expected two seeds or more",
            "Five tell more: --set seed=0,1,2,3,4",
        )


def rank(results: list[Result]) -> None:
    """Note the score of every run of which another seed was trained to its end, too.

    All runs of other seeds encode the test images of the first of them.

    Raises:
        DistvaeError: the data of a run is gone.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for result in results:
        if result.done:
            same = tuple(pair for pair in result.point.values.items() if pair[0] != SEED)
            groups.setdefault(same, []).append(result)
    several = [group for group in groups.values() if len(group) > 1]
    for group in several:
        models = [open_trained(str(each.folder)) for each in group]
        examples = open_examples(models[0], None, tell=False)
        scores = udr([_encoded(model, examples) for model in models])
        for result, score in zip(group, scores, strict=True):
            result.numbers[UDR] = score


def _encoded(trained: Trained, examples: Examples) -> Encoded:
    """What a model makes of the examples, in the space in which its prior is even."""
    found = space_of(trained).rates(examples)
    assert found.nats is not None  # as the weights are there
    return Encoded(found.means, found.nats)
