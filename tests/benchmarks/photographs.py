"""A folder of photographs to train on, from packages that carry some.

    python tests/benchmarks/photographs.py photographs

takes those of Debian's packages of wallpapers, by ``apt-get download`` where they are not unpacked
yet, and those that scikit-image and scikit-learn bring, where these are installed. Every fifth, in
the order of their names, goes into ``test/``, the others into ``train/``; ``licences/`` has what
each package says of its own. Drawings and gradients among the wallpapers are left out.
"""

import argparse
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

DEBIAN = {
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace "
        "Picture_1A_by_freespace Wine_by_Jakkub_Mede aitzgorri_by_Aitzol_Berasategi "
        "free_by_Peter_Nerlich friends_by_Aitzol_Berasategi greentock_by_Peter_Nerlich "
        "life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi "
        "seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi"
    ),
    "lomiri-wallpapers-20.04": "Kleiber_by_Lukas_Baubkus",
    "mate-backgrounds": (
        "Aqua Blinds Dune Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood YellowFlower"
    ),
    "plasma-workspace-wallpapers": (
        "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite "
        "OneStandsOut Path summer_1am"
    ),
}
"""Photographs of each package, by the name of the file or of the folder above it."""
PYTHON = {
    "skimage": (
        "data",
        "astronaut brick camera chelsea coffee grass gravel motorcycle_left rocket",
    ),
    "sklearn": ("datasets/images", "china flower"),
}
"""Where each package has pictures, and which of them are photographs."""
EVERY = 5
"""Of the photographs one is for testing."""
PICTURES = (".jpg", ".png")


def main() -> None:
    """Fill the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name in ("train", "test", "licences"):
        (folder / name).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        found = sorted([*debian(Path(scratch), folder / "licences"), *python(folder / "licences")])
        for number, (name, path) in enumerate(found):
            split = "test" if number % EVERY == EVERY - 1 else "train"
            shutil.copyfile(path, folder / split / f"{name}{path.suffix}")
    held_out = len(found) // EVERY
    print(f"{len(found) - held_out} photographs in {folder / 'train'}, {held_out} beside in test")


def debian(scratch: Path, licences: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of the photographs of Debian's packages, which are unpacked here."""
    for package, names in DEBIAN.items():
        subprocess.run(["apt-get", "download", package], cwd=scratch, check=True)
        (archive,) = scratch.glob(f"{package}_*.deb")
        there = scratch / package
        subprocess.run(["dpkg-deb", "-x", archive, there], check=True)
        shutil.copyfile(
            there / "usr/share/doc" / package / "copyright", licences / f"{package}.txt"
        )
        for name in names.split():
            files = [path for path in there.rglob("*") if {name} & {path.stem, *path.parts}]
            largest = max(pictures_in(files), key=lambda path: path.stat().st_size)
            yield f"{package}-{name}", largest


def python(licences: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of the photographs of those Python packages that are installed."""
    for package, (place, names) in PYTHON.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            print(f"{package} is not installed: its photographs are left out")
            continue
        there = Path(spec.origin).parent / place
        for path in there.glob("README*"):
            shutil.copyfile(path, licences / f"{package}.txt")
        for path in pictures_in(there.iterdir()):
            if path.stem in names.split():
                yield f"{package}-{path.stem}", path


def pictures_in(paths: "Iterator[Path] | list[Path]") -> list[Path]:
    """Those that are pictures, without small ones for menus."""
    return [
        path for path in paths if path.suffix in PICTURES and "screenshot" not in path.stem.lower()
    ]


if __name__ == "__main__":
    main()
