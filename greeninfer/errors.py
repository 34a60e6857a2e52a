"""The errors of greeninfer, all of them.

    GreeninferError
    ├── MeterUnavailable   this machine cannot have the meter: expected, says why and what mends it
    ├── MeterError         the meter worked and broke now: counted, logged once, the next read may be good
    └── SettingsError      a setting is unknown or malformed (also a ValueError)

Wrong arguments raise plain ValueError or TypeError. None of these ever reaches a measured request.
"""

from __future__ import annotations


class GreeninferError(Exception):
    """Base of every error that greeninfer raises on purpose."""


class MeterUnavailable(GreeninferError):
    """This machine cannot have this meter.

    Args:
        meter: name of the meter, such as ``rapl``.
        reason: what is missing, in one sentence for a person.
        remedy: the line that mends it, or "" where nothing does.
    """

    def __init__(self, meter: str, reason: str, remedy: str = "") -> None:
        super().__init__(f"{meter}: {reason}" + (f" Remedy: {remedy}" if remedy else ""))
        self.meter = meter
        self.reason = reason
        self.remedy = remedy


class MeterError(GreeninferError):
    """A meter that worked could not be read this time.

    Args:
        meter: name of the meter.
        reason: one lower-case word for the metric label: vanished, permission, garbage, lost, late ...
        detail: what exactly happened, for the log.
    """

    def __init__(self, meter: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{meter}: {reason}" + (f" ({detail})" if detail else ""))
        self.meter = meter
        self.reason = reason
        self.detail = detail


class SettingsError(GreeninferError, ValueError):
    """A setting is unknown or malformed; the message names the value, what is allowed and the remedy."""
