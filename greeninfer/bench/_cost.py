"""What joules per request come to in a year of requests: kWh, money, grams of CO2 equivalent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from greeninfer.errors import StudyError

DAYS = 365
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a model will be used.

    Args:
        requests_per_day: texts, not calls.
        grid_grams_per_kwh: grams of CO2 equivalent that the electricity stands for; None where not known.
        price_per_kwh: of the electricity; None where not known.
        currency: of the price, such as "EUR".

    Raises:
        StudyError: for a negative or infinite figure.
    """

    requests_per_day: float
    grid_grams_per_kwh: float | None = None
    price_per_kwh: float | None = None
    currency: str = ""

    def __post_init__(self) -> None:
        for name in ("requests_per_day", "grid_grams_per_kwh", "price_per_kwh"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0.0):
                raise StudyError(f"{name}={value!r}", "a finite number, 0 or more", path=(name,))


@dataclass(frozen=True, slots=True)
class Yearly:
    """A year of requests, or what one more costly model adds to it; what is not known is None.

    Args:
        kwh: electricity at the meters that were read, without cooling or losses of the building.
        money: in the currency of the scale.
        grams: of CO2 equivalent.
    """

    kwh: float
    money: float | None
    grams: float | None


def yearly(joules: float, scale: Scale) -> Yearly:
    """Return what so many joules per request come to in a year of 365 days."""
    kwh = joules * scale.requests_per_day * DAYS / JOULES_PER_KWH
    return Yearly(
        kwh,
        None if scale.price_per_kwh is None else kwh * scale.price_per_kwh,
        None if scale.grid_grams_per_kwh is None else kwh * scale.grid_grams_per_kwh,
    )
