"""What --data means for a trained model: any source, as that model takes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from distvae import DistvaeError
from distvae.data.provenance import open_recorded
from distvae.tools.batches import batches
from distvae.tools.examples import Examples, open_examples
from distvae.tools.trained import Trained, open_trained
from tests.conftest import SHAPES, SIDE, TEST_IMAGES, write_shapes


@pytest.fixture
def trained(here: Path, finished: Path) -> Trained:
    return open_trained(str(finished))


def everything(examples: Examples) -> np.ndarray:
    return np.concatenate([part.stored for part in examples.parts(7)])


def test_left_out_it_is_the_test_split_of_the_run(trained: Trained) -> None:
    assert trained.run is not None
    test = open_recorded(trained.run, None).test
    found = open_examples(trained, tell=False)
    assert len(found) == TEST_IMAGES
    assert (everything(found) == test.stored).all()
    assert (found.labels == test.labels).all()
    assert found.names(np.array([0, 17])) == ["test/circle/000.png", "test/cross/000.png"]
    assert len(open_examples(trained, split="all", tell=False)) == len(
        open_examples(trained, split="train", tell=False)
    ) + len(found)


def test_pictures_of_any_size_become_those_of_the_model(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    pictures = {}
    for name in ("square", "circle", "hexagon"):
        (folder / name).mkdir(parents=True)
        pixels = random.integers(0, 256, (20, 31, 3), np.uint8)
        pictures[name] = Image.fromarray(pixels)
        pictures[name].save(folder / name / "a.png")
    found = open_examples(trained, folder, tell=False)
    assert found.names(np.arange(3)) == ["circle/a.png", "hexagon/a.png", "square/a.png"]
    for stored, name in zip(everything(found), sorted(pictures), strict=True):
        expected = ImageOps.fit(pictures[name].convert("L"), (SIDE, SIDE), Image.Resampling.LANCZOS)
        assert (stored[0] == np.asarray(expected)).all()
    told = " ".join(found.notes)
    assert "images of 31 x 20 pixels are shrunk to the model's 8 x 8, their middle cut out" in told
    assert "colour ones become grey" in told
    assert "1 of 3 images has no label that the model knows" in told
    given = found.given()
    assert given is not None
    by_name = [SHAPES.index(name) if name in SHAPES else np.nan for name in sorted(pictures)]
    np.testing.assert_array_equal(given[:, 0], by_name)


def test_one_picture_is_a_source(trained: Trained, tmp_path: Path) -> None:
    write_shapes(tmp_path / "few", 1, 5)
    picture = tmp_path / "few" / "cross" / "000.png"
    found = open_examples(trained, picture, label="cross", tell=False)
    assert len(found) == 1
    assert (everything(found)[0, 0] == np.asarray(Image.open(picture))).all()
    assert found.given() == np.float32(SHAPES.index("cross"))
    (tmp_path / "alone").mkdir()
    picture.rename(tmp_path / "alone" / "x.png")
    assert len(open_examples(trained, tmp_path / "alone", tell=False)) == 1


def test_unreadable_pictures_are_named_and_the_others_done(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_shapes(tmp_path / "some", 4, 3)
    whole = everything(open_examples(trained, folder, tell=False))
    (folder / "cross" / "001.png").write_bytes(b"no picture")
    (folder / "square" / "003.png").write_bytes(b"")
    found = open_examples(trained, folder, tell=False)
    kept = np.delete(np.arange(12), [5, 11])
    assert (everything(found) == whole[kept]).all()
    told = capfd.readouterr().err
    assert "001.png" in told
    assert "003.png" in told
    found.at(np.array([11, 0, 5]))
    assert capfd.readouterr().err == ""  # they were told
    with pytest.raises(DistvaeError, match=r"2 of 12 images of .* could not be read: /"):
        found.refuse_lost()
    blocks = list(batches(trained, open_examples(trained, folder, tell=False), size=5))
    assert torch.cat([seen.batch.stored for seen in blocks]).numpy().tolist() == (
        whole[kept].tolist()
    )


@pytest.mark.parametrize("kind", ["uint8", "float32", "tensor", "rows of height and width", "PIL"])
def test_python_gives_arrays_tensors_and_pictures(trained: Trained, kind: str) -> None:
    random = np.random.default_rng(1)
    levels = random.integers(0, 256, (6, 1, SIDE, SIDE), np.uint8)
    levels[0, 0, 0, :2] = 0, 255
    given = {
        "uint8": levels,
        "float32": (levels / 255).astype(np.float32),
        "tensor": torch.from_numpy(levels / 255),
        "rows of height and width": levels[:, 0],
        "PIL": [Image.fromarray(image[0]) for image in levels],
    }[kind]
    labels = ["cross", "circle", "circle", "cross", "square", "circle"]
    found = open_examples(trained, (given, labels), tell=False)
    assert (everything(found) == levels).all()
    values = found.given()
    assert values is not None
    assert [SHAPES[int(value)] for value in values[:, 0]] == labels
    one = open_examples(trained, (given, "square"), tell=False).given()
    assert one is not None
    assert (one == SHAPES.index("square")).all()


class Items(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """As torchvision has them."""

    classes = ("square", "cross")

    def __init__(self, levels: np.ndarray) -> None:
        self.levels = torch.from_numpy(levels)

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.levels[index], index % 2


@pytest.mark.parametrize("kind", ["Dataset", "by split", "two pairs", "arrays by name"])
def test_python_gives_all_that_a_training_takes(trained: Trained, kind: str) -> None:
    levels = np.random.default_rng(4).integers(0, 256, (6, 1, SIDE, SIDE), np.uint8)
    words = ["square", "cross"] * 3
    given = {
        "Dataset": Items(levels),
        "by split": {"train": (levels[:4], words[:4]), "test": (levels[4:], words[4:])},
        "two pairs": ((levels[:4], words[:4]), (levels[4:], words[4:])),
        "arrays by name": {
            "x_train": levels[:4],
            "y_train": np.array(words[:4]),
            "x_test": levels[4:],
            "y_test": np.array(words[4:]),
        },
    }[kind]
    found = open_examples(trained, given, tell=False)
    assert (everything(found) == levels).all()
    values = found.given()
    assert values is not None
    assert [SHAPES[int(value)] for value in values[:, 0]] == words


def test_a_model_of_sides_that_differ_takes_the_middle() -> None:
    from distvae.config import ModelConfig
    from distvae.models import VAE

    model = VAE(ModelConfig(model="vae", prior="normal", hidden=(4,), latent_dim=2), (3, 6, 10))
    random = np.random.default_rng(2)
    picture = Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8))
    stored = everything(open_examples(Trained.of(model), picture, tell=False))
    expected = ImageOps.fit(picture, (10, 6), Image.Resampling.LANCZOS)
    assert (stored[0] == np.asarray(expected).transpose(2, 0, 1)).all()


def test_a_label_that_is_not_known_is_the_one_of_the_largest_bound(trained: Trained) -> None:
    images = open_examples(trained, tell=False).at(np.arange(9)).stored
    (seen,) = batches(trained, open_examples(trained, images, tell=False))
    bounds = []
    for label in SHAPES:
        (asked,) = batches(trained, open_examples(trained, (images, label), tell=False))
        terms = trained.model.terms(asked.batch)
        bounds.append(terms.log_likelihood - terms.rate.sum(1))
    assert seen.part.given is not None
    assert seen.part.given[:, 0].tolist() == torch.stack(bounds).argmax(0).tolist()


def test_examples_of_any_numbers(trained: Trained) -> None:
    found = open_examples(trained, split="all", tell=False)
    rows = np.array([170, 3, 121, 3])
    part = found.at(rows)
    assert (part.stored == everything(found)[rows]).all()
    assert part.labels is not None
    assert (part.labels == found.labels[rows]).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("nowhere", "there is no data called 'nowhere'"),
        (np.zeros((0, 1, SIDE, SIDE), np.uint8), "empty"),
        (np.full((2, 1, SIDE, SIDE), np.nan, np.float32), "missing or infinite"),
        (np.zeros((2, 5)), "expected height x width"),
        ("text", "there is no data"),
        pytest.param(object(), "expected images", id="an object"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(trained: Trained, data: object, words: str) -> None:
    with pytest.raises(DistvaeError, match=words):
        open_examples(trained, data)


def test_a_table_for_a_model_of_images(trained: Trained, tmp_path: Path) -> None:
    table = tmp_path / "numbers.csv"
    table.write_text("a,b\n1.5,2\n2.5,3\n", encoding="utf-8")
    with pytest.raises(DistvaeError, match="image column"):
        open_examples(trained, table)
