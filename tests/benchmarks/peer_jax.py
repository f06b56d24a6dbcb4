"""The tutorial's VAE in JAX: a whole epoch is one compiled scan, in float32."""

import itertools
import time
from typing import Any

import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]
import numpy as np
from numpy.typing import NDArray

BATCH = 128
ENCODER, DECODER = (784, 256, 128, 4), (2, 128, 256, 784)
Parameters = list[list[tuple[Any, Any]]]


def _dense(key: Any, sizes: tuple[int, ...]) -> list[tuple[Any, Any]]:
    keys = jax.random.split(key, len(sizes))
    return [
        (jax.random.uniform(k, (a, b), minval=-(a**-0.5), maxval=a**-0.5), jnp.zeros(b))
        for k, (a, b) in zip(keys, itertools.pairwise(sizes), strict=False)
    ]


def _apply(layers: list[tuple[Any, Any]], x: Any) -> Any:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def _loss(parameters: Parameters, x: Any, key: Any) -> Any:
    encoder, decoder = parameters
    mean, log_variance = jnp.split(_apply(encoder, x), 2, axis=1)
    z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
    logits = _apply(decoder, z)
    cross_entropy = jnp.maximum(logits, 0) - logits * x + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    rate = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance))
    return (cross_entropy.sum() + rate.sum()) / len(x)


def _step(pixels: Any, state: tuple[Any, ...], batch: tuple[Any, Any]) -> tuple[Any, Any]:
    """One step of Adam at 1e-3."""
    parameters, first, second, count = state
    rows, key = batch
    loss, gradients = jax.value_and_grad(_loss)(parameters, pixels[rows], key)
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradients)
    rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), parameters, first, second
    )
    return (parameters, first, second, count), loss


@jax.jit  # type: ignore[untyped-decorator]
def _epoch(state: tuple[Any, ...], pixels: Any, key: Any) -> tuple[Any, Any]:
    order, noise = jax.random.split(key)
    steps = len(pixels) // BATCH
    rows = jax.random.permutation(order, len(pixels))[: steps * BATCH].reshape(steps, BATCH)
    state, losses = jax.lax.scan(
        lambda carried, batch: _step(pixels, carried, batch),
        state,
        (rows, jax.random.split(noise, steps)),
    )
    return state, losses.mean()


def device() -> str:
    """The kind of device that JAX computes on: ``cpu``, ``gpu``."""
    return str(jax.devices()[0].platform)


def train(images: NDArray[np.uint8], epochs: int) -> tuple[list[float], float]:
    """Seconds of each epoch over ``images [N, 28, 28]``, and the mean loss of the last in nats."""
    pixels = jnp.asarray(images.reshape(-1, 784).astype("float32") / 255)
    keys = jax.random.split(jax.random.key(0), epochs + 2)
    parameters = [_dense(keys[0], ENCODER), _dense(keys[1], DECODER)]
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = (parameters, zeros, zeros, jnp.zeros(()))
    seconds = []
    for key in keys[2:]:
        started = time.perf_counter()
        state, loss = _epoch(state, pixels, key)
        loss.block_until_ready()
        seconds.append(time.perf_counter() - started)
    return seconds, float(loss)
