"""What may become a label: a bounded number of names, in text that every format can carry."""

from __future__ import annotations

import logging
from typing import Final

OVERFLOW: Final = "(overflow)"
"""The label of what is beyond a ceiling. Its joules are kept; only its name is not."""

MAX_PHASES: Final = 32
"""Distinct phase names that become labels. Phases are named in code: more of them are made up per request."""

Labels = tuple[str, ...]
_log = logging.getLogger("greeninfer")


class Ceilings:
    """Knows which labels came first. Names come from code, and yet a program may make up one per request."""

    __slots__ = ("_admitted", "_overflow_said")

    def __init__(self) -> None:
        self._admitted: dict[str, set[Labels]] = {}
        self._overflow_said = False

    def admit(self, kind: str, labels: Labels, limit: int) -> bool:
        """Tell whether these labels are among the first ``limit`` of their kind; the first refusal is logged."""
        admitted = self._admitted.setdefault(kind, set())
        if labels in admitted:
            return True
        if len(admitted) < limit:
            admitted.add(labels)
            return True
        if not self._overflow_said:
            self._overflow_said = True
            _log.warning("greeninfer.labels_overflow kind=%s limit=%d first=%r", kind, limit, labels)
        return False

    def route(self, name: str, model: str, limit: int) -> tuple[str, str]:
        """Return the route, or the one that stands for all beyond the first ``limit``."""
        return (name, model) if self.admit("route", (name, model), limit) else (OVERFLOW, "")

    def name(self, name: str, limit: int) -> str:
        """Return the name, or the one that stands for all beyond the first ``limit``."""
        return name if self.admit("name", (name,), limit) else OVERFLOW

    def phase(self, phase: str) -> str:
        """Return the phase, or the one that stands for all beyond the first ``MAX_PHASES``."""
        return phase if self.admit("phase", (phase,), MAX_PHASES) else OVERFLOW


def encodable(value: str) -> str:
    """Return text without lone surrogates.

    One of them, as in a path that is not UTF-8, would fail every later scrape of a registry; OTLP loses the attribute.
    """
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
