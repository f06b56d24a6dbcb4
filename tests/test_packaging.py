"""What is installed is what lies in the tree, and nothing is there twice."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import distvae
import distvae.export
from tests.conftest import CHECKOUT


def test_the_export_package_has_one_home() -> None:
    home = Path(distvae.__file__).resolve().parent
    found = Path(distvae.export.__file__ or "").resolve().parent
    assert found in (home.parent / "export", home / "export")
    assert found.name == "export"
    assert (home / "export").resolve() == found
    assert "export" not in sys.modules


def test_the_link_is_relative() -> None:
    link = CHECKOUT / "distvae" / "export"
    assert link.is_symlink()
    assert link.readlink() == Path("../export")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged: building writes beside the sources."""
    tree = tmp_path_factory.mktemp("tree")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("distvae", "export", "launch", "docs"):
        shutil.copytree(CHECKOUT / name, tree / name, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, tree / name)
    return tree


def run_python(*words: str, folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def build_wheel(source: Path, folder: Path) -> dict[str, bytes]:
    """The files of the wheel that a tree or a source distribution builds."""
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    run_python(
        *("-m", "pip", "wheel", str(source), "--no-deps", *isolation),
        *("--wheel-dir", str(folder), "--quiet", "--disable-pip-version-check"),
        folder=folder,
    )
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a built wheel."""
    return build_wheel(tree, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_a_source_distribution_builds_the_same_wheel(
    tree: Path, wheel: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("setuptools", reason="no setuptools to build a source distribution with")
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run_python("-c", build, folder=tree)
    (archive,) = tmp_path.glob("*.tar.gz")
    (tmp_path / "wheel").mkdir()
    assert build_wheel(archive, tmp_path / "wheel") == wheel


def test_the_wheel_holds_the_tree(tree: Path, wheel: dict[str, bytes]) -> None:
    expected = {
        **{path: path.relative_to(tree) for path in (tree / "distvae").rglob("*")},
        **{path: Path("distvae") / path.relative_to(tree) for path in (tree / "export").rglob("*")},
    }
    files = {
        str(PurePosixPath(name)): path.read_bytes()
        for path, name in expected.items()
        if path.is_file() and "__pycache__" not in path.parts
    }
    packaged = {name: content for name, content in wheel.items() if ".dist-info/" not in name}
    assert sorted(packaged) == sorted(files)
    assert packaged == files
    for name in ("export/__init__.py", "py.typed", "data/mnist/LICENSE"):
        assert f"distvae/{name}" in packaged
    assert len([name for name in packaged if name.startswith("distvae/data/mnist/")]) >= 5


def test_the_wheel_has_a_command_and_both_licences(wheel: dict[str, bytes]) -> None:
    facts = {name.partition(".dist-info/")[2]: text for name, text in wheel.items()}
    assert facts["entry_points.txt"].decode().split() == (
        ["[console_scripts]", "distvae", "=", "distvae.cli:run_and_exit"]
    )
    assert "licenses/LICENSE" in facts
    assert "licenses/distvae/data/mnist/LICENSE" in facts
    assert f"Version: {distvae.__version__}\n" in facts["METADATA"].decode()


def test_an_installed_wheel_runs(
    wheel: dict[str, bytes], tmp_path: Path, environment: dict[str, str]
) -> None:
    for name, content in wheel.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    words = (
        "import sys, distvae.cli, distvae.export as export; "
        "assert distvae.cli.main(['--version']) == 0; print(export.__file__); "
        "from distvae.recipes import read_recipe; print(read_recipe('mnist-tutorial').optim.epochs)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", words],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    version, home, epochs = ended.stdout.split()
    assert version == distvae.__version__
    assert Path(home) == tmp_path / "site" / "distvae" / "export" / "__init__.py"
    assert epochs == "20"
