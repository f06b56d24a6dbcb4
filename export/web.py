"""A static web page that draws with an exported decoder, in the browser and without a network.

The page runs ONNX Runtime Web, which lies compressed in this package. To take a new version, unpack
the npm package ``onnxruntime-web`` and run::

    python -m distvae.export.web FOLDER_OF_NPM_PACKAGE

which packs its files, the same bytes for the same version, and tells the checksum for
:data:`RUNTIME_SHA256`; its licence and version go to the ``LICENSE`` file beside the archive.
"""

import functools
import gzip
import hashlib
import io
import json
import shutil
import sys
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from distvae.errors import DistvaeError
from distvae.export import probe
from distvae.export.manifest import DECODER, KEY, Manifest, parse_manifest
from distvae.export.outline import Outline, read_outline
from distvae.files import write_text

if TYPE_CHECKING:
    from distvae.export.rates import Rates

PAGE = Path(__file__).resolve().parent / "page"
SOURCES = ("*.html", "*.css", "*.js")
RUNTIME = PAGE / "onnxruntime-web.zip"
RUNTIME_SHA256 = "723c942f00f1903881e58e356c066d43116fb8e9bf59226493676f2985778e6c"
GRAPHS = ("decoder.onnx", "encoder.onnx")
LICENCE = PAGE / "onnxruntime-web.LICENSE.txt"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LARGE = ".wasm"
"""What a page gets compressed, and unpacks by itself: so does every server send a quarter of it."""


def write_page(decoder: Path, folder: Path, name: str = "", rates: "Rates | None" = None) -> None:
    """Write a page that draws with a decoder, for any static web server.

    Where ``encoder.onnx`` lies beside the decoder and gives the noise of an image, the page also
    shows what the model makes of the user's own images.

    Args:
        decoder: the exported decoder.
        folder: an empty folder that is there.
        name: title of the page; left out: what the model was trained on.
        rates: of each number of the noise, by which the page sorts them.

    Raises:
        DistvaeError: the file is not a decoder of ours or keeps its weights in another file, or
            the runtime in this package is damaged.
    """
    outline, manifest = _read(decoder)
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
    runtime = _runtime(RUNTIME)
    for pattern in SOURCES:
        for source in PAGE.glob(pattern):
            shutil.copyfile(source, folder / source.name)
    (folder / "ort").mkdir()
    for file, content in runtime.items():
        (folder / "ort" / file).write_bytes(content)
    shutil.copyfile(LICENCE, folder / "ort" / "LICENSE.txt")
    graphs = dict(zip(GRAPHS, [decoder, *_encoder_beside(decoder)], strict=False))
    for file, graph in graphs.items():
        shutil.copyfile(graph, folder / file)
    loaded = [*(f"ort/{file}" for file in runtime if file.endswith(".gz")), *graphs]
    facts = {
        **json.loads(manifest.to_json()),
        "image_shape": manifest.example.shape,
        "given": manifest.given,
        "name": name,
        "rates": None if rates is None else rates.values,
        "rates_of": "" if rates is None else rates.images,
        "sizes": {it: (folder / it).stat().st_size for it in loaded},
        "integrity": {file: _integrity(graph) for file, graph in graphs.items()},
        "probe": json.loads(outline.metadata.get(probe.KEY, "null")),
    }
    write_text(folder / "manifest.json", json.dumps(facts, ensure_ascii=False))


def _read(path: Path) -> tuple[Outline, Manifest]:
    outline = read_outline(path)
    return outline, parse_manifest(outline.metadata.get(KEY), str(path))


def _encoder_beside(decoder: Path) -> list[Path]:
    """The encoder of the same weights beside a decoder, if it is one file and gives the noise."""
    path = decoder.with_name("encoder.onnx")
    if decoder.name != "decoder.onnx" or not path.is_file():
        return []
    outline, manifest = _read(path)
    same = manifest.weights_sha256 == _read(decoder)[1].weights_sha256
    return [path] if same and manifest.gives_noise and not outline.locations else []


def _integrity(path: Path) -> str:
    """The checksum of a file as browsers write it."""
    return f"sha256-{b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()}"


@functools.cache
def _runtime(path: Path) -> dict[str, bytes]:
    """The files of ONNX Runtime Web by name, the large one compressed."""
    packed = path.read_bytes() if path.is_file() else b""
    found = hashlib.sha256(packed).hexdigest()
    if found != RUNTIME_SHA256:
        raise DistvaeError(
            f"{path} is {'damaged' if packed else 'missing'}",
            f"expected SHA-256 {RUNTIME_SHA256[:12]}..., found {found[:12]}...",
            "Install distvae again.",
        )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        files = {name: archive.read(name) for name in RUNTIME_FILES}
    for name in [name for name in files if name.endswith(LARGE)]:
        files[f"{name}.gz"] = gzip.compress(files.pop(name), mtime=0)
    return files


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
