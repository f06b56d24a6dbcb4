"""A static web page that draws with an exported decoder, in the browser and without a network.

The page runs ONNX Runtime Web, which lies compressed in this package. To take a new version, unpack
the npm package ``onnxruntime-web`` and run::

    python -m distvae.export.web FOLDER_OF_NPM_PACKAGE

which packs its files, the same bytes for the same version, and tells the checksum for
:data:`RUNTIME_SHA256`; its licence and version go to the ``LICENSE`` file beside the archive.
"""

import hashlib
import io
import json
import shutil
import sys
import zipfile
from base64 import b64encode
from pathlib import Path

from distvae.errors import DistvaeError
from distvae.export import probe
from distvae.export.manifest import DECODER, KEY, parse_manifest
from distvae.export.outline import read_outline
from distvae.files import write_text

PAGE = Path(__file__).resolve().parent / "page"
SOURCES = ("*.html", "*.css", "*.js")
RUNTIME = PAGE / "onnxruntime-web.zip"
RUNTIME_SHA256 = "723c942f00f1903881e58e356c066d43116fb8e9bf59226493676f2985778e6c"
LICENCE = PAGE / "onnxruntime-web.LICENSE.txt"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def write_page(decoder: Path, folder: Path) -> None:
    """Write a page that draws with a decoder, for any static web server.

    Args:
        decoder: the exported decoder.
        folder: an empty folder that is there.

    Raises:
        DistvaeError: the file is not a decoder of ours or keeps its weights in another file, or
            the runtime in this package is damaged.
    """
    outline = read_outline(decoder)
    manifest = parse_manifest(outline.metadata.get(KEY), str(decoder))
    if manifest.graph != DECODER:
        raise DistvaeError(
            f"{decoder} is an {manifest.graph}", "a page needs a decoder", "Name decoder.onnx."
        )
    if outline.locations:
        raise DistvaeError(
            f"{decoder} keeps its weights in a file beside it",
            "a page needs a decoder that is one file: browsers cannot hold a larger one",
            "Leave out --web.",
        )
    runtime = _runtime()
    for pattern in SOURCES:
        for source in PAGE.glob(pattern):
            shutil.copyfile(source, folder / source.name)
    shutil.copyfile(decoder, folder / "decoder.onnx")
    digest = hashlib.sha256(decoder.read_bytes()).digest()
    facts = {
        **json.loads(manifest.to_json()),
        "image_shape": manifest.example.shape,
        "given": manifest.given,
        "integrity": f"sha256-{b64encode(digest).decode()}",
        "probe": json.loads(outline.metadata.get(probe.KEY, "null")),
    }
    write_text(folder / "manifest.json", json.dumps(facts, ensure_ascii=False))
    (folder / "ort").mkdir()
    for name, content in runtime.items():
        (folder / "ort" / name).write_bytes(content)
    shutil.copyfile(LICENCE, folder / "ort" / "LICENSE.txt")


def _runtime() -> dict[str, bytes]:
    """The files of ONNX Runtime Web by name."""
    packed = RUNTIME.read_bytes() if RUNTIME.is_file() else b""
    found = hashlib.sha256(packed).hexdigest()
    if found != RUNTIME_SHA256:
        raise DistvaeError(
            f"{RUNTIME} is {'damaged' if packed else 'missing'}",
            f"expected SHA-256 {RUNTIME_SHA256[:12]}..., found {found[:12]}...",
            "Install distvae again.",
        )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in RUNTIME_FILES}


def _pack(package: Path) -> str:
    """Pack the runtime from an unpacked npm package, and say what was packed."""
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    with zipfile.ZipFile(RUNTIME, "w", zipfile.ZIP_LZMA) as archive:
        for name in RUNTIME_FILES:
            entry = zipfile.ZipInfo(name)  # dated 1980: the same bytes whenever it is packed
            archive.writestr(entry, (package / "dist" / name).read_bytes(), zipfile.ZIP_LZMA)
    digest = hashlib.sha256(RUNTIME.read_bytes()).hexdigest()
    return f"onnxruntime-web {version}: {RUNTIME.stat().st_size:,} bytes, SHA-256 {digest}\n"


if __name__ == "__main__":
    sys.stdout.write(_pack(Path(sys.argv[1])))
