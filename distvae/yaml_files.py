"""YAML of settings: names with plain values, lists of them, and nothing that YAML can do beyond.

A reader of all of YAML makes dates of words, objects of tags and gigabytes of a few aliases. Here a
value is text, a number, true, false, nothing, a list or a table of these; what else stands there is
refused, or read as the text it is written as.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.errors import DistvaeError, shown
from distvae.reading import DEEPEST, check_bounds, read_bytes

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 256_000
MOST_NODES = 20_000
LONGEST_NUMBER = 40
_PLAIN = "tag:yaml.org,2002:"


def read_yaml(path: Path) -> Any:
    """What a YAML file of settings holds.

    Raises:
        DistvaeError: it is missing, no such YAML, or beyond the bounds.
    """
    import yaml

    content = read_bytes(path, MOST_BYTES)
    try:
        text = content.decode("utf-8")
        _check_events(yaml.parse(text, yaml.SafeLoader))
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        result = None if node is None else _Values(loader).of(node)
        check_bounds(result)
    except (yaml.YAMLError, ValueError) as error:
        raise DistvaeError(
            f"{path} cannot be read", f"expected YAML lines of `name: value`, found: {error}"
        ) from error
    return result


def _check_events(events: "Iterator[yaml.Event]") -> None:
    """Stop where a file nests too deep, before anything is made of it."""
    import yaml

    depth = 0
    for number, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"values nested more than {DEEPEST} deep")
        if number > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} values")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise ValueError(f"the tag {shown(tag)}; a value is written plainly")


class _Values:
    """Values of nodes; each is counted as often as an alias names it."""

    def __init__(self, loader: "yaml.SafeLoader") -> None:
        self._loader = loader
        self._count = 0

    def of(self, node: Any, depth: int = 0) -> Any:
        """The value of a node."""
        import yaml

        self._count += 1
        if self._count > MOST_NODES or depth > DEEPEST:
            raise ValueError("an alias that holds itself, or far too much")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(item, depth + 1) for item in node.value]
        return self._table(node, depth)

    def _table(self, node: Any, depth: int) -> dict[str, Any]:
        local: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            value = self.of(item, depth + 1)
            if key.tag == f"{_PLAIN}merge":
                merged |= self._merged(value)
                continue
            name = self.of(key, depth + 1)
            if not isinstance(name, str):
                raise ValueError(f"{shown(name)} where a name belongs")
            if name in local:
                raise ValueError(f"{shown(name)} twice")
            local[name] = value
        return {**merged, **local}

    def _merged(self, value: Any) -> dict[str, Any]:
        """What ``<<`` brings: one table, or several of which the first counts."""
        tables = value if isinstance(value, list) else [value]
        if not all(isinstance(table, dict) for table in tables):
            raise ValueError(f"<< of {shown(value)}, which is no table")
        return {name: item for table in reversed(tables) for name, item in table.items()}

    def _scalar(self, node: Any) -> Any:
        kind = node.tag.removeprefix(_PLAIN)
        if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(node.value)} characters")
        if kind == "null":
            return None
        if kind == "bool":
            return self._loader.construct_yaml_bool(node)
        if kind == "int":
            number = self._loader.construct_yaml_int(node)
            if abs(number) >= 2**63:
                raise ValueError(f"a whole number of more than 64 bits, {shown(node.value)}")
            return number
        if kind == "float":
            return self._finite(node)
        return node.value  # text, and what YAML takes for a date or the like

    def _finite(self, node: Any) -> float:
        number: float = self._loader.construct_yaml_float(node)
        if not math.isfinite(number):
            raise ValueError(f"{shown(node.value)}, which is no finite number")
        return number
