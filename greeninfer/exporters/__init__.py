"""The way out: everything that carries settlements out of the process, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from greeninfer._settings import Settings
from greeninfer.errors import SettingsError
from greeninfer.exporters._contract import Exporter
from greeninfer.exporters.jsonl import JsonlExporter
from greeninfer.exporters.log import LogExporter
from greeninfer.exporters.otel import OtelExporter
from greeninfer.exporters.prometheus import PrometheusExporter

__all__ = [
    "EXPORTERS",
    "Exporter",
    "JsonlExporter",
    "LogExporter",
    "OtelExporter",
    "PrometheusExporter",
    "open_exporters",
]


def _jsonl(settings: Settings) -> Exporter:
    return JsonlExporter(settings.jsonl_path)


def _log(settings: Settings) -> Exporter:
    return LogExporter()


def _otel(settings: Settings) -> Exporter:
    return OtelExporter()


def _prometheus(settings: Settings) -> Exporter:
    return PrometheusExporter()


EXPORTERS: Final[dict[str, Callable[[Settings], Exporter]]] = {
    "jsonl": _jsonl,
    "log": _log,
    "otel": _otel,
    "prometheus": _prometheus,
}
"""Constructors of the exporters by the name that settings know them by."""


def check_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the exporters that the settings ask for, each once, without opening any.

    Raises:
        SettingsError: if one is unknown.
    """
    names = tuple(dict.fromkeys(settings.exporters))
    for name in names:
        if name not in EXPORTERS:
            raise SettingsError(
                f"exporters={name!r} is not possible; allowed: {', '.join(sorted(EXPORTERS))}; "
                "remedy: correct the name, or leave it out"
            )
    return names


def open_exporters(settings: Settings) -> tuple[Exporter, ...]:
    """Open the exporters that the settings name, each once, in their order.

    Raises:
        SettingsError: if a name is unknown, an exporter cannot write where the settings say, or its package is missing.
        ValueError: if the metric names are already taken in the Prometheus registry.
    """
    names = check_names(settings)
    opened: list[Exporter] = []
    try:
        opened.extend(EXPORTERS[name](settings) for name in names)
    except ValueError:
        for exporter in opened:
            exporter.close()
        raise
    return tuple(opened)
