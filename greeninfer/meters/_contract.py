"""What every meter is: the contract that `tests/meters/test_contract.py` holds all of them to."""

from __future__ import annotations

from typing import Protocol

from greeninfer._records import MeterInfo, Reading


class Meter(Protocol):
    """Counts joules in domains.

    The constructor does all the looking around; it raises ``MeterUnavailable`` with the reason and the remedy
    where this machine cannot have the meter. It starts no thread.
    """

    @property
    def info(self) -> MeterInfo:
        """Return what the meter is; constant for its life."""
        ...

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per domain, in the order of ``info.domains``.

        Raises:
            MeterError: if any of them cannot be read now. Nothing is lost: the next good reading is cumulative.
        """
        ...

    def close(self) -> None:
        """Give back descriptors and handles; a second call does nothing."""
        ...
