"""Recipe text to plain values, each with the place it came from. A small, strict YAML: no aliases, tags or dates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlvr.errors import RecipeError

_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars: `1e-4` is a float, `on` and `2024-01-01` are text."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the slot PyYAML reads

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Read one node; raises MarkedYAMLError for an alias, of which a few lines make gigabytes."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not allowed; write the value out", problem_mark=mark)
        return super().compose_node(parent, index)


for _name, _pattern in {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?\d+(_\d+)*",
    "float": r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?",
}.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), [None])

_SCALARS: dict[str, Callable[[str], Any]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: text.lower() == "true",
    _TAG + "int": int,
    _TAG + "float": float,
    _TAG + "str": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A recipe before it is typed: `values`, and for each key path the place that set it."""

    values: dict[str, Any]
    places: dict[tuple[str, ...], str]

    def at(self, *keys: str) -> str:
        """Return `place: a.b.c`, the place being that of the nearest enclosing key that was written."""
        written = next((keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in self.places), ())
        return f"{self.places[written]}: {'.'.join(keys)}" if keys else self.places[written]


def read_source(path: Path, overrides: Sequence[str]) -> tuple[Source, str]:
    """Return the recipe at `path` with `key.path=value` overrides applied, and the file's text.

    Raises RecipeError for a file that cannot be read, bad YAML, a duplicate key or a malformed override.
    """
    text = _read(path)
    node = _compose(text, str(path))
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{path}:1: a recipe is a mapping of keys, see recipes/quickstart.yaml")
    source = Source(values={}, places={(): f"{path}:1"})
    source.values.update(_value(node, (), str(path), source.places))
    for override in overrides:
        apply_override(source, override)
    return source, text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe file; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        place = _place(name, error.problem_mark) if error.problem_mark else name
        raise RecipeError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None


def _place(name: str, mark: yaml.Mark) -> str:
    return name if name.startswith("override ") else f"{name}:{mark.line + 1}"


def _value(node: yaml.Node, keys: tuple[str, ...], name: str, places: dict[tuple[str, ...], str]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, keys, name, places)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*keys, str(index)), name, places) for index, item in enumerate(node.value)]
    place = f"{_place(name, node.start_mark)}: {'.'.join(keys)}"
    if node.tag not in _SCALARS:
        raise RecipeError(f"{place}: tag {node.tag!r} is not allowed; write a plain value")
    try:
        value = _SCALARS[node.tag](node.value)
    except ValueError as error:
        raise RecipeError(f"{place}: {node.value[:40]!r} is not a value: {error}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{place}: {node.value!r} is not a finite number")
    return value


def _mapping(
    node: yaml.MappingNode, keys: tuple[str, ...], name: str, places: dict[tuple[str, ...], str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, child in node.value:
        path, place = (*keys, str(key.value)), _place(name, key.start_mark)
        if not isinstance(key, yaml.ScalarNode) or not key.value.isprintable():
            raise RecipeError(f"{place}: {'.'.join(keys) or 'recipe'}: a key must be plain printable text")
        if key.value in found:
            raise RecipeError(f"{place}: {'.'.join(path)}: duplicate key, first at {places[path]}; keep one")
        places[path] = place
        found[key.value] = _value(child, path, name, places)
    return found


def apply_override(source: Source, override: str) -> None:
    """Set what `key.path=value` says in `source`; raises RecipeError for a malformed one."""
    place = f"override {override!r}"
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys) or not dotted.isprintable():
        raise RecipeError(f"{place}: must read key.path=value, such as stages.grpo.updates=50")
    inner: dict[tuple[str, ...], str] = {}
    node = _compose(text, place)
    value = None if node is None else _value(node, keys, place, inner)
    section = source.values
    for depth, key in enumerate(keys[:-1], start=1):
        if section.get(key) is None:
            section[key] = {}
            source.places[keys[:depth]] = place
        if not isinstance(section[key], dict):
            raise RecipeError(f"{place}: {'.'.join(keys[:depth])} is {section[key]!r}, not a section")
        section = section[key]
    section[keys[-1]] = value
    for old in [path for path in source.places if path[: len(keys)] == keys]:
        del source.places[old]
    source.places.update(dict.fromkeys([keys, *inner], place))
