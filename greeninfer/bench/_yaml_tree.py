"""YAML as plain data that knows its lines, and nothing else of YAML: no tags, no aliases, no dates, no "no" for false.

Scalars are read as YAML 1.2 has them (https://yaml.org/spec/1.2.2/#103-core-schema), so that a label ``no`` stays a
label and ``1e-3`` is a number; PyYAML by itself does neither. Only its scanner, parser and composer are used, which
make no objects.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.errors import StudyError

Path = tuple[str | int, ...]

MOST_DEPTH = 40
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")  # more digits than int() reads are text
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands.

    Args:
        value: text, number, true, false or None; a tuple of nodes; or a mapping of text to nodes.
        text: a scalar as it is written; None for others.
        place: "study.yaml:14:9", for errors.
        keys: of a mapping, where each key stands.
    """

    value: Any
    text: str | None
    place: str
    keys: dict[str, str]

    def at(self, path: Iterable[str | int]) -> Node:
        """Return the node that a path leads to, or the last on the way that is there."""
        node = self
        for step in path:
            inside = node.value
            if isinstance(inside, dict) and step in inside:
                node = inside[step]
            elif isinstance(inside, tuple) and isinstance(step, int) and step < len(inside):
                node = typing.cast(Node, inside[step])
            elif step != "options":  # what a model takes may be written beside its name
                break
        return node

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: each.plain() for key, each in self.value.items()}
        return [each.plain() for each in self.value] if isinstance(self.value, tuple) else self.value

    @property
    def shown(self) -> str:
        """Return the value for an error."""
        if self.value is None:
            return "nothing"
        shown = repr(self.value) if isinstance(self.value, str) else self.text or repr(self.plain())
        return shown if len(shown) <= 60 else shown[:57] + "..."


def resolve(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(_SPECIAL[text.lower()]) if text.lower() in _SPECIAL else text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a remedy for a word that is not known, or ""."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]}?" if near else ""


def read_tree(text: str, file: str) -> Node | None:
    """Return a YAML text as nodes, None if it is empty.

    Raises:
        StudyError: if it is no YAML, or more of YAML than is read here.
    """
    yaml = need("yaml")
    try:
        _check_events(yaml, text, file)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        place = _place(file, mark) if mark else file
        raise StudyError(f"{place}: {problem}", "YAML", _remedy(problem)) from error
    except yaml.YAMLError as error:  # letters that no YAML may hold; the error counts them, not lines
        at = getattr(error, "position", 0)
        line = text[:at].count("\n") + 1
        letter = ascii(text[at : at + 1])
        raise StudyError(f"{file}:{line}: the character {letter}", "YAML", "take it out") from error
    return None if root is None else _node(yaml, root, file)


def _check_events(yaml: Any, text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = _place(file, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise StudyError(f"{place}: the alias *{event.anchor}", "plain values", "write out what it stands for")
        if getattr(event, "tag", None):
            remedy = "take it out; text that begins with ! needs quotes"
            raise StudyError(f"{place}: the tag {event.tag}", "no tags", remedy)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise StudyError(f"{place}: more than {MOST_DEPTH} levels inside each other", "fewer", "close brackets")


def _remedy(problem: str) -> str:
    if "\\t" in problem:
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "quote text that has a colon, and look at the indentation"
    if "expected a single document" in problem:
        return "one study in each file: take out the line ---"
    return "look at the indentation, quotes and brackets here and just above"


def _node(yaml: Any, node: Any, file: str) -> Node:
    place = _place(file, node.start_mark)
    if isinstance(node, yaml.ScalarNode):
        return Node(resolve(node.value) if node.style is None else node.value, node.value, place, {})
    if isinstance(node, yaml.SequenceNode):
        return Node(tuple(_node(yaml, each, file) for each in node.value), None, place, {})
    inside: dict[str, Node] = {}
    keys: dict[str, str] = {}
    for key, value in node.value:
        key_place = _place(file, key.start_mark)
        if not isinstance(key, yaml.ScalarNode):
            raise StudyError(f"{key_place}: a key that is a list or mapping", "text", "quote it if it is text")
        if key.value in inside:
            remedy = f"take out one; the other is at {keys[key.value]}"
            raise StudyError(f"{key_place}: {key.value} is there twice", "once", remedy)
        inside[key.value] = _node(yaml, value, file)
        keys[key.value] = key_place
    return Node(inside, None, place, keys)


def _place(file: str, mark: Any) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}"
