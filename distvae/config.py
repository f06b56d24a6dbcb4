"""All settings of a training run together.

On the command line, in a YAML recipe and in a run's ``config.json`` they are one flat list of
names; in code they are passed on by concern (see :mod:`distvae.concerns`).
"""

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distvae.choices import (
    ActivationName,
    Binarization,
    KLScheduleName,
    LearningRateScheduleName,
)
from distvae.combinations import first_fitting, misfit, refuse_misfits
from distvae.concerns import (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    RunConfig,
)
from distvae.declarations import TERMS, declared
from distvae.errors import DistvaeError, nearest, shown
from distvae.lengths import USUAL_LEAD, fitting_batch, fitting_epochs, steps_in
from distvae.usual import fitting_pseudo_inputs, has_few
from distvae.values import coerce, expected, named

__all__ = [
    "ActivationName",
    "Binarization",
    "DataConfig",
    "KLScheduleName",
    "LearningRateScheduleName",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "RunConfig",
    "TrainConfig",
    "added_terms",
    "refuse_out_of_range",
    "unusual",
    "usual_likelihood",
]


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run, by concern."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @property
    def keeps_best(self) -> bool:
        """Whether the best weights are kept, or only the newest."""
        if self.run.keep_best is None:
            return self.optim.early_stopping is not None
        return self.run.keep_best

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other, naming the flags."""
        flat = self.to_flat()
        refuse_out_of_range(flat)
        if (self.optim.batch_size or 0) % self.optim.accumulate:
            raise DistvaeError(
                f"--batch-size {self.optim.batch_size} cannot be split into --accumulate "
                f"{self.optim.accumulate} equal micro-batches"
            )
        kinds = {name: named(kind) for _, name, kind in _settings()}
        options = {
            name: typing.get_args(kind)
            for name, kind in kinds.items()
            if typing.get_origin(kind) is typing.Literal
        }
        refuse_misfits(flat, options)
        if (self.data.shorter_side or math.inf) < (self.data.image_size or 0):
            raise DistvaeError(
                f"--shorter-side {self.data.shorter_side} is less than --image-size "
                f"{self.data.image_size}",
                "crops of that size are taken out of images whose shorter side it is",
                f"Take --shorter-side {self.data.image_size} or more.",
            )

    def resolved(self, channels: int | None, domain: str = "images") -> "TrainConfig":
        """This configuration with what depends on the examples filled in.

        Args:
            channels: of the examples that will be trained on; None where they have none.
            domain: what an example is, by name.

        Raises:
            DistvaeError: the likelihood does not fit the images.
        """
        objective = self.objective.objective
        if self.model.infer_label and objective != "m2":
            raise DistvaeError(
                f"--infer-label does not fit --objective {objective}",
                "it trains no q(y|x)",
                "Take --objective m2, or leave --infer-label out.",
            )
        infer = True if objective == "m2" else self.model.infer_label
        known = self.updated({"domain": domain}, "the data")  # refuses what does not go with it
        likelihood = self.model.likelihood or usual_likelihood(channels, domain)
        binarize = self.data.binarize or ("dynamic" if likelihood == "bernoulli" else "none")
        if likelihood == "bernoulli" and binarize == "none" and channels != 1:
            raise DistvaeError(
                f"--likelihood bernoulli does not fit images of {channels} channels",
                "it describes black and white, or at most grey, pixels",
                "Take --likelihood gaussian or discretized_logistic, or --channels 1, or "
                "--binarize dynamic.",
            )
        filling = {"likelihood": likelihood, "binarize": binarize, "infer_label": infer}
        filled = known.updated(filling, "the data")
        return dataclasses.replace(filled, objective=self.objective.resolved())

    def fitted(self, images: int, side: int, labels: int, several: bool = False) -> "TrainConfig":
        """This configuration with batch, epochs, network and prior that fit the training images.

        Widths that were left out are filled in too, so that they are recorded.

        Args:
            images: how many there are.
            side: the shorter one, in pixels; 0 where they are no images.
            labels: 0 for images without them.
            several: whether images are given something else than one label.
        """
        few = has_few(images, side)
        dense = not few or self.model.hidden is not None
        optim = self.optim
        batch = optim.batch_size or fitting_batch(images)
        epochs = optim.epochs or fitting_epochs(images, batch, optim.max_steps)
        steps = steps_in(images, batch, epochs, optim.max_steps)
        fitting = {
            "batch_size": batch,
            "epochs": epochs,
            **self._fitting_start(steps),
            **({} if optim.lr_scale == "off" else {"lr_batch": fitting_batch(images)}),
            "network": self._fitting_network(dense),
            "hidden": self.model.widths,
            **self._fitting_prior(images, labels, few, several),
        }
        flat = self.to_flat()
        left_out = {name: value for name, value in fitting.items() if flat[name] is None}
        return self.updated(left_out, "the data")

    def _fitting_start(self, steps: int) -> dict[str, int]:
        """When a critic begins to learn and is heard, in a run of so many steps, if there is one."""
        if self.objective.critic is None:
            return {}
        flat = self.to_flat()
        start, lead = flat["critic_start"], flat["critic_lead"]
        if start is None:
            start = max(steps // 4, lead or 0)
        return {"critic_start": start, "critic_lead": min(USUAL_LEAD, start)}

    def _fitting_network(self, dense: bool) -> str:
        """The first network that goes with the other settings."""
        names = ("mlp", "conv", "fcn") if dense else ("conv", "mlp", "fcn")
        return first_fitting(self.to_flat(), "network", names)

    def _fitting_prior(self, images: int, labels: int, few: bool, several: bool) -> dict[str, Any]:
        """The first prior that goes with the other settings, where none was asked for."""
        if self.model.prior is not None:
            return {}
        if self.model.model == "vae":
            labels, several = 0, False
        size = self.to_flat()["prior_components"] or fitting_pseudo_inputs(images, labels)
        flat = self.to_flat()
        if few and size and not several and not misfit({**flat, "prior": "vamp"}):
            return {"prior": "vamp", "prior_components": size}
        return {"prior": first_fitting(flat, "prior", ("label", "normal", "codes"))}

    def to_flat(self) -> dict[str, Any]:
        """Every setting under its flag's name, in the order of the classes above."""
        return {
            name: value
            for concern in dataclasses.fields(self)
            for name, value in vars(getattr(self, concern.name)).items()
        }

    def updated(self, settings: Mapping[str, Any], origin: str) -> "TrainConfig":
        """This configuration with the named settings changed.

        Args:
            settings: flat names and values, as read from YAML or JSON.
            origin: where they were read, for error messages.

        Raises:
            DistvaeError: a name is unknown or a value has another type.
        """
        owners = {name: concern for concern, name, _ in _settings()}
        kinds = {name: kind for _, name, kind in _settings()}
        changes: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            if name not in owners:
                raise DistvaeError(
                    f"unknown setting {name!r} in {origin}",
                    "settings are the flags of `distvae train --help`, with underscores",
                    nearest(str(name), owners),
                )
            changes.setdefault(owners[name], {})[name] = coerce(name, value, kinds[name], origin)
        concerns = {
            name: dataclasses.replace(getattr(self, name), **changed)
            for name, changed in changes.items()
        }
        return dataclasses.replace(self, **concerns)


