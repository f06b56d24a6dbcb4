"""Repaired pictures as files: arrays in parts that a killed process leaves whole, and a table.

Legend: N pictures.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.identity import combined
from distvae.files import replacing_file
from distvae.tools.corruption import Noise
from distvae.tools.examples import Examples
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.parts import Parts
from distvae.tools.repair_figures import Tally
from distvae.tools.repaired import ARRAYS, Asked, Repair, joined, repaired, usual_part
from distvae.tools.trained import Trained, weights_of

ANSWERS = "answers"
"""The folder of the parts."""


def write_answers(
    trained: Trained,
    examples: Examples,
    rows: NDArray[np.int64],
    asked: Asked,
    outputs: Outputs,
    tally: Tally,
    part_rows: int | None,
) -> None:
    """Repair pictures into a folder of parts with flat memory, and tell the tally of each.

    A command that was killed goes on after the last part, if all that was asked is the same.
    """
    size = part_rows or usual_part(trained, asked)
    key = combined([weights_of(trained), examples.identity, rows.tolist(), asked.identity, size])
    parts = Parts(outputs.path(f"{ANSWERS}/"), ".npz", key)
    parts.take_up(examples, len(rows))
    collected: list[Repair] = []
    with parts.telling_how_to_go_on():
        for stop, found in repaired(trained, examples, rows, asked, parts.next, size):
            collected += [] if found is None else [found]
            if collected and (stop - parts.next >= size or stop == len(rows)):
                parts.write(functools.partial(_save, joined(collected)), stop, examples.lost)
                collected = []
    parts.finish()
    outputs.written[-1] = parts.shown
    for path in parts.paths:
        tally.add(_load(path, asked.noise))


def write_one(found: Iterator[tuple[int, Repair | None]], outputs: Outputs, tally: Tally) -> None:
    """Repair pictures into the one file that was asked for, and tell the tally of each."""
    kept: list[Repair] = []
    for _, part in found:
        if part is not None:
            tally.add(part)
            kept += [part] if outputs.wants(".npz") else []
    if kept:
        with replacing_file(outputs.path("")) as temporary:
            _save(joined(kept), temporary)


def write_summary(outputs: Outputs, tally: Tally, lines: list[str]) -> None:
    """The sheet, and the figures of each picture."""
    if outputs.wants(".csv"):
        write_csv(outputs.path("repaired.csv"), *tally.table())
    if outputs.wants(".png"):
        tally.shown.sheet(lines[0]).write(outputs.path("repaired.png"))


def _save(found: Repair, path: Path) -> None:
    arrays: dict[str, Any] = {name: getattr(found, name) for name in ARRAYS}
    arrays = {name: each for name, each in arrays.items() if each is not None}
    if found.label_names:
        arrays["label_names"] = np.array(found.label_names)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays, ids=np.array(found.ids))


def _load(path: Path, noise: Noise | None) -> Repair:
    with np.load(path) as stored:
        arrays: dict[str, Any] = {name: stored.get(name) for name in ARRAYS}
        names = tuple(map(str, stored["label_names"])) if "label_names" in stored else ()
        ids = list(map(str, stored["ids"]))
    return Repair(**arrays, ids=ids, label_names=names, noise=noise)
