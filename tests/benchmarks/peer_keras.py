"""The tutorial's VAE in Keras 3 on TensorFlow: a model with its own train_step, as on keras.io."""

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras  # type: ignore[import-not-found]
import tensorflow as tf  # type: ignore[import-untyped]
from keras import layers, ops


class Sampling(layers.Layer):  # type: ignore[misc]
    """Draws z from mean and log-variance."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs: Any) -> Any:
        """Mean and log-variance ``[B, 2]`` to z ``[B, 2]``."""
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


class VAE(keras.Model):  # type: ignore[misc]
    """784-256-128-2-128-256-784."""

    def __init__(self) -> None:
        super().__init__()
        pixels = keras.Input((784,))
        x = layers.Dense(128, activation="relu")(layers.Dense(256, activation="relu")(pixels))
        mean, log_variance = layers.Dense(2)(x), layers.Dense(2)(x)
        z = Sampling()([mean, log_variance])
        self.encoder = keras.Model(pixels, [mean, log_variance, z])
        latents = keras.Input((2,))
        x = layers.Dense(256, activation="relu")(layers.Dense(128, activation="relu")(latents))
        self.decoder = keras.Model(latents, layers.Dense(784, activation="sigmoid")(x))
        self.trackers = [keras.metrics.Mean(name) for name in ("loss", "reconstruction", "kl")]

    @property
    def metrics(self) -> list[Any]:
        """What ``fit`` resets at the start of an epoch."""
        return self.trackers

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on ``data [B, 784]``."""
        with tf.GradientTape() as tape:
            mean, log_variance, z = self.encoder(data)
            cross_entropy = keras.losses.binary_crossentropy(data, self.decoder(z))
            reconstruction = 784 * ops.mean(cross_entropy)
            kl = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
            kl = ops.mean(ops.sum(kl, axis=1))
            loss = reconstruction + kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for tracker, value in zip(self.trackers, (loss, reconstruction, kl), strict=True):
            tracker.update_state(value)
        return {tracker.name: tracker.result() for tracker in self.trackers}


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the watch."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops it."""
        self.seconds.append(time.perf_counter() - self.started)


def train(images: NDArray[np.uint8], epochs: int) -> tuple[list[float], float]:
    """Seconds of each epoch over ``images [N, 28, 28]``, and the mean loss of the last in nats."""
    return _train(images, epochs, "auto")


def train_jit(images: NDArray[np.uint8], epochs: int) -> tuple[list[float], float]:
    """The same, the step compiled by XLA."""
    return _train(images, epochs, True)


def _train(
    images: NDArray[np.uint8], epochs: int, jit_compile: bool | str
) -> tuple[list[float], float]:
    model, clock = VAE(), Clock()
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=jit_compile)
    pixels = images.reshape(-1, 784).astype("float32") / 255
    history = model.fit(pixels, epochs=epochs, batch_size=128, verbose=0, callbacks=[clock])
    return clock.seconds, history.history["loss"][-1]
