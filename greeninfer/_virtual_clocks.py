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

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Eight nodes are exact for up to sixteen pieces that run all the time. What is off at higher concurrency is almost a
# common factor, and the last step of static_seconds takes that out.
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(8)
_X: Floats = (_NODES + 1.0) / 2.0
_W: Floats = _NODE_WEIGHTS / 2.0

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

    factors = np.maximum(1.0 - rho * (1.0 - _X[:, None]), _SMALL)
    clocks = _clock_values(np.log(factors), order, lengths)
    elapsed = clocks[:, count:] - clocks[:, :count]
    seconds = rho * (_W @ (elapsed / factors))

    quiet = np.log(np.maximum(1.0 - rho, _SMALL))
    still = _clock_values(quiet[None, :], order, lengths)
    # From the first begin to the last end, less the time in which nothing ran: where nothing is open, that clock too
    # runs at 1.
    active = max(0.0, float(lengths.sum() - still.max()))
    total = float(seconds.sum())
    if total > 0.0:
        seconds *= active / total
    return seconds, active


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
