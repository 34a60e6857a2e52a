"""Joules and seconds for every single inference request: measured, divided fairly, adding up to the meter."""

from greeninfer import threads
from greeninfer._carrier import extract, inject
from greeninfer._cascade import Answer, Cascade, Stage
from greeninfer._energy import Energy
from greeninfer._instrument import instrument
from greeninfer._measure import batch, current, flush, measure
from greeninfer._metrics_app import MetricsApp
from greeninfer._monitor import Monitor
from greeninfer._settings import Settings
from greeninfer._span import Span
from greeninfer.asgi import EnergyMiddleware
from greeninfer.errors import GreeninferError, MeterError, MeterUnavailable, SettingsError

__all__ = [
    "Answer",
    "Cascade",
    "Energy",
    "EnergyMiddleware",
    "GreeninferError",
    "MeterError",
    "MeterUnavailable",
    "MetricsApp",
    "Monitor",
    "Settings",
    "SettingsError",
    "Span",
    "Stage",
    "batch",
    "current",
    "extract",
    "flush",
    "inject",
    "instrument",
    "measure",
    "threads",
]

__version__ = "0.1.0"
