"""How long each piece of running really cost the machine: expected static seconds.

Static power (idle and activation) is shared equally by whatever runs at an instant. Where inside its piece of a
tick a thread ran is not known when the request waits on I/O; known is only the share of the piece that it ran,
``rho = cpu / overlap``. Taking pieces to run independently of each other, the expected static seconds of piece i are

    s_i = ∫ dt rho_i ∫_0^1 ∏_{j≠i open} (1 - rho_j (1 - x)) dx

and they add up to the expected time in which anything ran, ∫ dt (1 - ∏_j (1 - rho_j)). A Gauss-Legendre rule over
x turns the inner integral into a few virtual clocks, each O(1) per piece (docs/how-it-works.md derives it). With every
rho = 1 it is exactly ∫ dt / n(t).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def _rule(nodes: int, *edges: float) -> tuple[Floats, Floats]:
    """Return the points and weights of a Gauss-Legendre rule on each panel between two edges."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    panels = list(itertools.pairwise(edges))
    x = np.concatenate([(low + high + points * (high - low)) / 2.0 for low, high in panels])
    w = np.concatenate([weights * (high - low) / 2.0 for low, high in panels])
    return x, w


def _pairs(rule: tuple[Floats, Floats]) -> list[tuple[float, float]]:
    points, weights = rule
    return list(zip(points.tolist(), weights.tolist(), strict=True))


# Eight nodes are exact for sixteen pieces at once that run all the time. The more run, the closer to 1 the integrand
# is squeezed, so a crowd gets panels that narrow towards 1: within 0.1 % up to a thousand pieces at once.
_FEW = 16
_RULE = _rule(8, 0.0, 1.0)
_CROWD_RULE = _rule(6, 0.0, 1.0 - 2.0**-2, 1.0 - 2.0**-5, 1.0 - 2.0**-8, 1.0)

# For pieces in turn: m nodes are exact for degree 2 m - 1, and n others make a polynomial of degree n.
_IN_TURN = [_pairs(_rule(nodes, 0.0, 1.0)) for nodes in range(1, _FEW // 2 + 1)]
_CROWD_IN_TURN = _pairs(_CROWD_RULE)

# A logarithm of zero would poison the running sum; 1e-12 is far below what a CPU clock resolves.
_SMALL = 1e-12


def static_seconds(begin: Floats, end: Floats, rho: Floats) -> tuple[Floats, float]:
    """Return each piece's expected static seconds and the expected seconds in which anything ran.

    Args:
        begin: seconds, one per piece.
        end: seconds, none smaller than its ``begin``.
        rho: share of the piece during which it ran, 0 to 1.

    The first result adds up to the second.
    """
    count = len(begin)
    if count == 0:
        return np.zeros(0), 0.0
    if count == 1:
        alone = rho * (end - begin)
        return alone, float(alone[0])
    instants = np.concatenate((begin, end))
    order = np.argsort(instants, kind="stable")
    lengths = np.diff(instants[order])

    edges = np.repeat((1, -1), count)[order]
    points, weights = _RULE if int(np.cumsum(edges).max()) <= _FEW else _CROWD_RULE
    factors = np.maximum(1.0 - rho * (1.0 - points[:, None]), _SMALL)
    clocks = _clock_values(np.log(factors), order, lengths)
    elapsed = clocks[:, count:] - clocks[:, :count]
    seconds = rho * (weights @ (elapsed / factors))

    quiet = np.log(np.maximum(1.0 - rho, _SMALL))
    still = _clock_values(quiet[None, :], order, lengths)
    # From the first begin to the last end, less the time in which nothing ran: where nothing is open, that clock too
    # runs at 1.
    active = max(0.0, float(lengths.sum() - still.max()))
    total = float(seconds.sum())
    if total > 0.0:
        seconds *= active / total
    return seconds, active


def static_seconds_in_turn(ran: float, rho: Sequence[float], seconds: float) -> tuple[float, list[float], float]:
    """Return what ``static_seconds`` does, for pieces one after the other beside others that go on all the time.

    So it is where requests run on one thread, as on an event loop: no instant needs to be looked at, and a few sums
    without arrays are all that a tick has to do. With P(x) = ∏_k (1 - rho_k (1 - x)) over the others, a piece that runs
    for ran_i seconds has ran_i ∫ P dx, and each of the others

        rho_k ∫ P / (1 - rho_k (1 - x)) (seconds - (1 - x) ∑ ran_i) dx

    Args:
        ran: running seconds of the pieces together, of which no two overlap.
        rho: share of the time during which each of the others runs.
        seconds: how long they do; the pieces lie within.

    Returns the part of its running seconds that each piece has as static seconds, the static seconds of the others, and
    the expected seconds in which anything ran.
    """
    if not rho:
        return 1.0, [], ran
    shares = dict.fromkeys(rho, 0.0)
    counts = {each: rho.count(each) for each in shares}  # of cores that are busy all the time there may be many
    part = 0.0
    for x, weight in _IN_TURN[len(rho) // 2] if len(rho) < _FEW else _CROWD_IN_TURN:
        factors = {each: max(1.0 - each * (1.0 - x), _SMALL) for each in counts}
        weighted = weight * math.prod(factors[each] ** count for each, count in counts.items())
        part += weighted
        weighted *= seconds - (1.0 - x) * ran
        for each, factor in factors.items():
            shares[each] += weighted / factor
    quiet = math.prod(1.0 - each for each in rho)
    return part, [each * shares[each] for each in rho], seconds - quiet * (seconds - ran)


def _clock_values(logs: Floats, order: npt.NDArray[np.intp], lengths: Floats) -> Floats:
    """Return, for every clock (row) and instant (begins, then ends), the integral of the product of open factors.

    Where no piece is open the product is empty, so the clock runs at 1.
    """
    steps = np.concatenate((logs, -logs), axis=1)[:, order]
    slopes = np.exp(np.cumsum(steps, axis=1)[:, :-1])
    values = np.empty_like(steps)
    values[:, order[0]] = 0.0
    values[:, order[1:]] = np.cumsum(slopes * lengths, axis=1)
    return values
