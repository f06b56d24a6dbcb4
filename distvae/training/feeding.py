"""Where the training images of a run come from, and in which order.

They lie on the device where they fit; else they are sent to it ahead of the steps.
"""

import functools
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from distvae.config import TrainConfig
from distvae.data.ahead import Epochs
from distvae.data.augmented import AugmentedImages
from distvae.data.batches import ResidentImages, TrainImages
from distvae.data.image_data import ImageData
from distvae.data.loaded import LoadedImages
from distvae.data.pictures import Pictures
from distvae.data.streamed import StreamedImages
from distvae.data.views import Augmentation


def training_images(
    data: ImageData, images: ResidentImages, config: TrainConfig, accelerator: Accelerator
) -> tuple[TrainImages, Callable[[int], Tensor | range]]:
    """What to train on, and the order of an epoch; what is not on the device comes ahead."""
    seed, device = config.optim.seed, accelerator.device
    world = accelerator.process_index, accelerator.num_processes
    epochs = Epochs(data.train_images, config.optim.batch, *world)
    if data.stream is not None:
        streamed = StreamedImages(data.stream, data.image_shape, seed, epochs, device)
        return streamed, streamed.rows
    resident = (_views(data, config) or images).to(device)
    if not resident.there:
        loaded = LoadedImages(resident, epochs, seed)
        return loaded, loaded.rows

    def order(epoch: int) -> Tensor:
        return torch.from_numpy(resident.order(seed, epoch))

    return resident, functools.lru_cache(2)(order)  # a plan may cross from one to the next


def _views(data: ImageData, config: TrainConfig) -> AugmentedImages | None:
    """The training images as views that are cut anew, where that is asked for."""
    augmentation = Augmentation.of(config.data)
    if not augmentation:
        return None
    train = data.train
    pictures = data.pictures or Pictures.alike(train.stored, train.labels, train.attributes)
    return AugmentedImages(pictures, augmentation, torch.device("cpu"))
