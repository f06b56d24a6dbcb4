"""Encoder and decoder families, by name.

They take any image size and channel count, ``mlp`` also examples of any shape.
"""

from distvae.declarations import registry
from distvae.networks.base import BuildDecoder, BuildEncoder, Decoder, Encoder

__all__ = ["NETWORKS", "Decoder", "Encoder"]

NETWORKS: dict[str, tuple[BuildEncoder, BuildDecoder]] = registry("network")
