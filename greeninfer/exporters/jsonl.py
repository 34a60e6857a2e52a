"""Settled requests to a file of JSON lines, one per request, for people who want each of them and not a sum.

A figure that is not known is null; NaN, which is no JSON, is never written. A settlement is one write in append mode,
so several processes may share a file, and a program that reads along sees whole lines. When the file has been moved
away or deleted (log rotation), the next settlement goes to a new one.

    time                  when it opened, ISO 8601 in UTC
    name, model, outcome  its route, and ok, error or cancelled
    seconds, cpu_seconds  open to close; its own CPU time
    first_byte_seconds    open to the first byte of the answer; null if it sent none
    joules, total_joules  its own; with its child spans
    by_domain, phases     its own joules by domain, by phase
    static_joules, dynamic_joules, uncertainty_joules, interval_joules ([low, high]), quality, complete
    tokens, messages      by kind; websocket messages by direction
    escalated             whether it was a stage of a cascade that handed on to the next
    attributes            as the program attached them; what JSON does not know as its repr, cut at some length
    origin                the request in another process that it is part of; null if there is none
    trace_id, trace_span_id  null if its trace was not sampled
"""

from __future__ import annotations

import errno
import json
import math
import os
import reprlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Final

from greeninfer._energy import Measurement
from greeninfer._records import NANO, Settlement
from greeninfer.errors import SettingsError

MAX_DEPTH: Final = 6
"""Levels of an attribute that are written as JSON; deeper ones, and so cycles, end in a repr."""

# Unlike repr it survives a __repr__ that raises, and bounds what a data frame or a tensor writes.
_REPR: Final = reprlib.Repr()
_REPR.maxother = _REPR.maxstring = 200


class JsonlExporter:
    """Append one line per settled request to a file.

    Args:
        path: the file, made if it is missing; "-" is standard error.

    Raises:
        SettingsError: if the file cannot be opened for appending.
    """

    name = "jsonl"

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self._torn = False
        try:
            self._file = None if path == "-" else _append_to(self._path)
        except OSError as error:
            raise SettingsError(
                f"jsonl_path={path!r} is not possible ({error.strerror}); allowed: a file that this user can append "
                "to, or - for standard error; remedy: make its directory, get the right to write there, or name another"
            ) from error

    def export(self, settlement: Settlement) -> None:
        """Write the settled requests.

        Raises:
            OSError: if the file cannot be written now; these lines, or the end of them, are lost.
        """
        if not settlement.measurements:
            return
        text = "".join(json.dumps(_record(each), allow_nan=False) + "\n" for each in settlement.measurements)
        if self._file is None:
            sys.stderr.write(text)
            return
        self._file = self._follow_rotation(self._file)
        self._write(self._file, text.encode("ascii"))

    def close(self) -> None:
        """Close the file; nothing is buffered."""
        if self._file is not None:
            self._file.close()

    def _follow_rotation(self, file: FileIO) -> FileIO:
        with suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(file.fileno())):
                return file
        fresh = _append_to(self._path)
        file.close()
        self._torn = False
        return fresh

    def _write(self, file: FileIO, data: bytes) -> None:
        # A full disk takes a part of the data. Half a line stays half a line, but must not spoil the one after it.
        data = b"\n" + data if self._torn else data
        done = 0
        while done < len(data):
            written = file.write(data[done:])
            if not written:
                raise BlockingIOError(errno.EAGAIN, "the reader does not keep up", str(self._path))
            done += written
            self._torn = data[done - 1 : done] != b"\n"


def _append_to(path: Path) -> FileIO:
    return path.open("ab", buffering=0)


def _record(measurement: Measurement) -> dict[str, object]:
    energy = measurement.energy()
    return {
        "time": _time(measurement.unix_seconds),
        "name": measurement.key[0],
        "model": measurement.key[1],
        "outcome": measurement.outcome,
        "seconds": _known(measurement.seconds),
        "cpu_seconds": _known(measurement.cpu_seconds),
        "first_byte_seconds": _known(measurement.first_byte_seconds),
        "joules": _known(energy.joules),
        "total_joules": _known(energy.total_joules),
        "by_domain": {domain: _known(joules) for domain, joules in energy.by_domain.items()},
        "static_joules": _known(energy.static_joules),
        "dynamic_joules": _known(energy.dynamic_joules),
        "uncertainty_joules": _known(energy.uncertainty_joules),
        "interval_joules": None
        if energy.interval_joules is None
        else [_known(edge) for edge in energy.interval_joules],
        "quality": energy.quality,
        "complete": energy.complete,
        "tokens": dict(measurement.tokens),
        "messages": dict(measurement.messages),
        "escalated": measurement.escalated,
        "phases": {phase: nanojoules / NANO for phase, nanojoules in measurement.phases.items()},
        "attributes": _plain(measurement.attributes or {}),
        "origin": measurement.origin or None,
        "trace_id": measurement.trace_id or None,
        "trace_span_id": measurement.trace_span_id or None,
    }


def _time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _known(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


def _plain(value: object, depth: int = 0) -> object:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        # Python refuses to write out an integer of thousands of digits.
        return value if value.bit_length() <= 64 else hex(value)
    if isinstance(value, float):
        return _known(value)
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else _REPR.repr(key): _plain(each, depth + 1) for key, each in value.items()
        }
    if depth < MAX_DEPTH and isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    try:
        return _REPR.repr(value)
    except ValueError:  # a number deep inside that Python refuses to write out
        return f"<{type(value).__name__}>"
