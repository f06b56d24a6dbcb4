"""`distvae export --check`: an exported file beside the weights it was made from."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from distvae.errors import DistvaeError
from distvae.runs import checkpoints, find_run, is_run
from distvae.terminal import make_console, progress_bar, table

if TYPE_CHECKING:
    from distvae.export.parity import Parity
    from distvae.models import VAE


def check(path: Path, name: str | None) -> None:
    """Compare an exported file with the weights it was made from, and print how near it is.

    Args:
        path: the file.
        name: the run or checkpoint; None finds the one that the file lies in.

    Raises:
        DistvaeError: the weights are not found, or the file does not do what the model does.
    """
    from distvae.export.session import read_manifest
    from distvae.models import VAE

    manifest = read_manifest(path)
    model = VAE.from_pretrained(_weights_of(path, manifest.weights_sha256, name))
    parity = verified(path, model)
    what = manifest.domain.examples
    rows = [
        ("precision", manifest.precision),
        (f"{manifest.graph}: {what} compared", f"{parity.images:,}"),
        ("largest error", f"{parity.error:.1e}"),
        ("mean error", f"{parity.mean_error:.1e}"),
    ]
    if parity.grey_levels is not None:
        rows.append(("grey levels", str(parity.grey_levels)))
    make_console().print(table(str(path), rows))


def verified(path: Path, model: "VAE") -> "Parity":
    """How near the file is to the model.

    Raises:
        DistvaeError: it does not do what the model does.
    """
    from distvae.export.turns import NOISES, turns
    from distvae.export.verify import verify

    total = NOISES * turns(model)
    with progress_bar(f"comparing {path.name} with PyTorch", total) as advance:
        return verify(path, model, advance)


def _weights_of(path: Path, sha256: str, name: str | None) -> Path:
    """The model directory whose weights a file was made from."""
    from distvae.tensors import checksum, read_tensors

    if name is not None:
        run = find_run(name)
        candidates = [run.model]
    else:
        folder = path.resolve().parent.parent
        if not is_run(folder):
            raise DistvaeError(
                f"{path} does not lie in a run",
                "expected it in the folder onnx/ of one",
                f"Name the run: distvae export RUN --check {shlex.quote(str(path))}",
            )
        candidates = [folder, *reversed(checkpoints(folder))]
    for candidate in candidates:
        weights = candidate / "model.safetensors"
        if weights.is_file() and checksum(read_tensors(weights)) == sha256:
            return candidate
    raise DistvaeError(
        f"the weights that {path} was made from are not there",
        f"its manifest names weights {sha256[:12]}, and they are not in "
        f"{', '.join(map(str, candidates))}",
        "Export anew, or name the run or checkpoint that it came from.",
    )
