"""Codes of examples as one array, for whoever trains on codes instead of examples.

Legend: N examples, B of them read together, T codes of an example, C codes of the book, D numbers
that a code stands for.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.files import replacing_file
from distvae.terminal import progress_bar
from distvae.tools.encoding import Advance, labels_of
from distvae.tools.examples import Examples
from distvae.tools.trained import Trained

CODES = "codes.npz"
Found = Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Numbers of some examples ``[B]``, and their codes ``[B, T]``, or ``[B, H, W]`` of a map."""


class CodeBook(NamedTuple):
    """What makes codes of examples."""

    values: NDArray[np.float32]
    """What each code stands for ``[C, D]``."""
    grid: tuple[int, ...]
    """How the codes of an example lie."""
    found: Callable[[Examples, Advance], Found]
    """Those of all examples, telling how many are done."""


def write_codes(trained: Trained, examples: Examples, path: Path) -> str:
    """Write the codes of all examples, and what they are called; gives a line that tells of them.

    The file holds ``codes [N, T]``, or ``[N, H, W]`` of a map, of the smallest whole numbers that
    fit; ``book``, how many codes there are; ``values``, what each code stands for; ``ids``,
    ``splits``, and where there are labels ``labels`` (-1 where one is not known) and
    ``label_names``.

    Raises:
        DistvaeError: the latents are no codes, or an exported file does not tell them.
    """
    book = _of_weights(trained) if trained.onnx is None else _of_file(trained)
    with progress_bar("encoding", len(examples)) as advance:
        parts = list(book.found(examples, advance))
    examples.refuse_none()
    numbers = np.concatenate([rows for rows, _ in parts])
    codes = np.concatenate([each for _, each in parts])
    splits = examples.splits
    arrays: dict[str, Any] = {
        "codes": codes.astype(np.min_scalar_type(len(book.values) - 1)),
        "book": np.array(len(book.values)),
        "values": book.values,
        "ids": np.array(examples.names(numbers)),
        "splits": np.array([splits[row] for row in numbers]),
    }
    if examples.label_names:
        arrays["labels"] = examples.labels[numbers]
        arrays["label_names"] = np.array(examples.label_names)
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    sides, used = " x ".join(map(str, book.grid)), len(np.unique(codes))
    what = f"{len(codes):,} {examples.domain.examples}, {sides} codes each"
    return f"{what}, {used} of {len(book.values)}"


def _of_weights(trained: Trained) -> CodeBook:
    import torch

    from distvae.latents.codes import CodeSpace
    from distvae.tools.batches import batches

    space = trained.model.latents
    if not isinstance(space, CodeSpace):
        raise DistvaeError(
            f"--codes needs latents that are codes, and those of {trained.name} are none",
            "expected a model of --latent-space fsq or vq",
            "Leave --codes out.",
        )

    def found(examples: Examples, advance: Advance) -> Found:
        for seen in batches(trained, examples, advance=advance):
            with torch.no_grad():
                features = trained.model.features(seen.expected, seen.context)
                codes = space.codes_of(features, seen.context).reshape(-1, *space.grid)
            yield seen.part.rows, codes.cpu().numpy()

    with torch.no_grad():
        values = space.book_values.cpu().numpy()
    return CodeBook(values, space.grid, found)


def _of_file(trained: Trained) -> CodeBook:
    from distvae.export.encoder import Encoder

    assert trained.onnx is not None
    encoder = Encoder(trained.onnx)

    def found(examples: Examples, advance: Advance) -> Found:
        for part in examples.parts():
            if len(part.rows):
                yield part.rows, encoder.codes(part.stored, labels_of(trained, part.given))
            advance(part.asked.stop - part.asked.start)

    book = encoder.book  # which refuses a file without codes
    assert encoder.manifest.codes is not None
    return CodeBook(book, encoder.manifest.codes.grid, found)
