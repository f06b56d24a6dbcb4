"""What is no data here, and the nearest thing that is: one line each."""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from distvae.data.encoded import AVIF, HEIF, pictures
from distvae.errors import DistvaeError

ACCEPTED = (
    "one subfolder of images per class (or a zip of that), parquet, csv, tsv, jsonl or arrow "
    "files, npz or npy arrays, IDX files, CIFAR's binary batches, or what save_to_disk wrote"
)
_SAVE = "np.savez('data.npz', images=..., labels=...)"
_ARCHIVE = "unpack it and give the folder"
_HINTS = {
    (
        ".h5",
        ".hdf5",
        ".hdf",
    ): "convert it: python -c \"import h5py, numpy as np; f = h5py.File('FILE'); "
    "np.savez('data.npz', **{k: f[k][:] for k in f})\"",
    (".mat",): 'convert it: python -c "import scipy.io, numpy as np; '
    "f = scipy.io.loadmat('FILE'); np.savez('data.npz', **{k: f[k] for k in f if k[0] != '_'})\"",
    (".pkl", ".pickle", ".p", ".joblib"): "a pickle can run code and is never opened; in a program "
    f"that trusts it: {_SAVE}",
    (".pt", ".pth", ".ckpt"): 'it is never unpickled here; convert it: python -c "import torch; '
    "x = torch.load('FILE', weights_only=True); import numpy as np; "
    "np.savez('data.npz', images=x['images'].numpy(), labels=x['labels'].numpy())\"",
    (".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"): _ARCHIVE,
    (".json",): "write one object a line: jq -c '.[]' FILE > data.jsonl",
    (".xlsx", ".xls", ".ods"): "save the sheet as csv",
    (".tfrecord", ".tfrecords", ".rec", ".lmdb", ".mdb"): "write its images as files, one folder "
    "per class",
    (".safetensors",): f"convert it: safetensors.numpy.load_file('FILE'), then {_SAVE}",
    (".feather", ".orc", ".sqlite"): "convert it to parquet: pandas.read_feather('FILE')"
    ".to_parquet('data.parquet'), or the reader of its kind",
    (".dcm", ".nii", ".czi", ".nd2", ".raw", ".cr2", ".nef", ".dng", ".exr", ".psd"): "convert it "
    "to PNG or 16-bit TIFF",
    (".mp4", ".avi", ".mov", ".mkv", ".webm"): "take its frames: ffmpeg -i FILE frames/%06d.png",
    (".svg", ".pdf", ".eps", ".ai"): "draw it as PNG",
    (".npy",): "put all images into one file: np.savez('data.npz', images=np.stack(images), "
    "labels=labels)",
    HEIF: "pip install pillow-heif reads it",
    AVIF: "Pillow 11.3 or newer reads it, or pip install pillow-heif",
}

_UNPACKED = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".arrow", ".npz", ".npy")
"""Files that are read where they lie alone or in a folder."""
_MAGIC = {b"\x80": ".pkl", b"\x89HDF": ".h5", b"\x1f\x8b": ".gz", b"MATLAB": ".mat"}
"""How files of some kinds begin, whatever they are called."""


def ending(name: str) -> str:
    """The last ending of a file's name, in lower case."""
    return PurePosixPath(name).suffix.lower()


def how_to_read(found: str, packed: bool = False) -> str:
    """What to do about files of this ending, perhaps ``packed`` in a zip, or the empty string."""
    if packed and found in _UNPACKED:
        return "unpack the zip and give the folder: of a zip only images are read"
    return next((hint for endings, hint in _HINTS.items() if found in endings), "")


def _by_content(path: Path) -> str:
    """The ending that a file's first bytes belong to, or the empty string."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return ""
    return next((found for magic, found in _MAGIC.items() if head.startswith(magic)), "")


def instead(places: Sequence[tuple[str, ...]], packed: bool = False) -> tuple[str, str]:
    """What was found in place of images in a folder or ``packed`` in a zip, and what to do."""
    endings = [ending(place[-1]) for place in places]
    common = sorted(set(endings), key=lambda found: -endings.count(found))[:5]
    counted = [f"{endings.count(found)} {found or 'without ending'}" for found in common]
    hints = [f"{found}: {hint}" for found in common if (hint := how_to_read(found, packed))]
    what = f"it has {', '.join(counted)} files" if counted else "it is empty"
    return f"{what}; expected {ACCEPTED}", ". ".join(hints)


def refuse_file(path: Path, known: Collection[str]) -> DistvaeError:
    """The error about a single file that is no data; ``known`` are endings of files that are."""
    found = ending(path.name)
    if found in pictures():
        return DistvaeError(
            f"{path} is one image", "expected many", f"Give its folder: {path.parent}."
        )
    hint = (
        (how_to_read(found) or how_to_read(_by_content(path)))
        .replace("FILE", path.name)
        .replace("data.npz", f"{path.stem}.npz")
    )
    return DistvaeError(
        f"{path} is no table or set of images",
        f"expected a folder, or a file that ends in {', '.join(sorted(known))}",
        hint[:1].upper() + hint[1:],
    )
