"""Latents in a plane, coloured by label.

Legend: N examples, n of them that are drawn, Z latents, L labels.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.places import evenly
from distvae.terminal import say
from distvae.text import counted
from distvae.tools.latent_files import Table
from distvae.tools.outputs import Outputs, write_csv
from distvae.tools.scatter import Plane, draw_planes

Kind = Literal["pca", "tsne"]
KINDS: tuple[Kind, ...] = ("pca", "tsne")
MOST = {"pca": 5000, "tsne": 2000}
"""Examples that are drawn, taken evenly; t-SNE takes its time."""
PERPLEXITY = 30.0


class Projection(NamedTuple):
    """Points in a plane."""

    kind: Kind
    rows: NDArray[np.int64]
    """Which examples ``[n]``."""
    points: NDArray[np.float32]
    """``[n, 2]``."""
    explained: tuple[float, float] | None = None
    """Shares of the variance along both axes, of principal components."""


def project(codes: NDArray[np.floating], kind: Kind, seed: int = 0) -> Projection:
    """The plane of the two largest principal components, or that of t-SNE.

    Args:
        codes: ``[N, Z]``, at least two.
        kind: which plane.
        seed: of t-SNE, which begins with the principal components.

    Raises:
        DistvaeError: there are fewer than two examples.
    """
    if len(codes) < 2:
        raise DistvaeError("a plane of one example", "expected at least two examples")
    rows = evenly(len(codes), MOST[kind])
    if kind == "tsne" and len(rows) < 4:
        kind = "pca"  # there are no neighbours to keep
    if kind == "pca":
        points, explained = _principal(codes, rows)
        return Projection(kind, rows, points, explained)
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, init="pca", random_state=seed % 2**32)
    return Projection(kind, rows, plane.fit_transform(codes[rows].astype(np.float32)))


def _principal(
    codes: NDArray[np.floating], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Coordinates along the two directions of the greatest variance of all examples."""
    from sklearn.decomposition import PCA

    wide = codes.astype(np.float64)
    if wide.shape[1] == 1:
        wide = np.concatenate([wide, np.zeros_like(wide)], 1)
    fitted = PCA(2, svd_solver="full").fit(wide)
    first, second = np.nan_to_num(fitted.explained_variance_ratio_).tolist()
    return fitted.transform(wide[rows]).astype(np.float32), (first, second)


def write_projection(table: Table, kinds: Sequence[Kind], seed: int, outputs: Outputs) -> list[str]:
    """Draw planes beside each other into projector.png; coordinates go to projector-KIND.csv.

    Returns:
        Lines that tell of them.
    """
    planes, lines = [], []
    for kind in kinds:
        if kind == "tsne":
            say(f"t-SNE of {min(MOST[kind], len(table.ids)):,} examples")
        found = project(table.mean, kind, seed)
        labels = table.labels[found.rows]
        words = [table.label_names[label] if label >= 0 else "" for label in labels]
        rows = [
            (table.ids[row], word, f"{x:.6g}", f"{y:.6g}")
            for row, word, (x, y) in zip(found.rows, words, found.points.tolist(), strict=True)
        ]
        path = outputs.beside(f"projector-{found.kind}.csv")
        write_csv(path, ("id", "label", "x", "y"), rows)
        planes.append(Plane(_title(found), found.points, labels))
        lines.append(_title(found))
    draw_planes(outputs.beside("projector.png"), planes, table.label_names)
    return lines


def _title(found: Projection) -> str:
    drawn = counted(len(found.points), "examples")
    if found.explained is None:
        return f"t-SNE of {drawn}"
    first, second = (f"{100 * share:.1f} %" for share in found.explained)
    return f"principal components of {drawn}: {first} and {second} of the variance"
