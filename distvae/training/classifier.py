"""The classifier that a model is trained by: the same bytes on every process of a run."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from distvae.config import DataConfig
from distvae.data.cache import cache_folder
from distvae.data.image_data import ImageData
from distvae.evaluation.judge import JudgeNetwork
from distvae.evaluation.own_classifier import (
    LIKENESS,
    Asker,
    Labeller,
    get_classifier,
    labels_alone,
    maps_of,
)
from distvae.terminal import progress_bar
from distvae.training.world import together

OBEDIENCE = Asker("--objective obedience", "Take --objective elbo, or data with labels.")
Build = Callable[[JudgeNetwork, str], nn.Module]


class OwnClassifiers:
    """Makes what objectives and terms ask of a classifier of the run's images.

    Args:
        data: of the run.
        settings: of the same, which say where the classifier is kept.
        accelerator: of the run.
    """

    def __init__(self, data: ImageData, settings: DataConfig, accelerator: Accelerator) -> None:
        self.data, self.settings, self.accelerator = data, settings, accelerator

    def maps(self) -> nn.Module:
        """Its maps of images, as :class:`distvae.terms.maps.Convolutions`.

        Raises:
            DistvaeError: the images have no labels to tell apart, or it cannot be kept.
        """
        return self._everywhere(LIKENESS, maps_of)

    def whole(self) -> nn.Module:
        """All of it, as :class:`distvae.evaluation.own_classifier.Labeller`.

        Raises:
            DistvaeError: as :meth:`maps`.
        """
        return self._everywhere(OBEDIENCE, Labeller)

    def _everywhere(self, asker: Asker, build: Build) -> nn.Module:
        """What is built of it, which the main process trains or reads, the others are sent."""
        built = together(self.accelerator, lambda: self._read(asker, build))
        if self.accelerator.num_processes > 1:
            built = built.to(self.accelerator.device)
            for buffer in built.buffers():
                torch.distributed.broadcast(buffer, 0)
        return built

    def _read(self, asker: Asker, build: Build) -> nn.Module:
        labelled = labels_alone(self.data, asker)
        if not self.accelerator.is_main_process:
            with torch.random.fork_rng(devices=[]):
                return build(JudgeNetwork(labelled.shape, labelled.num_labels), "")
        found = get_classifier(labelled, cache_folder(self.settings), progress_bar, asker)
        told = (
            f"{asker.setting}: it is right on {found.test_accuracy.value:.1%} of the test "
            f"images, and lies in {found.path}"
        )
        return build(found.members[0].model, told)
