"""The declarations of all parts, read without the libraries that the parts compute with.

The declaration of a part (:mod:`distvae.parts`) uses the names in ``NAMES``, and may extend another
declaration of its package: it is run here without the rest of its file, which imports torch, so
that ``--help`` need not wait for it.
"""

import ast
import functools
import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distvae.parts import NAMES, Part

KINDS = {
    "domain": "domains",
    "network": "networks",
    "latent_space": "latents",
    "prior": "priors",
    "likelihood": "likelihoods",
    "objective": "objectives",
    "perceptual": "terms.perceptual",
    "critic": "terms.critics",
}
"""By the setting that chooses one: the package of its parts."""
TERMS = "perceptual", "critic"
"""Of these kinds those that are added to an objective, in the order in which they are."""
PACKAGES = {**KINDS, "metric": "evaluation.metrics"}
"""Of all kinds; metrics are named by a flag of `distvae evaluate`."""
DECLARATION = re.compile(
    r"^(?:@dataclass.*\n)?class \w+\(\w*Part\):\n(?:(?:[ \t].*)?\n)+", re.MULTILINE
)


class Declared(NamedTuple):
    """A part as its file declares it, or what several parts share."""

    part: type[Part]
    module: str
    """The full name of the module."""
    helps: dict[str, str]
    """Of its settings, by name; also of those that it shares."""

    @property
    def help(self) -> str:
        """What it is."""
        return _one_line(self.part.__doc__ or "")


class _Statement(NamedTuple):
    """The class statement of a declaration."""

    path: Path
    module: str
    tree: ast.ClassDef

    @property
    def base(self) -> str:
        """The name of the class that it extends."""
        return ast.unparse(self.tree.bases[0])


@functools.cache
def declared(kind: str) -> dict[str, Declared]:
    """The parts of a kind, by name in the order of the alphabet.

    Raises:
        ImportError: the package was installed without its sources.
    """
    package = PACKAGES[kind]
    folder = Path(__file__).parent.joinpath(*package.split("."))
    found: dict[str, Declared] = {}
    for one in declared_in(folder.glob("*.py"), f"distvae.{package}"):
        assert one.part.name not in found, f"two parts have the name {one.part.name}"
        found[one.part.name] = one
    if not found:
        raise ImportError(
            f"{folder} holds no Python files: distvae reads what its parts declare from their "
            "sources. Install it with its .py files, not compiled alone nor in an archive."
        )
    return dict(sorted(found.items()))


def declared_in(paths: Iterable[Path], package: str) -> list[Declared]:
    """The parts that files of a package declare, without importing them.

    A declaration without a name of a part is what those share that extend it.
    """
    statements: dict[str, _Statement] = {}
    for path in paths:
        for text in DECLARATION.findall(path.read_text(encoding="utf-8")):
            (tree,) = ast.parse(text).body
            assert isinstance(tree, ast.ClassDef)
            assert tree.name not in statements, f"two declarations have the name {tree.name}"
            statements[tree.name] = _Statement(path, f"{package}.{path.stem}", tree)
    read: dict[str, Declared] = {}
    for name in statements:
        _read(name, statements, read)
    return [one for one in read.values() if hasattr(one.part, "name")]


def _read(name: str, statements: Mapping[str, _Statement], read: dict[str, Declared]) -> Declared:
    """The declaration of a name, after that which it extends, where it is not read yet."""
    if name in read:
        return read[name]
    one = statements[name]
    names, helps = {**NAMES, "__name__": one.module}, {}
    if one.base in statements:
        above = _read(one.base, statements, read)
        names[one.base], helps = above.part, above.helps
    try:
        exec(compile(ast.Module([one.tree], []), str(one.path), "exec"), names)
    except NameError as error:
        known = (
            "the declaration of a part is run without its file and knows other declarations of its "
            f"package, and {', '.join(NAMES)}"
        )
        raise NameError(f"{one.path}: {error}: {known}") from None
    read[name] = Declared(names[name], one.module, {**helps, **helps_below(one.tree)})
    return read[name]


def helps_below(statement: ast.ClassDef) -> dict[str, str]:
    """The text under each field of a class, by name."""
    result = {}
    for above, below in zip(statement.body, statement.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr):
            result[ast.unparse(above.target)] = _one_line(ast.literal_eval(below.value))
    return result


def registry(kind: str) -> dict[str, Any]:
    """What the parts of a kind build, by name; their files are imported."""
    return {name: _built(one) for name, one in declared(kind).items()}


def _built(one: Declared) -> Any:
    module, builds = importlib.import_module(one.module), one.part.builds
    if isinstance(builds, str):
        return getattr(module, builds)
    return tuple(getattr(module, name) for name in builds)


def with_trait(kind: str, trait: str) -> tuple[str, ...]:
    """Names of the parts of a kind that have a trait."""
    return tuple(name for name, one in declared(kind).items() if trait in one.part.traits)


def usual(kind: str) -> tuple[str, ...]:
    """Names of the parts that may be taken where none is named."""
    return tuple(name for name, one in declared(kind).items() if one.part.usual)


def explained(kind: str) -> str:
    """What each of the parts of a kind is."""
    return "".join(f"\n`{name}`: {one.help}" for name, one in declared(kind).items())


def _one_line(text: str) -> str:
    return " ".join(text.split())
