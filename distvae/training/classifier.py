"""The classifier that a model is trained by: the same bytes on every process of a run."""

import torch
from accelerate import Accelerator

from distvae.config import DataConfig
from distvae.data.cache import cache_folder
from distvae.data.image_data import ImageData
from distvae.evaluation.judge import JudgeNetwork
from distvae.evaluation.own_classifier import get_classifier, labels_alone, maps_of
from distvae.terminal import progress_bar
from distvae.terms.maps import Convolutions
from distvae.training.world import together


def classifier_maps(
    data: ImageData, settings: DataConfig, accelerator: Accelerator
) -> Convolutions:
    """The maps of a classifier of the training images, which the main process trains or reads.

    Raises:
        DistvaeError: the images have no labels to tell apart, or it cannot be kept.
    """

    def read() -> Convolutions:
        labelled = labels_alone(data)
        if not accelerator.is_main_process:
            with torch.random.fork_rng(devices=[]):
                return maps_of(JudgeNetwork(labelled.shape, labelled.num_labels))
        found = get_classifier(labelled, cache_folder(settings), progress_bar)
        told = (
            f"--perceptual classifier: it is right on {found.test_accuracy.value:.1%} of the test "
            f"images, and lies in {found.path}"
        )
        return maps_of(found.members[0].model, told)

    maps = together(accelerator, read)
    if accelerator.num_processes > 1:
        maps = maps.to(accelerator.device)
        for buffer in maps.buffers():
            torch.distributed.broadcast(buffer, 0)
    return maps
