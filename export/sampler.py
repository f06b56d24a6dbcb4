"""Examples from an exported decoder, without PyTorch. Needs numpy and onnxruntime only."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Given, all_in_turn, asked_values
from distvae.draws.normals import standard_normal
from distvae.export.inputs import (
    checked_rows,
    given_inputs,
    given_of_rows,
    label_numbers,
    mapping_of,
)
from distvae.export.manifest import DECODER
from distvae.export.session import Graph, Opened
from distvae.labels import Label, Labels
from distvae.memory import check_memory
from distvae.ranges import checked_temperature, whole_number

Examples = NDArray[Any]
"""Images uint8 ``[B, C, H, W]``, or vectors float32 ``[B, F]`` in the units of the data."""
VECTOR_BYTES = 32
"""Of each number of the vectors between two ends, with what they are computed from."""


class Sampler(Opened):
    """Draws images from ``decoder.onnx``: on a processor, image i of a seed is always the same.

    Of a model of vectors an image is a row, float32 ``[F]``, in the units of the data.

    Neither the number of images, nor how they are asked for, nor the number of threads changes it.

    A file is opened as :class:`distvae.export.session.Opened` says.
    """

    kind = DECODER

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of a vector; of images there are none."""
        return self.manifest.columns

    def decode(self, noise: NDArray[np.float32], labels: Labels | None = None) -> Examples:
        """Images of noise vectors.

        Args:
            noise: float32 ``[B, noise_dim]``; standard normal for typical images.
            labels: one label for all or one for each row, by name or number; None without labels.
                Of several attributes a mapping from their names, in which None is not known.

        Returns:
            uint8 ``[B, C, H, W]``.

        Raises:
            DistvaeError: the noise is of another type or shape or not finite, or a label is
                missing or unknown.
        """
        inputs = {"noise": checked_rows(noise, "noise", np.float32, (self.manifest.noise_dim,))}
        inputs |= given_of_rows(labels, len(noise), self.manifest)
        return self._graph.run(inputs, len(noise))[0]

    def sample(
        self,
        labels: Labels | None = None,
        count: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
    ) -> Examples:
        """Images drawn from the prior.

        Args:
            labels: labels by name or number, ``count`` images for each; None draws all labels in
                turn from a model that has them. Of several attributes a mapping,
                ``{"digit": 7, "colour": ["red", "blue"]}``; one that is None or left out is not
                known, and so is None in a list.
            count: images for each label, or in all where ``labels`` is None.
            seed: seed of the noise.
            temperature: factor of the noise; below 1 images are more typical and less diverse.

        Returns:
            uint8 ``[len(labels) * count, C, H, W]``, label by label.

        Raises:
            DistvaeError: an unknown label or a setting out of range.
        """
        draw, chunk = _Draw(self._graph, labels, count, seed, temperature), self._graph.chunk
        if draw.total <= chunk:
            return draw(0, draw.total)
        check_memory(
            draw.total * self.manifest.example.bytes,
            f"{draw.total:,} images",
            "Draw fewer, or take them in parts: stream.",
        )
        _, shape, dtype = self.manifest.example
        images = np.empty((draw.total, *shape), dtype)
        for start in range(0, draw.total, chunk):
            part = images[start : start + chunk]
            part[:] = draw(start, len(part))
        return images

    def stream(
        self,
        labels: Labels | None = None,
        count: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        batch: int | None = None,
    ) -> Iterator[Examples]:
        """The images of :meth:`sample` in parts, so that memory stays flat for millions of them.

        Args:
            labels: as for :meth:`sample`.
            count: as for :meth:`sample`.
            seed: as for :meth:`sample`.
            temperature: as for :meth:`sample`.
            batch: images in one part; as many as are fastest where None.

        Returns:
            uint8 ``[batch, C, H, W]`` each, the last one of what is left.

        Raises:
            DistvaeError: as :meth:`sample`, before the first image.
        """
        draw = _Draw(self._graph, labels, count, seed, temperature)
        size = self._graph.chunk if batch is None else whole_number(batch, "batch", 1)
        return (draw(start, min(size, draw.total - start)) for start in range(0, draw.total, size))

    def stream_given(
        self, total: int, given: Given, seed: int = 0, temperature: float = 1.0
    ) -> Iterator[Examples]:
        """Images of a model of several attributes in parts, as :meth:`stream` gives them.

        Args:
            total: how many.
            given: numbers of images int64 ``[B]`` to values of their attributes float32 ``[B, A]``:
                the index of a label or a number, NaN for what is not known.
            seed: of the noise.
            temperature: factor of the noise.
        """
        draw, size = _Draw(self._graph, {}, total, seed, temperature, given), self._graph.chunk
        return (draw(start, min(size, total - start)) for start in range(0, total, size))

    def interpolate(
        self,
        a: NDArray[np.float32],
        b: NDArray[np.float32],
        steps: int,
        label: Label | None = None,
    ) -> Examples:
        """Images on the way from one noise vector to another.

        The way is an arc: noise of many dimensions has nearly always the same length, which a
        straight line would leave.

        Args:
            a: float32 ``[noise_dim]``, the noise of the first image.
            b: float32 ``[noise_dim]``, the noise of the last image.
            steps: images, both ends among them.
            label: label of all of them; None without labels.

        Returns:
            uint8 ``[steps, C, H, W]``.

        Raises:
            DistvaeError: as :meth:`decode`, or fewer than 2 steps.
        """
        steps, manifest = whole_number(steps, "steps", 2), self.manifest
        check_memory(
            steps * (manifest.example.bytes + VECTOR_BYTES * manifest.noise_dim),
            f"{steps:,} images",
            "Take fewer steps.",
        )
        first, last = (
            checked_rows(np.asarray(end)[None], "noise", np.float32, (self.manifest.noise_dim,))[0]
            for end in (a, b)
        )
        return self.decode(great_circle(first, last, steps), label)


