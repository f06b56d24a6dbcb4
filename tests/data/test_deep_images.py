"""Images of more than 256 levels: kept as they are, from the file to what is drawn."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from distvae.config import DataConfig
from distvae.data.examples import domain_of_data
from distvae.data.store import ImageData, open_data
from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.images import save_png
from distvae.runs import settings_in

SIDE = 6


def levels(count: int, most: int, channels: int | None = None) -> NDArray[Any]:
    shape = (count, SIDE, SIDE) if channels is None else (count, SIDE, SIDE, channels)
    values = np.random.default_rng(0).integers(0, most + 1, shape).astype(np.uint16)
    values.reshape(-1)[:2] = 0, most
    return values


def opened(path: Path, cache: Path, **settings: Any) -> ImageData:
    config = dataclasses.replace(DataConfig(data=str(path), cache_dir=str(cache)), **settings)
    return open_data(config)


def everything(data: ImageData) -> NDArray[Any]:
    return np.concatenate([data.train.images, data.test.images])


@pytest.mark.parametrize(("most", "kept"), [(65535, 65536), (4000, 4096), (300, 512)])
@pytest.mark.parametrize("ending", [".png", ".tif", ".npy"])
def test_files_of_more_than_8_bits_are_kept_as_they_are(
    tmp_path: Path, most: int, kept: int, ending: str
) -> None:
    values, folder = levels(12, most), tmp_path / "deep"
    folder.mkdir()
    if ending == ".npy":
        np.save(folder / "images.npy", values)
    else:
        for number, image in enumerate(values):
            Image.fromarray(image).save(folder / f"{number:02d}{ending}")
    data = opened(folder, tmp_path / "cache")
    domain = domain_of_data(data)
    assert isinstance(domain, Images)
    assert (domain.levels, domain.dtype) == (kept, "uint16")
    found = {image.tobytes() for image in everything(data)}
    assert found == {image.tobytes() for image in values}
    assert sum(f"kept in {kept:,} levels" in note for note in data.notes) == 1


def test_colour_of_16_bits_is_kept_in_arrays_and_resized_in_all_its_levels(tmp_path: Path) -> None:
    values = levels(12, 65535, 3)
    np.save(tmp_path / "colour.npy", values)
    data = opened(tmp_path / "colour.npy", tmp_path / "cache")
    whole = {image.transpose(1, 2, 0).tobytes() for image in everything(data)}
    assert whole == {image.tobytes() for image in values}
    smooth = np.broadcast_to(np.linspace(1000, 1200, SIDE)[None, :, None], (12, SIDE, SIDE))
    np.save(tmp_path / "smooth.npy", np.concatenate([smooth, smooth + 40_000]).astype(np.uint16))
    small = opened(tmp_path / "smooth.npy", tmp_path / "cache", image_size=3)
    found = np.unique(everything(small))
    assert everything(small).shape[1:] == (1, 3, 3)
    assert (found.min(), found.max()) != (1000, 41_200)
    assert ((abs(found.astype(int) - 1100) < 120) | (abs(found.astype(int) - 41_100) < 120)).all()
    assert len(found) == 6  # of 8 bits there were 2


def test_bits_says_in_how_many_levels_images_are_kept(tmp_path: Path) -> None:
    values = levels(12, 65535)
    np.save(tmp_path / "deep.npy", values)
    data = opened(tmp_path / "deep.npy", tmp_path / "cache", bits=8)
    assert domain_of_data(data).levels == 256
    assert {*everything(data).ravel()} == {*(values >> 8).ravel().astype(np.uint8)}
    np.save(tmp_path / "real.npy", values.astype(np.float32) / 65535)
    assert opened(tmp_path / "real.npy", tmp_path / "cache").train.images.dtype == np.uint8
    exact = opened(tmp_path / "real.npy", tmp_path / "cache", bits=16)
    assert {*everything(exact).ravel()} == {*values.ravel()}
    # a run of an earlier version, which did not know of more levels
    assert settings_in(tmp_path, {"data": "deep.npy"}).data.bits == 8


def test_images_of_8_bits_beside_deep_ones_are_as_bright_as_they_were(tmp_path: Path) -> None:
    for number in range(6):
        Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / f"plain{number}.png")
        Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / f"deep{number}.png")
    assert {*everything(opened(tmp_path, tmp_path / "cache")).ravel()} == {65535}


def test_colour_files_of_16_bits_are_told_to_lose_half_of_them(tmp_path: Path) -> None:
    (tmp_path / "colour").mkdir()
    for number, image in enumerate(levels(12, 65535, 3)):
        save_png(tmp_path / "colour" / f"{number}.png", image.transpose(2, 0, 1))
    data = opened(tmp_path / "colour", tmp_path / "cache")
    assert data.train.images.dtype == np.uint8
    assert any("in colour of 16 bits: 8 of them are read" in note for note in data.notes)


@pytest.mark.parametrize("count", [256, 300, 4096, 65536])
def test_levels_become_values_and_levels_again(count: int) -> None:
    domain = Images((1, 1, count), levels=count)
    kind = np.uint8 if count == 256 else np.uint16
    stored = torch.from_numpy(np.arange(count, dtype=kind).reshape(1, 1, 1, count))
    values = domain.to_input(stored, None)
    assert (float(values.min()), float(values.max())) == (0.0, 1.0)
    again = domain.to_stored(values)
    assert (again.dtype, again.numpy().tolist()) == (stored.dtype, stored.numpy().tolist())
    shown = domain.pictures(stored.numpy())
    assert (shown.dtype.name, int(shown.min()), int(shown.max())) == ("uint8", 0, 255)
    made = domain.made_up(3, 5)
    assert made.dtype == kind
    assert count / 2 < int(made.max()) < count


def test_a_png_of_16_bits_holds_every_level(tmp_path: Path) -> None:
    grey = levels(1, 65535)
    save_png(tmp_path / "grey.png", grey)
    with Image.open(tmp_path / "grey.png") as image:
        assert np.array_equal(np.asarray(image), grey[0])
    colour = levels(1, 65535, 3)[0].transpose(2, 0, 1)
    save_png(tmp_path / "colour.png", colour)
    with Image.open(tmp_path / "colour.png") as image:  # of which Pillow reads the upper bits
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), (colour >> 8).transpose(1, 2, 0))


def test_categorical_refuses_a_logit_for_each_of_65_536_levels() -> None:
    from distvae.config import ModelConfig
    from distvae.likelihoods import LIKELIHOODS

    with pytest.raises(DistvaeError, match="65,536") as error:
        LIKELIHOODS["categorical"](ModelConfig(), Images((1, 4, 4), levels=65536))
    assert "discretized_logistic" in str(error.value)


def test_crops_of_deep_pictures_are_as_deep(tmp_path: Path) -> None:
    for number in range(6):
        image = np.full((7 + number, 9), 1000 * number + 30_001, np.uint16)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    data = opened(tmp_path, tmp_path / "cache", augment=("crop",), image_size=4)
    assert data.pictures is not None
    assert data.pictures.pixels.dtype == np.uint16
    assert {*everything(data).ravel()} <= {*range(30_001, 36_001, 1000)}
