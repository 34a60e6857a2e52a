"""The errors of greeninfer, all of them.

    GreeninferError
    ├── MeterUnavailable   this machine cannot have the meter: expected, says why and what mends it
    ├── MeterError         the meter worked and broke now: counted, logged once, the next read may be good
    ├── SettingsError      a setting is unknown or malformed (also a ValueError)
    ├── StudyError         a study, its data or its models cannot be run as they are (also a ValueError)
    └── ResultsError       a results folder cannot be read: no such folder, another version, damaged

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


class StudyError(GreeninferError, ValueError):
    """A study, its data or one of its models cannot be run as it is.

    Args:
        what: the value and what is wrong with it, in words.
        allowed: what is allowed there.
        remedy: what mends it.
        path: keys and indices that lead to the value in the study, such as ("models", 2, "options", "head").
    """

    def __init__(self, what: str, allowed: str = "", remedy: str = "", path: tuple[str | int, ...] = ()) -> None:
        parts = (what, allowed and f"allowed: {allowed}", remedy and f"remedy: {remedy}")
        super().__init__("; ".join(filter(None, parts)))
        self.what = what
        self.allowed = allowed
        self.remedy = remedy
        self.path = path


class ResultsError(GreeninferError):
    """A results folder cannot be read or written; the message names the file and the remedy."""
