"""Codes of examples as one array, for whoever trains on codes instead of examples.

Legend: N examples, T codes of an example.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.files import replacing_file
from distvae.terminal import progress_bar
from distvae.tools.examples import Examples
from distvae.tools.trained import Trained

CODES = "codes.npz"


def write_codes(trained: Trained, examples: Examples, path: Path) -> str:
    """Write the codes of all examples, and what they are called; gives a line that tells of them.

    The file holds ``codes [N, T]``, or ``[N, H, W]`` of a map, of the smallest whole numbers that
    fit; ``book``, how many codes there are; ``values``, what each code stands for; ``ids``,
    ``splits``, and where there are labels ``labels`` (-1 where one is not known) and
    ``label_names``.

    Raises:
        DistvaeError: the latents are no codes, or no weights are at hand.
    """
    if trained.onnx is not None:
        raise DistvaeError(
            f"--codes needs the weights of the run, and {trained.name} is an ONNX file",
            "it gives what the codes stand for, not their numbers",
            "Name the run folder.",
        )
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
    found: list[NDArray[np.int64]] = []
    rows: list[NDArray[np.int64]] = []
    with progress_bar("encoding", len(examples)) as advance:
        for seen in batches(trained, examples, advance=advance):
            with torch.no_grad():
                features = trained.model.features(seen.expected, seen.context)
                found.append(space.codes_of(features, seen.context).cpu().numpy())
            rows.append(seen.part.rows)
    examples.refuse_none()
    codes, numbers = np.concatenate(found), np.concatenate(rows)
    with torch.no_grad():
        every = torch.arange(space.codes, device=trained.model.device)
        values = space.values_of(every[:, None])[:, 0].cpu().numpy()
    splits = examples.splits
    arrays: dict[str, Any] = {
        "codes": codes.reshape(-1, *space.grid).astype(np.min_scalar_type(space.codes - 1)),
        "book": np.array(space.codes),
        "values": values,
        "ids": np.array(examples.names(numbers)),
        "splits": np.array([splits[row] for row in numbers]),
    }
    if examples.label_names:
        arrays["labels"] = examples.labels[numbers]
        arrays["label_names"] = np.array(examples.label_names)
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    used = len(np.unique(codes))
    sides = " x ".join(map(str, space.grid))
    return f"{len(codes):,} {examples.domain.examples}, {sides} codes each, {used} of {space.codes}"
