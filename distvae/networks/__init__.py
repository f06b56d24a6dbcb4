"""Encoder and decoder families, by name.

An encoder is built from ``(config, shape, given)``, where ``given`` says what a context
holds, and maps images and contexts to a tuple of features, the finest first: their ``shapes`` are
those of maps ``[B, C, H, W]``, or of one vector ``[B, F]``, without the batch. A latent space makes
of them what it needs. A decoder also takes ``maps_per_channel`` and maps latents and contexts to
the likelihood's parameters ``[B, P, H, W]``.
They take any image size and channel count, ``mlp`` also examples of any shape.
"""

from typing import Any

from distvae.parts import registry

NETWORKS: dict[str, tuple[Any, Any]] = registry("network")
