"""The tutorial's VAE in PyTorch, fed image by image, or by Hugging Face datasets and Accelerate."""

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

BATCH = 128


class VAE(nn.Module):
    """784-256-128-2-128-256-784, ReLU, sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 4)
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU()),
            *(nn.Linear(256, 784), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, 784]`` in [0, 1] to the negative evidence lower bound, nats per image."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        cross_entropy = F.binary_cross_entropy(self.decoder(z), x, reduction="sum")
        rate = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        return (cross_entropy + rate) / len(x)


class PillowImages(Dataset[Tensor]):
    """As torchvision's MNIST with ToTensor: a Pillow image made and converted on each access."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = Image.fromarray(self.images[index].numpy())
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(28, 28, 1)
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def train_plain(images: NDArray[np.uint8], epochs: int) -> tuple[list[float], float]:
    """A loop as in most tutorials.

    Seconds of each epoch over ``images [N, 28, 28]``, and the mean loss of the last in nats.
    """
    loader = DataLoader(PillowImages(images), batch_size=BATCH, shuffle=True)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        total = 0.0
        for batch in loader:
            optimizer.zero_grad()
            loss = model(batch.view(-1, 784))
            loss.backward()
            total += loss.item()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds, total / len(loader)


def train_datasets(images: NDArray[np.uint8], epochs: int) -> tuple[list[float], float]:
    """Accelerate over a Hugging Face data set of PNG images in torch format.

    Seconds of each epoch over ``images [N, 28, 28]``, and the mean loss of the last in nats.
    """
    import datasets
    from accelerate import Accelerator

    table = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(image) for image in images]},
        features=datasets.Features({"image": datasets.Image()}),
    )
    rows: Any = table.with_format("torch")
    accelerator = Accelerator()
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(rows, batch_size=BATCH, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        total = torch.zeros((), device=accelerator.device)
        for batch in loader:
            loss = model(batch["image"].view(-1, 784).float() / 255)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            total += loss.detach()
        mean = total.item() / len(loader)  # waits for the device
        seconds.append(time.perf_counter() - started)
    return seconds, mean
