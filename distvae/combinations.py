"""Which parts and settings go together, and what is said where they do not."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from distvae.composed import settings_of
from distvae.declarations import KINDS, declared, usual, with_trait
from distvae.errors import DistvaeError
from distvae.parts import Trait
from distvae.values import Within

OFF: tuple[Any, ...] = (None, False, 0.0)
"""Values of a setting that is left out."""
CROPPING = (("crop",), ("crop", "flip"), ("flip", "crop"))
"""Values of --augment that take parts of images."""


class Rule(NamedTuple):
    """One setting's demand on another."""

    name: str
    values: Collection[Any] | None
    """Those that demand; None is any but those of ``OFF``."""
    other: str
    fitting: Collection[Any] | Within
    """Values of the other that satisfy it, or their bounds."""
    why: str
    unless: tuple["Rule", ...] = ()
    """Nor is it broken where one of these is kept: a setting that parts of several kinds read."""

    def broken(self, settings: Mapping[str, Any]) -> bool:
        """Whether these settings break it; a setting that is not there breaks nothing."""
        if self.name not in settings:
            return False
        value = settings[self.name]
        demands = value not in OFF if self.values is None else value in self.values
        if not demands or self.other not in settings or settings[self.other] in self.fitting:
            return False
        return all(rule.broken(settings) for rule in self.unless)


def _of_parts() -> Iterator[Rule]:
    """What parts need, and that a setting of some parts goes with no other."""
    for kind in KINDS:
        for name, one in declared(kind).items():
            for other, fitting, why in one.part.needs:
                if isinstance(fitting, Trait):
                    fitting = (None, *with_trait(other, fitting))
                yield Rule(kind, (name,), other, fitting, why)
    for readers in _readers().values():
        for rule in readers:
            others = tuple(one for one in readers if one is not rule)
            yield rule._replace(unless=others)


def _readers() -> dict[str, list[Rule]]:
    """By setting that may be left out: that it goes with a part which reads it, by kind."""
    found: dict[str, list[Rule]] = {}
    for kind in KINDS:
        for name, setting in settings_of(kind).items():
            if setting.default in OFF:
                unnamed = (None,) if {*usual(kind)} & {*setting.helps} else ()
                fitting = (*unnamed, *setting.helps)
                rule = Rule(name, None, kind, fitting, "the others have none")
                found.setdefault(name, []).append(rule)
    return found


def _of_shared() -> Iterator[Rule]:
    """What settings that all parts share need."""
    held = with_trait("objective", "held_rate")
    for name in ("free_bits", "capacity", "kl_balance"):
        yield Rule(name, None, "objective", held, f"only {' and '.join(held)} holds the rate")
        yield Rule(name, None, "accumulate", (1,), "it is met by the mean of the whole batch")
    yield Rule("free_bits", None, "capacity", OFF, "either says how far the rate is pressed")
    yield Rule("kl_balance", None, "capacity", OFF, "either says how levels are pressed")
    several = set(declared("latent_space")) - {*with_trait("latent_space", "one_level")}
    yield Rule("kl_balance", None, "latent_space", sorted(several), "it weighs several levels")
    rising = "it balances while the KL weight rises"
    yield Rule("kl_balance", None, "kl_warmup_epochs", Within(0, open=True), rising)
    scaled = "fp16 leaves out steps by a rule of its own"
    yield Rule("skip_above", None, "mixed_precision", ("auto", "no", "bf16"), scaled)
    closed = "it needs the KL term of each dimension"
    by_dimension = (None, *with_trait("prior", "by_dimension"))
    yield Rule("free_bits", None, "prior", by_dimension, closed)
    yield Rule("free_bits", None, "posterior", ("gaussian",), closed)
    flow = "a flow changes one half of the latents by the other"
    yield Rule("posterior", ("flow",), "latent_dim", Within(2), flow)
    whole = "otherwise an epoch is the whole training split"
    cropped = Rule("epoch_images", None, "augment", CROPPING, whole)
    streamed = Rule("epoch_images", None, "streaming", (True,), whole)
    yield streamed._replace(unless=(cropped,))
    side = Rule("augment", CROPPING, "image_size", Within(1), "it is the side of a crop")
    patches = Rule("augment", CROPPING, "domain", ("volumes",), side.why)
    patched = Rule("augment", CROPPING, "patch", Within(4), side.why)
    yield side._replace(unless=(patches, patched))
    yield Rule("shorter_side", None, "augment", CROPPING, "else --image-size scales images")
    seen = "others have no sides to be seen from"
    yield Rule("augment", (*CROPPING, ("flip",)), "domain", (None, "images", "volumes"), seen)
    apart = "what is read anew in every epoch is not sorted by label"
    yield Rule("only_label", None, "streaming", OFF, apart)


RULES = (*_of_parts(), *_of_shared())


def misfit(settings: Mapping[str, Any]) -> Rule | None:
    """The first rule that settings, by name, break."""
    return next((rule for rule in RULES if rule.broken(settings)), None)


def first_fitting(settings: Mapping[str, Any], name: str, values: Sequence[str]) -> str:
    """The first of the values of a setting that breaks no rule with the others, else the first."""
    return next((one for one in values if not misfit({**settings, name: one})), values[0])


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
    others = [_way(rule.other, rule.fitting) for rule in broken.unless]
    ways = [_way(other, broken.fitting), *others, _way(name, working or OFF)]
    raise DistvaeError(
        f"{_given(name, settings[name])} does not fit {_given(other, settings[other])}",
        broken.why,
        f"Either {' or '.join(ways)}.",
    )


def _way(name: str, values: Collection[Any] | Within) -> str:
    """How to give a setting one of these values."""
    if isinstance(values, Within):
        return f"take {_flag(name)} of {values}"
    if any(value is True for value in values):
        return f"take {_flag(name)}"
    allowed = list(dict.fromkeys(_word(value) for value in values if value not in OFF))
    if any("," in word for word in allowed):
        return f"take {_flag(name)} {' or '.join(allowed)}"
    return f"take {_flag(name)} {', '.join(allowed)}" if allowed else f"leave {_flag(name)} out"


def _given(name: str, value: Any) -> str:
    """A setting as it stands on a command line."""
    if isinstance(value, bool):
        return _flag(name) if value else f"leaving {_flag(name)} out"
    return f"leaving {_flag(name)} out" if value in (None, ()) else f"{_flag(name)} {_word(value)}"


def _word(value: Any) -> str:
    """A value as it stands on a command line; several in the order of the alphabet."""
    return ",".join(sorted(map(str, value))) if isinstance(value, tuple) else str(value)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
