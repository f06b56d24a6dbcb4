"""Encoder and decoder families, by name.

An encoder is built from ``(config, shape, given)``, where ``given`` says what a context
holds, and maps images and contexts to ``[B, out_features]``; a decoder also takes
``maps_per_channel`` and maps latents and contexts to the likelihood's parameters ``[B, P, H, W]``.
They take any image size and channel count, ``mlp`` also examples of any shape.
"""

from distvae.networks.conv import ConvDecoder, ConvEncoder
from distvae.networks.mlp import MLPDecoder, MLPEncoder
from distvae.networks.resnet import ResNetDecoder, ResNetEncoder

Encoder = MLPEncoder | ConvEncoder | ResNetEncoder
Decoder = MLPDecoder | ConvDecoder | ResNetDecoder

NETWORKS: dict[str, tuple[type[Encoder], type[Decoder]]] = {
    "mlp": (MLPEncoder, MLPDecoder),
    "conv": (ConvEncoder, ConvDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
}