def added_terms(objective: ObjectiveConfig) -> list[str]:
    """The flags by which terms are added to an objective."""
    chosen = {name: getattr(objective, name) for name in TERMS}
    return [f"--{name} {value}" for name, value in chosen.items() if value is not None]


def usual_likelihood(channels: int | None, domain: str) -> str:
    """What describes examples of a domain and so many channels, where nothing else is asked for."""
    part: Any = declared("domain")[domain].part
    return (part.likelihood_of_one if channels == 1 else None) or str(part.likelihood)


def refuse_out_of_range(settings: Mapping[str, Any]) -> None:
    """Refuse numbers that make no sense; None is left out and makes some.

    Args:
        settings: some of a run, by name.

    Raises:
        DistvaeError: it names the flag, what it is and what was expected.
    """
    for name in settings.keys() & ranges().keys():
        value = settings[name]
        if meant := expected(value, ranges()[name]):
            given = shown(list(value) if isinstance(value, tuple) else value)
            raise DistvaeError(f"--{name.replace('_', '-')} is {given}", f"expected {meant}")


@functools.cache
def _settings() -> tuple[tuple[str, str, Any], ...]:
    """(concern, setting, type) of every setting."""
    return tuple(
        (concern.name, setting, kind)
        for concern in dataclasses.fields(TrainConfig)
        for setting, kind in typing.get_type_hints(concern.type).items()
    )


@functools.cache
def ranges() -> dict[str, Any]:
    """Types of all settings by name, with the bounds of numbers."""
    return {
        name: kind
        for concern in dataclasses.fields(TrainConfig)
        for name, kind in typing.get_type_hints(concern.type, include_extras=True).items()
    }


def unusual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, as JSON has them, that are not the defaults."""
    usual = TrainConfig().to_flat()
    plain = {name: list(it) if isinstance(it, tuple) else it for name, it in usual.items()}
    return {name: it for name, it in settings.items() if it != plain.get(name)}
