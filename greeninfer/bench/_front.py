"""The Pareto front: whom nobody beats in accuracy and cost at once."""

from __future__ import annotations

from collections.abc import Sequence


def front(accuracy: Sequence[float], cost: Sequence[float | None]) -> tuple[bool, ...]:
    """Return who is on the front.

    Off it is whoever is beaten by another that is at least as accurate and at least as cheap, and better in one of
    the two; equals stand on it together. A cost that is not known (None) is not on it and beats nobody.
    """
    points = list(zip(accuracy, cost, strict=True))
    return tuple(
        price is not None and not any(_beats(each, (right, price)) for each in points) for right, price in points
    )


def _beats(one: tuple[float, float | None], other: tuple[float, float]) -> bool:
    if one[1] is None:
        return False
    return one[0] >= other[0] and one[1] <= other[1] and (one[0], one[1]) != other
