"""Values of a study file, read as what they should be: text, numbers, lists, mappings; else an error with the line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greeninfer.bench._yaml_tree import Node, Path, did_you_mean
from greeninfer.errors import StudyError

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Place:
    """A node and the keys that lead to it."""

    node: Node
    path: Path

    def child(self, key: str | int) -> Place:
        """Return the place of what is under a key, or this one if nothing is."""
        node = self.node.at([key])
        return self if node is self.node else Place(node, (*self.path, key))

    def error(self, what: str, allowed: str = "", remedy: str = "", at_key: str = "") -> StudyError:
        """Return an error that names the line, of a key if one is named."""
        place = self.node.keys.get(at_key, self.node.place)
        return StudyError(f"{place}: {what}", allowed, remedy, self.path)


def mapping(where: Place, known: tuple[str, ...], needed: tuple[str, ...], what: str) -> dict[str, Place]:
    """Return what is under each key of a mapping.

    Raises:
        StudyError: if it is no mapping, a key is not known, or one is missing.
    """
    inside = where.node.value
    if not isinstance(inside, dict):
        raise where.error(f"{where.node.shown} is no {what.removeprefix('a ')}", f"keys {', '.join(known)}")
    for key in inside:
        if key not in known:
            raise where.error(f"the key {key} is not known", ", ".join(known), did_you_mean(key, known), at_key=key)
    for key in needed:
        if key not in inside:
            raise where.error(f"{what} without {key}", ", ".join(known), f"add {key}:")
    return {key: Place(node, (*where.path, key)) for key, node in inside.items()}


def sequence(where: Place, what: str) -> Iterator[Place]:
    """Yield what is in a list."""
    inside = where.node.value
    if not isinstance(inside, tuple):
        raise where.error(f"{where.path[-1]}={where.node.shown}", f"a list of {what}", 'begin each with "- "')
    for index, node in enumerate(inside):
        yield Place(node, (*where.path, index))


def read_fields(where: Place, made: Any, what: str, needed: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return the values of a dataclass's fields that a mapping sets.

    Args:
        where: the mapping.
        made: the dataclass.
        what: it is, for errors.
        needed: keys that have to be there; None for the fields without a default.
    """
    fields = dataclasses.fields(made)
    hints = typing.get_type_hints(made)
    if needed is None:
        missing = dataclasses.MISSING
        needed = tuple(each.name for each in fields if each.default is missing and each.default_factory is missing)
    keys = mapping(where, tuple(each.name for each in fields), needed, what)
    return {key: typed(place, hints[key]) for key, place in keys.items()}


def typed(where: Place, hint: Any) -> Any:
    """Return a value as its type.

    Raises:
        StudyError: if it is of another.
    """
    node, key = where.node, where.path[-1]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union) and type(None) in arguments:
        (inner,) = (each for each in arguments if each is not type(None))
        return None if node.value is None else typed(where, inner)
    if origin is tuple:
        if not isinstance(node.value, tuple):
            words = f"a list of {_WORDS[arguments[0]].removeprefix('a ')}s, such as [{node.text or '1, 8'}]"
            raise where.error(f"{key}={node.shown}", words.replace("texts", "names"))
        return tuple(typed(Place(each, (*where.path, i)), arguments[0]) for i, each in enumerate(node.value))
    if origin is Mapping:
        if not isinstance(node.value, dict):
            raise where.error(f"{key}={node.shown}", "a mapping, such as {pos: positive}")
        if arguments[1] is str:
            return {name: typed(Place(each, (*where.path, name)), str) for name, each in node.value.items()}
        return node.plain()
    return _scalar(where, hint)


def _scalar(where: Place, hint: Any) -> Any:
    node = where.node
    if hint is str and node.text is not None and node.value is not None:
        return node.text  # as it is written: a label 007 or a name 2024 needs no quotes
    fits = type(node.value) is hint or (hint is float and type(node.value) is int)
    if not fits:
        raise where.error(f"{where.path[-1]}={node.shown}", _WORDS[hint])
    return node.value
