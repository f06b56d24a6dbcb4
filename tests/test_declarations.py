"""What parts say of themselves, read without their files and as their files have it."""

import dataclasses
import importlib
import inspect
import typing
from pathlib import Path
from typing import Any

import pytest

from distvae import declarations
from distvae.composed import choice, settings_of
from distvae.config import TrainConfig
from distvae.declarations import PACKAGES, Declared, declared, declared_in
from distvae.parts import Part

PARTS = [(kind, name) for kind in PACKAGES for name in declared(kind)]


def facts(part: type[Part]) -> dict[str, Any]:
    """All that a declaration says, the class itself aside."""
    said = {
        name: value
        for name, value in vars(part).items()
        if not name.startswith("_") and not callable(value)
    }
    hints = typing.get_type_hints(part, include_extras=True)
    fields = [(each.name, hints[each.name], each.default) for each in dataclasses.fields(part)]
    return {**said, "help": part.__doc__, "fields": fields, "left out": part().left_out()}


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_part_read_without_its_file_is_that_of_its_file(kind: str, name: str) -> None:
    one = declared(kind)[name]
    module = importlib.import_module(one.module)
    assert facts(one.part) == facts(getattr(module, one.part.__name__))


def test_a_package_without_its_sources_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "wide.pyc").write_bytes(b"")
    monkeypatch.setattr(declarations, "__file__", str(tmp_path / "declarations.py"))
    monkeypatch.setitem(PACKAGES, "compiled", "compiled")
    with pytest.raises(ImportError, match=r"compiled holds no Python files.*not compiled"):
        declared("compiled")


@pytest.mark.parametrize("kind", PACKAGES)
def test_every_declaration_in_a_file_is_read(kind: str) -> None:
    folder = Path(inspect.getfile(importlib.import_module(f"distvae.{PACKAGES[kind]}"))).parent
    modules = (
        importlib.import_module(f"distvae.{PACKAGES[kind]}.{path.stem}")
        for path in folder.glob("*.py")
    )
    there = {
        each.name
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Part) and hasattr(each, "name")
    }
    assert there == set(declared(kind))


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_part_says_what_it_is_and_what_its_settings_are(kind: str, name: str) -> None:
    one = declared(kind)[name]
    assert one.help.endswith(".")
    assert set(one.helps) == {each.name for each in dataclasses.fields(one.part)}
    assert all(one.helps.values())
    assert set(one.part().left_out()) <= set(TrainConfig().to_flat())


def test_a_setting_of_several_parts_has_the_help_of_each() -> None:
    helps = settings_of("objective")["penalty"].helps
    assert set(helps) >= {"beta_tc", "dip_i", "dip_ii", "factor", "mmd"}
    fields = {each.name: each for each in dataclasses.fields(TrainConfig().objective)}
    told = fields["penalty"].metadata["help"]
    assert "With --objective dip_i, dip_ii: Lambda_od" in told
    assert "With --objective mmd: Alpha" in told
    assert "`mmd`: " in choice("objective", "elbo", "").metadata["help"]


DECLARATION = '''"""A file."""

import no_such_library

@dataclass(frozen=True)
class NarrowPart(Part):
    """Half as wide,
    or less."""

    name = "narrow"
    builds = "Narrow"
    needs = (Need("prior", {fitting}, "why not"),)

    narrowness: Positive = 2.0
    """How narrow,
    in all."""

    def left_out(self) -> dict[str, Any]:
        return {{"beta": self.narrowness}}


class Narrow(no_such_library.Thing):
    """Not looked at."""
'''


SHARED = '''
@dataclass(frozen=True)
class NarrowerPart(NarrowPart):
    """And softer."""

    name = "narrower"
    builds = "Narrower"
    needs = (*NarrowPart.needs, GREY)

    softness: Positive = 1.0
    """How soft."""

    def left_out(self) -> dict[str, Any]:
        return {**super().left_out(), "clip": self.softness}
'''


def read(path: Path, **words: str) -> list[Declared]:
    path.write_text(DECLARATION.format(**words), encoding="utf-8")
    return declared_in([path], "distvae")


def test_a_declaration_needs_nothing_of_its_file(tmp_path: Path) -> None:
    (one,) = read(tmp_path / "narrow.py", fitting="Trait('levels')")
    assert one.part.__module__ == one.module == "distvae.narrow"
    assert (one.part.name, one.help) == ("narrow", "Half as wide, or less.")
    assert one.helps == {"narrowness": "How narrow, in all."}
    assert one.part().left_out() == {"beta": 2.0}


def test_a_declaration_that_needs_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NameError, match=r"narrow\.py: .*'OURS'.* run without its file and knows"):
        read(tmp_path / "narrow.py", fitting="OURS")


@pytest.mark.parametrize("named", [True, False])
def test_a_declaration_extends_one_of_another_file(tmp_path: Path, named: bool) -> None:
    (tmp_path / "b.py").write_text(SHARED, encoding="utf-8")
    text = DECLARATION.format(fitting="(None,)")
    text = text if named else text.replace('    name = "narrow"\n    builds = "Narrow"\n', "")
    (tmp_path / "c.py").write_text(text, encoding="utf-8")
    for order in ("bc", "cb"):
        paths = [tmp_path / f"{letter}.py" for letter in order]
        found = {one.part.name: one for one in declared_in(paths, "distvae")}
        assert set(found) == {"narrow", "narrower"} if named else {"narrower"}
        one = found["narrower"]
        assert (one.module, one.help) == ("distvae.b", "And softer.")
        assert one.helps == {"narrowness": "How narrow, in all.", "softness": "How soft."}
        assert [each.setting for each in one.part.needs] == ["prior", "binarize"]
        assert one.part().left_out() == {"beta": 2.0, "clip": 1.0}
