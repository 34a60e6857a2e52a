"""Joules and seconds for every single inference request: measured, divided fairly, adding up to the meter."""

from greeninfer._energy import Energy
from greeninfer._measure import batch, current, flush, measure
from greeninfer._monitor import Monitor
from greeninfer._settings import Settings
from greeninfer._span import Span
from greeninfer.errors import GreeninferError, MeterError, MeterUnavailable, SettingsError

__all__ = [
    "Energy",
    "GreeninferError",
    "MeterError",
    "MeterUnavailable",
    "Monitor",
    "Settings",
    "SettingsError",
    "Span",
    "batch",
    "current",
    "flush",
    "measure",
]

__version__ = "0.1.0"
