"""Layers of a trained model in the form that inference runtimes do best: the same functions.

Legend: B batch, F features, C channels, H height, W width, Z latent dimensions, L labels.
"""

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.models import VAE
from distvae.networks.conv import ConvDecoder
from distvae.networks.layers import ImageNorm, Modulation
from distvae.networks.mlp import DenseLayers
from distvae.networks.pyramid import unfold
from distvae.priors import LabelPrior
from distvae.priors.mixture import Mixture, Tables


class FixedModulation(nn.Module):
    """``h factor[y] + shift[y]`` from two finished tables, where training has ``1 + scale[y]``."""

    def __init__(self, trained: Modulation) -> None:
        super().__init__()
        assert trained.table is not None
        scale, shift = trained.table.weight.detach().chunk(2, dim=1)
        self.factor = nn.Parameter(1.0 + scale)
        self.shift = nn.Parameter(shift.clone())

    def take_bias(self, layer: nn.Linear) -> None:
        """Add what a layer adds before this one, which then is a product and nothing else."""
        self.shift.data += layer.bias.data * self.factor.data
        layer.bias = None  # type: ignore[assignment]

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """``features [B, F]`` or ``[B, F, H, W]``, ``labels [B]`` int64."""
        factor, shift = F.embedding(labels, self.factor), F.embedding(labels, self.shift)
        if features.dim() == 4:
            factor, shift = factor[:, :, None, None], shift[:, :, None, None]
        return features * factor + shift


class ConvolvedNorm(nn.Module):
    """:class:`ImageNorm` with its means taken by convolutions of one pixel.

    ONNX Runtime adds a mean over channels up in another order when the batch is one image, so that
    an image would depend on the batch it is drawn in; a convolution is the same for every batch.
    """

    def forward(self, features: Tensor) -> Tensor:
        """``features [B, C, H, W]``."""
        channels = features.shape[1]
        average = torch.full((1, channels, 1, 1), 1.0 / channels)
        centred = features - F.conv2d(features, average)
        return centred * torch.rsqrt(F.conv2d(centred * centred, average) + 1e-5)


class FoldedConvDecoder(nn.Module):
    """:class:`ConvDecoder` whose last convolution works on features that are still folded.

    Unfolding is slow in ONNX Runtime, and most so for the widest features. A 3x3 convolution after
    it is a 3x3 convolution before it, with the four pixels of a fold as channels.
    """

    def __init__(self, trained: ConvDecoder) -> None:
        super().__init__()
        self.trained = trained
        weight = trained.out.weight.detach()
        outputs, inputs = weight.shape[:2]
        folded = weight.new_zeros(outputs, 2, 2, inputs, 2, 2, 3, 3)
        for y, x, down, right in itertools.product(range(2), range(2), range(3), range(3)):
            row, from_y = divmod(y + down - 1, 2)
            column, from_x = divmod(x + right - 1, 2)
            folded[:, y, x, :, from_y, from_x, row + 1, column + 1] = weight[:, :, down, right]
        self.weight = nn.Parameter(folded.reshape(4 * outputs, 4 * inputs, 3, 3))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """``z [B, Z]`` to ``[B, P, H, W]``."""
        maps = F.conv2d(self.trained.folded_features(z, labels), self.weight, padding=1)
        maps = unfold(maps, *self.trained.levels[0][1:])
        return unfold(maps, self.trained.height, self.trained.width) + self.trained.offset


class FixedLabelPrior(nn.Module):
    """:class:`LabelPrior` with its tables finished, and without the way back."""

    def __init__(self, trained: LabelPrior) -> None:
        super().__init__()
        self.noise_dim = trained.noise_dim
        mean, colouring = trained.tables()
        self.mean, self.colouring = nn.Parameter(mean), nn.Parameter(colouring.flatten(1))

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """``noise [B, Z]``, ``labels [B]`` int64, to ``[B, Z]``."""
        colouring = F.embedding(labels, self.colouring).view(-1, self.noise_dim, self.noise_dim)
        return F.embedding(labels, self.mean) + (colouring @ noise.unsqueeze(2)).squeeze(2)


class FixedMixture(nn.Module):
    """:class:`Mixture` with its tables finished; a VampPrior no longer needs its encoder."""

    def __init__(self, trained: Mixture) -> None:
        super().__init__()
        self.noise_dim = trained.noise_dim
        mean, scale, thresholds, self.own = trained.tables()
        self.mean, self.scale = nn.Parameter(mean), nn.Parameter(scale)
        self.thresholds = nn.Parameter(thresholds)

    def transform(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """``noise [B, noise_dim]``, ``labels [B]`` int64 or None, to ``[B, Z]``."""
        tables = Tables(self.mean, self.scale, self.thresholds, self.own)
        return tables.transform(noise, labels)


@torch.no_grad()
def for_inference(model: VAE) -> VAE:
    """A copy of a model, on the CPU and in evaluation mode, with such layers."""
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Modulation) and layer.table is not None:
                setattr(parent, name, FixedModulation(layer))
            elif isinstance(layer, LabelPrior):
                setattr(parent, name, FixedLabelPrior(layer))
            elif isinstance(layer, Mixture):
                setattr(parent, name, FixedMixture(layer))
            elif isinstance(layer, ImageNorm):
                setattr(parent, name, ConvolvedNorm())
    decoder = model.decoder
    if isinstance(decoder, ConvDecoder) and decoder.unfolds_evenly:
        model.decoder = FoldedConvDecoder(decoder)  # type: ignore[assignment]
    for layers in model.modules():
        if isinstance(layers, DenseLayers) and not layers.normed:
            for dense, modulation in zip(layers.dense, layers.modulation, strict=True):
                if isinstance(modulation, FixedModulation) and isinstance(dense, nn.Linear):
                    modulation.take_bias(dense)
    return model
