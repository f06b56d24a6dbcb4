"""The tutorial's VAE trained by pythae's BaseTrainer."""

import tempfile
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pythae.data.datasets import BaseDataset  # type: ignore[import-not-found]
from pythae.models import VAE, VAEConfig  # type: ignore[import-not-found]
from pythae.models.base.base_utils import ModelOutput  # type: ignore[import-not-found]
from pythae.models.nn import BaseDecoder, BaseEncoder  # type: ignore[import-not-found]
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # type: ignore[import-not-found]
from pythae.trainers.training_callbacks import TrainingCallback  # type: ignore[import-not-found]
from torch import Tensor, nn


class Encoder(BaseEncoder):  # type: ignore[misc]
    """784-256-128-2."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(128, 2), nn.Linear(128, 2)

    def forward(self, x: Tensor) -> Any:
        """Images ``[B, 1, 28, 28]`` to mean and log-variance ``[B, 2]``."""
        features = self.layers(x.flatten(1))
        return ModelOutput(
            embedding=self.mean(features), log_covariance=self.log_variance(features)
        )


class Decoder(BaseDecoder):  # type: ignore[misc]
    """2-128-256-784."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU()),
            *(nn.Linear(256, 784), nn.Sigmoid()),
        )

    def forward(self, z: Tensor) -> Any:
        """Latents ``[B, 2]`` to probabilities ``[B, 1, 28, 28]``."""
        return ModelOutput(reconstruction=self.layers(z).view(-1, 1, 28, 28))


class Clock(TrainingCallback):  # type: ignore[misc]
    """Seconds and loss of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.started = 0.0

    def on_epoch_begin(self, training_config: Any, **rest: Any) -> None:
        """Starts the watch."""
        self.started = time.perf_counter()

    def on_epoch_end(self, training_config: Any, **rest: Any) -> None:
        """Stops it."""
        self.seconds.append(time.perf_counter() - self.started)

    def on_log(self, training_config: Any, logs: dict[str, float], **rest: Any) -> None:
        """Keeps the loss."""
        self.losses.append(logs["train_epoch_loss"])


def train(images: NDArray[np.uint8], epochs: int) -> tuple[list[float], float]:
    """Seconds of each epoch over ``images [N, 28, 28]``, and the mean loss of the last in nats."""
    pixels = torch.from_numpy(images).unsqueeze(1).float() / 255
    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        settings = BaseTrainerConfig(
            output_dir=scratch,
            num_epochs=epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=128,
            optimizer_cls="Adam",
        )
        model = VAE(
            VAEConfig(input_dim=(1, 28, 28), latent_dim=2, reconstruction_loss="bce"),
            encoder=Encoder(),
            decoder=Decoder(),
        )
        data = BaseDataset(pixels, torch.zeros(len(pixels)))
        BaseTrainer(model, data, training_config=settings, callbacks=[clock]).train()
    return clock.seconds, clock.losses[-1]