class _Draw:
    """Any part of the images that one call asked for."""

    def __init__(
        self,
        graph: Graph,
        labels: Labels | None,
        count: int,
        seed: int,
        temperature: float,
        given: Given | None = None,
    ) -> None:
        self._graph, self._names = graph, graph.manifest.label_names
        self._count = whole_number(count, "count", 0)
        self._seed = whole_number(seed, "seed", 0, bits=128)
        self._temperature = np.float32(checked_temperature(temperature))
        self._given, self._labels, rows = given, None, 1
        if graph.manifest.attributes:
            if given is None:
                rows = self._ask(labels)
        elif labels is not None:
            self._labels = label_numbers(labels, self._names)
            rows = len(self._labels)
        self.total = self._count * rows

    def _ask(self, labels: Labels | None) -> int:
        """Note what is asked for of several attributes; gives the number of rows."""
        attributes = self._graph.manifest.attributes
        if labels is None:
            self._given = partial(all_in_turn, attributes)
            return 1
        values = asked_values(mapping_of(labels, self._graph.manifest), attributes)
        self._given = lambda images: values[images // self._count]
        return len(values)

    def __call__(self, start: int, count: int) -> Examples:
        """Images ``start`` to ``start + count``."""
        noise = standard_normal(self._seed, start, count, self._graph.manifest.noise_dim)
        if self._temperature != 1.0:
            noise *= self._temperature
        inputs: dict[str, NDArray[Any]] = {"noise": noise}
        images = np.arange(start, start + count, dtype=np.int64)
        if self._given is not None:
            inputs |= given_inputs(self._given(images), self._graph.manifest)
        elif self._names:
            inputs["label"] = self._label(images)
        return self._graph.run(inputs, count)[0]

    def _label(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels of images by their number."""
        if self._labels is None:
            return images % len(self._names)
        return self._labels[images // self._count]


def great_circle(a: NDArray[np.float32], b: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """Vectors ``[steps, D]`` from ``a`` to ``b`` ``[D]``, whose direction and length change evenly.

    The ends are exactly ``a`` and ``b``. A vector of length 0 takes the direction of the other.
    """
    lengths = [float(np.linalg.norm(end.astype(np.float64))) for end in (a, b)]
    if not all(lengths):
        units = 2 * [(a + b).astype(np.float64) / (sum(lengths) or 1.0)]
    else:
        units = [
            end.astype(np.float64) / length for end, length in zip((a, b), lengths, strict=True)
        ]
    cosine = float(units[0] @ units[1])
    across = units[1] - cosine * units[0]
    sine = float(np.linalg.norm(across))
    t = np.linspace(0.0, 1.0, steps)[:, None]
    angle = t * math.atan2(sine, cosine)
    direction = np.cos(angle) * units[0] + np.sin(angle) * across / (sine or 1.0)
    path: NDArray[np.float32] = (((1.0 - t) * lengths[0] + t * lengths[1]) * direction).astype(
        np.float32
    )
    path[0], path[-1] = a, b
    return path
