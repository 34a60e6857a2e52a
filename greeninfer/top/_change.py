"""What happened between two looks at a metrics page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from greeninfer.top._page import Family, Labels, Snapshot

# Labels of our own; a page that somebody put together from those of several services has further ones.
_OWN: Final = frozenset(
    ("state", "name", "model", "domain", "quality", "reason", "outcome", "kind", "meter", "period_seconds", "le")
)

# Sums over worker processes are floats added up anew at each look, in whatever order the files come.
_ROUNDING: Final = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class Change:
    """Two looks compared.

    Args:
        now: the later one; its counters are what there was since the service began.
        seconds: between the two; None where there is nothing to compare with: it is the first look, or the service
            has started anew since.
        grown: by how much each counter has grown; empty without ``seconds``.
        restarted: the service has started anew since the look before.
    """

    now: Snapshot
    seconds: float | None
    grown: Mapping[str, Family]
    restarted: bool = False


def compare(before: Snapshot | None, now: Snapshot) -> Change:
    """Compare two looks.

    A counter that went down or away tells of a restart. What was counted before it is not known then, so rather than
    a figure that is too small there is none until the next look.
    """
    if before is None:
        return Change(now, None, {})
    if _restarted(before, now):
        return Change(now, None, {}, restarted=True)
    seconds = now.instant - before.instant
    if seconds <= 0.0:
        return Change(now, None, {})
    known = {_extra(labels) for _, labels, _ in _series(before)} | {()}
    grown: dict[str, dict[Labels, float]] = {}
    for name, labels, value in _series(now):
        then = before.counters.get(name, {}).get(labels)
        # Ours appear when they are first counted up, so from 0. One of another service may have counted for years.
        if then is not None or _extra(labels) in known:
            grown.setdefault(name, {})[labels] = max(0.0, value - (then or 0.0))
    return Change(now, seconds, grown)


def _restarted(before: Snapshot, now: Snapshot) -> bool:
    if None not in (before.started, now.started) and before.started != now.started:
        return True
    return any(
        now.counters.get(name, {}).get(labels, -1.0) < value * _ROUNDING for name, labels, value in _series(before)
    )


def _series(snapshot: Snapshot) -> Iterator[tuple[str, Labels, float]]:
    for name, family in snapshot.counters.items():
        for labels, value in family.items():
            yield name, labels, value


def _extra(labels: Labels) -> Labels:
    return tuple(label for label in labels if label[0] not in _OWN)
