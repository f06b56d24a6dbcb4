"""Recipes as others write them: plain values are read, all else is refused in a line."""

from pathlib import Path

import pytest

from distvae.errors import DistvaeError
from distvae.recipes import read_recipe

REFERENCES = ",".join(["*a"] * 9)
BOMB = "a0: &a0 [1]\n" + "".join(
    f"a{step}: &a{step} [{REFERENCES.replace('a', f'a{step - 1}')}]\n" for step in range(1, 10)
)
MERGES = BOMB.replace("[1]", "{x: 1}").replace("[*", "{<<: [*").replace("]\n", "]}\n")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("beta: .inf", "'.inf', which is no finite number"),
        ("beta: .nan", "no finite number"),
        ("beta: 1e400", "beta is '1e400'"),
        ("beta: inf", "beta is 'inf'"),
        ("beta: 2024-01-01", "beta is '2024-01-01'"),
        ("epochs: 2024-99-99", "epochs is '2024-99-99'"),
        ("epochs: " + "9" * 5000, "a number of 5000 characters"),
        ("epochs: 0x" + "f" * 5000, "a number of 5002 characters"),
        ("epochs: 99999999999999999999", "more than 64 bits"),
        ("epochs: 0b_", "invalid literal"),
        ("hidden: " + "[" * 20_000, "nested more than 32 deep"),
        ("hidden: " + "[" * 20_000 + "]" * 20_000, "nested more than 32 deep"),
        ("- " * 5000, "nested more than 32 deep"),
        (BOMB, "an alias that holds itself, or far too much"),
        (MERGES, "an alias that holds itself, or far too much"),
        ("hidden: &a [*a]", "an alias that holds itself"),
        ("hidden: *a", "undefined alias"),
        ("beta: 1\nbeta: 2", "'beta' twice"),
        ("beta: 1\0", "#x0000"),
        ('data: "\\0"', "a NUL"),
        ('data: "\\ud800"', "surrogates not allowed"),
        ("---\nbeta: 1\n---\nbeta: 2", "a single document"),
        ("beta: !!python/object/apply:os.system [ls]", "the tag"),
        ("beta: !!int 3", "the tag 'tag:yaml.org,2002:int'"),
        ("beta: !mine 3", "the tag '!mine'"),
        ("1: 2", "1 where a name belongs"),
        ("? [a]\n: 1", "['a'] where a name belongs"),
        ("<<: 3", "<< of 3, which is no table"),
        ("- beta", "holds no settings"),
        ("data: " + "x" * 300_000, "300,006 bytes"),
        ("data: " + "x" * 200_000, "a text of 200,000 characters"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_recipe_is_refused_in_a_line(tmp_path: Path, recipe: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe, encoding="utf-8")
    with pytest.raises(DistvaeError) as caught:
        read_recipe(str(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize(
    ("recipe", "name", "value"),
    [
        ("# nothing", "epochs", None),
        ("\ufeffepochs: 3", "epochs", 3),
        ("epochs: 0x10", "epochs", 16),
        ("beta: 1e-3", "beta", 0.001),
        ("hidden: &sizes [16, 8]\ndiscriminator: *sizes", "discriminator", (16, 8)),
        ("<<: {epochs: 2, beta: 3}\nepochs: 5", "epochs", 5),
        ("<<: [{beta: 2}, {beta: 3}]", "beta", 2.0),
        ("<<: &base {beta: 2}", "beta", 2.0),
        ("data: 2024-01-01", "data", "2024-01-01"),
        ("compile: on", "compile", "on"),
        ("max_steps: ~", "max_steps", None),
    ],
)
def test_a_recipe_is_read_as_yaml_has_it(
    tmp_path: Path, recipe: str, name: str, value: object
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe, encoding="utf-8")
    assert read_recipe(str(path)).to_flat()[name] == value


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"data: caf\xe9")
    with pytest.raises(DistvaeError, match=r"latin.yaml cannot be read.*utf-8"):
        read_recipe(str(tmp_path / "latin.yaml"))
    with pytest.raises(DistvaeError, match="is a folder"):
        read_recipe(str(tmp_path))
