"""A table brings no file of this machine into a model, unless it is allowed to."""

from pathlib import Path

import pytest

from distvae.data.roots import Root
from distvae.errors import DistvaeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of data beside one that is private, with links from one to the other."""
    data, private = tmp_path / "data", tmp_path / "private"
    for place in (data / "inner", private):
        place.mkdir(parents=True)
        (place / "1.png").touch()
    (data / "1.png").touch()
    (data / "2::x.png").touch()
    (data / "link.png").symlink_to(private / "1.png")
    (data / "links").symlink_to(private)
    (data / "again.png").symlink_to(data / "inner" / "1.png")
    (data / "back.png").symlink_to("../data/1.png")
    (tmp_path / "data-of-others").mkdir()
    return data


@pytest.mark.parametrize(
    "name",
    [
        *("1.png", "inner/1.png", "./inner/../1.png", "inner/../../data/1.png", "again.png"),
        *("back.png", "not there.png", "2::x.png", "a:b.png"),
    ],
)
def test_files_in_the_folder(folder: Path, name: str) -> None:
    assert Root(folder).file(name, "row 3") == folder / name
    absolute = str(folder / name)
    assert Root(folder).file(absolute, "row 3") == Path(absolute)


@pytest.mark.parametrize(
    "name",
    [
        *("../private/1.png", "inner/../../private/1.png", "/etc/hostname", "link.png"),
        *("links/1.png", "links/not there.png", "..", "../data-of-others/1.png", "//etc/hostname"),
    ],
)
def test_files_outside(folder: Path, name: str) -> None:
    with pytest.raises(DistvaeError, match=r"row 3 names .* outside .*data: .*--allow-outside"):
        Root(folder).file(name, "row 3")
    assert Root(folder, allowed=True).file(name, "row 3") == folder / name
    with pytest.raises(DistvaeError, match="outside"):
        Root(folder / "inner").file("../1.png", "row 3")
    assert Root(folder / "inner", others=(folder,)).file("../1.png", "row 3").is_file()


@pytest.mark.parametrize(
    "name",
    [
        *("http://example.com/1.png", "https://example.com/1.png", "file:///etc/hostname"),
        *("FILE:/etc/hostname", "s3://bucket/1.png", "zip://1.png::http://example.com/a.zip"),
        *("data:image/png;base64,AAAA", "ftp://example.com/1.png"),
    ],
)
@pytest.mark.parametrize("allowed", [False, True])
def test_addresses(folder: Path, name: str, allowed: bool) -> None:
    with pytest.raises(DistvaeError, match=r"row 3 names .*not fetched.*Download"):
        Root(folder, allowed).file(name, "row 3")


def test_no_path_at_all(folder: Path) -> None:
    with pytest.raises(DistvaeError, match=r"row 3 names .*\\x00"):
        Root(folder, allowed=True).file("1.png\0", "row 3")
