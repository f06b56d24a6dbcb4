"""`distvae embed`: the latents of images as a table, and how much of their labels is in them.

Legend: N examples, Z latents.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.flags import Alone, Positional
from distvae.labels import Labels
from distvae.ranges import check_seed
from distvae.terminal import progress_bar, say
from distvae.text import counted
from distvae.tools.codes import CODES, write_codes
from distvae.tools.encoding import coder_of
from distvae.tools.examples import Examples, open_examples
from distvae.tools.latent_files import Table, write_npz, write_parts
from distvae.tools.outputs import Outputs
from distvae.tools.probing import Probed, probe
from distvae.tools.projector import KINDS, Kind, Projection, project, write_projection
from distvae.tools.trained import ENCODER, Trained, open_trained
from distvae.values import Count, DataName, LabelNames, Name, PathName, RunName


@dataclass(frozen=True)
class EmbedConfig:
    """Write the latents of images, or of rows, as a table: posterior mean and variance of each.

    Where there are labels, a linear probe and a vote of the nearest neighbours say how much of them
    is in the latents.
    """

    EXAMPLES = (
        "distvae embed --data photos",
        "distvae embed runs/photos --projector",
        "distvae embed runs/photos/onnx/encoder.onnx --data photos --output latents.npz",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, or an ONNX file, which needs no PyTorch; left out: the newest run."""
    data: DataName | None = None
    """What to encode: a folder, file, table, array file, Hub id, bundled set or picture; left out: the test split of the run."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """Of which split; left out: `test` of the run's own data, `all` of other data."""
    label: LabelNames | None = None
    """What a conditional model is given of every example; left out: the labels of the data, and where they are not known the label under which the bound is largest."""
    label_column: Name | None = None
    """Column of the labels, where it is not found."""
    output: PathName | None = None
    """A folder, or a file that ends in .parquet or .npz; left out: RUN/embed."""
    codes: bool = False
    """Write the codes of each example, of a model whose latents are codes, into codes.npz, and no table."""
    projector: Annotated[Literal["off", "pca", "tsne", "both"], Alone("both")] = "off"
    """Draw the latents in a plane, coloured by label: principal components, t-SNE, or both."""
    part_rows: Count = 20_000
    """Rows of a part of the parquet table; a command that was killed goes on after the last part."""
    seed: int = 0
    """Seed of t-SNE, of the folds of the probes, and of the noise that finds unknown labels."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Posteriors of examples."""

    mean: NDArray[np.float32]
    """``[N, Z]``, the latents of all levels side by side."""
    variance: NDArray[np.float32]
    """``[N, Z]``, of the Gaussian that the encoder gives."""
    latents: tuple[str, ...]
    """Names of the Z latents."""
    rows: NDArray[np.int64]
    """Numbers of the examples ``[N]``; those are missing that could not be read."""
    ids: list[str]
    """What they are called ``[N]``: their files, else their numbers."""
    labels: NDArray[np.int64] | None
    """Among ``label_names`` ``[N]``, -1 where one is not known; None without labels."""
    label_names: tuple[str, ...]
    splits: tuple[str, ...]
    """Of each example ``[N]``."""
    notes: tuple[str, ...] = ()
    """What was recognized or changed on the way."""

    def probe(self, seed: int = 0) -> Probed | None:
        """How well labels are told from the means; None without at least two labels."""
        if self.labels is None:
            return None
        return probe(self.mean, self.labels, np.array(self.splits), seed)

    def project(self, kind: Kind = "pca", seed: int = 0) -> Projection:
        """The means in a plane."""
        return project(self.mean, kind, seed)


def embed(model: Any, images: Any = None, labels: Labels | None = None) -> Embedding:
    """Posterior mean and variance of every example.

    Args:
        model: a :class:`distvae.VAE`, the name of a run, a checkpoint or an ONNX encoder.
        images: arrays or tensors ``[N, *S]``, pictures, paths, or the name of data, as
            :func:`distvae.tools.examples.open_examples` takes them; None is the run's test split.
        labels: of the images, where they are not in the data: one for all or one for each.

    Raises:
        DistvaeError: the images do not fit the model, or cannot be read.
    """
    trained = Trained.of(model, onnx=ENCODER)
    data = images if labels is None or images is None else (images, labels)
    return embedded(trained, open_examples(trained, data, tell=False))


def embedded(trained: Trained, examples: Examples) -> Embedding:
    """The same of examples that are open; all of it is held in memory."""
    coder = coder_of(trained)
    with progress_bar("encoding", len(examples)) as advance:
        parts = list(coder.codes(examples, 0, advance))
    examples.refuse_none()
    rows = np.concatenate([codes.part.rows for codes in parts])
    labels = examples.labels[rows] if examples.label_names else None
    splits = examples.splits
    return Embedding(
        np.concatenate([codes.mean for codes in parts]),
        np.exp(np.concatenate([codes.log_variance for codes in parts])),
        coder.names,
        rows,
        examples.names(rows),
        labels,
        examples.label_names,
        tuple(splits[row] for row in rows),
        examples.notes,
    )


def write_embedding(config: EmbedConfig) -> None:
    """Encode and write what ``distvae embed`` was asked for.

    Raises:
        DistvaeError: no such run or data, an output that cannot be written, or, once all else is
            done, images that could not be read.
    """
    check_seed(config.seed)
    trained = open_trained(config.run, onnx=ENCODER)
    _refuse_codes_with(config)
    outputs = Outputs(
        trained, "embed", config.output, (".npz",) if config.codes else (".parquet", ".npz")
    )
    examples = open_examples(
        trained, config.data, config.split, config.label, label_column=config.label_column
    )
    if config.codes:
        outputs.tell(write_codes(trained, examples, outputs.path(CODES)))
        examples.refuse_lost()
        return
    if outputs.only is not None and outputs.only.suffix == ".npz":
        found = embedded(trained, examples)
        write_npz(outputs.path(""), found)
        table = Table.of_embedding(found)
    else:
        table = write_parts(trained, examples, outputs, config.part_rows)
    examples.refuse_none()
    lines = [
        f"{counted(table.size, examples.domain.examples)}, {counted(len(table.latents), 'latents')}"
    ]
    try:
        lines += list(_probed(table, trained, config.seed))
        if config.projector != "off" and table.size > 1:
            kinds = [kind for kind in KINDS if config.projector in (kind, "both")]
            lines += write_projection(table, kinds, config.seed, outputs)
    except KeyboardInterrupt:
        say("interrupted: the latents are written, what comes after them is not")
        outputs.tell(*lines)
        raise
    outputs.tell(*lines)
    examples.refuse_lost()


def _refuse_codes_with(config: EmbedConfig) -> None:
    """Refuse what is about latents as numbers."""
    if config.codes and config.projector != "off":
        raise DistvaeError(
            f"--codes does not fit --projector {config.projector}",
            "codes are names, which lie in no plane",
            "Leave one of them out.",
        )


def _probed(table: Table, trained: Trained, seed: int) -> Iterator[str]:
    """The line of the number."""
    if not table.label_names:
        return
    say("measuring how well labels are told from the latents")
    found = probe(table.mean, table.labels, table.splits, seed)
    if found is None:
        yield "no accuracy: it takes examples of at least two labels"
        return
    yield found.line
    if trained.conditional and math.isfinite(found.linear):
        yield "the encoder was given labels: this is what of them is left in the latents"
