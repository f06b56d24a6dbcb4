"""Where a model that was named lies: a folder, or on the Hub. No torch."""

import re
import socket
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distvae.errors import DistvaeError, nearest
from distvae.runs import CONFIG, RUNS, WEIGHTS, is_run
from distvae.text import shortened

PATIENCE = 5.0
"""Seconds that the Hub has to answer a call, before it is not asked for a file."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FILES = (".safetensors", ".json", ".onnx", ".yaml", ".zip", ".pt", ".bin", ".ckpt")


def model_folder(name: str | Path, **options: Any) -> Path:
    """The folder of a model that was named by its path, or by its id on the Hub.

    Only OWNER/NAME is an id, and only where no folder OWNER is here: anything else is a path, and
    the Hub is not asked for it.

    Args:
        name: path or id.
        options: of ``huggingface_hub.hf_hub_download``.

    Raises:
        DistvaeError: there is no such folder, the Hub cannot be reached, or has no such model.
    """
    folder = Path(name)
    try:
        is_folder, is_there = folder.is_dir(), folder.exists()
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else str(error)
        wrong = f"{shortened(repr(str(name)))} cannot be the name of a folder"
        raise DistvaeError(wrong, str(found)) from error
    if is_folder:
        return folder
    if is_there or isinstance(name, Path) or not _is_id(name):
        raise _missing(folder)
    return _downloaded(name, options)


def _is_id(name: str) -> bool:
    known = (
        len(name) <= 96
        and _ID.fullmatch(name) is not None
        and ".." not in name
        and "--" not in name
    )
    return known and not name.lower().endswith(_FILES) and not Path(name).parent.exists()


def _missing(folder: Path) -> DistvaeError:
    """What to say where there is no such folder: what is near, and what may be given."""
    if folder.exists():
        beside = folder.parent if (folder.parent / CONFIG).is_file() else None
        hint = f"Name the folder: {beside}" if beside else ""
        return DistvaeError(f"{folder} is a file", f"expected a folder with {CONFIG}", hint)
    near = [path for path in _models(folder.parent) if path.name != folder.name]
    alike = nearest(folder.name, [path.name for path in near])
    named = [RUNS / folder.name] if is_run(RUNS / folder.name) else []
    named += [path for path in near if alike == f"Did you mean {path.name}?"]
    hint = f"Did you mean {named[0]}?" if named else ""
    if not hint and near:
        hint = f"There: {', '.join(sorted(path.name for path in near)[:10])}."
    return DistvaeError(
        f"no folder {folder}",
        f"expected one with {CONFIG} and {WEIGHTS}, or the id of a model on the Hub, OWNER/NAME",
        hint,
    )


def _models(folder: Path) -> list[Path]:
    """Models and runs in a folder; of the working directory also those in runs/."""
    places = [folder, RUNS] if folder == Path() else [folder]
    return [path for place in places if place.is_dir() for path in place.iterdir() if is_run(path)]


def _downloaded(name: str, options: dict[str, Any]) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HFValidationError

    asked = not options.get("local_files_only") and not constants.HF_HUB_OFFLINE
    unreachable = _unreachable(constants.ENDPOINT) if asked else "it is not asked: offline"
    if unreachable:
        options = {**options, "local_files_only": True, "force_download": False}
    try:
        files = [hf_hub_download(name, file, **options) for file in (CONFIG, WEIGHTS)]
    except (OSError, HFValidationError) as error:
        found = " ".join(str(error).split("\n")[0].split())
        raise DistvaeError(
            f"{name} is neither a folder nor can it be had from the Hub",
            unreachable or found or type(error).__name__,
            "Check the name, and the network; a folder is named by its path.",
        ) from error
    return Path(files[0]).parent


def _unreachable(endpoint: str) -> str:
    """Why the Hub does not answer; empty where it does, or where a proxy stands before it."""
    parts = urlsplit(endpoint)
    if urllib.request.getproxies().get(parts.scheme) or parts.hostname is None:
        return ""
    port = parts.port or {"http": 80}.get(parts.scheme, 443)
    try:
        socket.create_connection((parts.hostname, port), PATIENCE).close()
    except OSError as error:
        return f"{endpoint} does not answer ({error})"
    return ""
