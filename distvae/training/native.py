"""Native code of this package: compiled once on a machine, and kept there.

It is compiled for the very processor by the C++ compiler alone. Torch's compiler, which would do
the same, takes a second to import even where there is nothing to compile.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType

from distvae.config import DataConfig
from distvae.data.cache import cache_folder

FLAGS = ("-O2", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC")
SECONDS = 60
"""After which a compiler is given up."""


class NotBuilt(Exception):
    """There is no such code for this machine; the message says why.

    Args:
        why: what is in the way.
        install: what would have to be installed; nothing where that would not help.
    """

    def __init__(self, why: str, install: str = "") -> None:
        super().__init__(why)
        self.install = install


def compiler() -> str | None:
    """The C++ compiler, ``$CXX`` or a usual one."""
    names = (os.environ.get("CXX"), "g++", "clang++")
    return next(filter(None, (name and shutil.which(name) for name in names)), None)


def module(name: str, source: str) -> ModuleType:
    """A Python module from its C++ source, of the cache of the machine or compiled and kept there.

    Raises:
        NotBuilt: it does not compile here.
    """
    found = _kept(name, source)
    with contextlib.suppress(ImportError):
        if found is not None:
            return _loaded(name, found)
    with tempfile.TemporaryDirectory() as scratch:
        path = _compiled(source, Path(scratch, f"{name}.so"))
        try:
            loaded = _loaded(name, path)
        except ImportError as error:
            raise NotBuilt(str(error)) from error
        with contextlib.suppress(OSError):  # then it is compiled anew in the next run
            _keep(path, _folder() / f"{_prefix(name, source)}{_digest(path)}.so")
        return loaded


def _folder() -> Path:
    return cache_folder(DataConfig()) / "native"


def _prefix(name: str, source: str) -> str:
    parts = [source, *FLAGS, sys.version, _instructions()]
    return f"{name}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}-"


def _instructions() -> str:
    """What the processor knows, without which a kept file might be another one's."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("flags"):
                return line
    return ""


def _kept(name: str, source: str) -> Path | None:
    """Where a module lies that was compiled before, if it is as it was written.

    A file is named by all that it depends on and by its own digest. One that is damaged, or that
    somebody else may have written, is none.
    """
    for path in sorted(_folder().glob(f"{_prefix(name, source)}*.so")):
        with contextlib.suppress(OSError):
            status = path.stat()
            own = status.st_uid == os.getuid() and not status.st_mode & 0o022
            if own and path.stem.endswith(_digest(path)):
                return path
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _compiled(source: str, path: Path) -> Path:
    found = compiler()
    if not _instructions():
        raise NotBuilt("the processor is not known on this system")
    if found is None:
        raise NotBuilt("there is no C++ compiler", "g++ or clang++")
    command = [
        found,
        *FLAGS,
        f"-I{sysconfig.get_path('include')}",
        "-x",
        "c++",
        "-",
        "-o",
        f"{path}",
    ]
    try:
        ended = subprocess.run(
            command, input=source, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(str(error)) from error
    if ended.returncode and "Python.h" in ended.stderr:
        raise NotBuilt("Python.h is missing", "the headers of Python, python3-dev or python3-devel")
    if ended.returncode:
        raise NotBuilt(ended.stderr)
    return path


def _loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"distvae_native.{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _keep(compiled: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        copied = Path(scratch, path.name)
        shutil.copyfile(compiled, copied)
        copied.chmod(0o644)
        copied.replace(path)
