"""The pieces that the PromQL of the dashboards is made of.

Sums leave out ``instance`` and every label of a worker, so that several processes of a service add up.
"""

from __future__ import annotations

SERVICE = 'job=~"$job",instance=~"$instance"'
ROUTE = SERVICE + ',name=~"$name",model=~"$model"'

LIVE = "$__rate_interval"
SHOWN = "$__range"
DAY = "1d"

ENERGY = "greeninfer_energy_joules_total"
ATTRIBUTED = 'state="attributed",'
STATIC = "greeninfer_static_energy_joules_total"
REQUEST_JOULES = "greeninfer_request_energy_joules"
SECONDS = "greeninfer_request_duration_seconds"
FIRST_BYTE = "greeninfer_request_first_byte_seconds"
POWER = "greeninfer_power_watts"

JOULES_PER_KWH = "3.6e6"
GRAMS_PER_JOULE = f"$intensity / {JOULES_PER_KWH}"
"""Times joules, g: the variable is in g/kWh."""


def rate(metric: str, matchers: str = ROUTE, window: str = LIVE) -> str:
    return f"rate({metric}{{{matchers}}}[{window}])"


def total(expression: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def over(top: str, bottom: str) -> str:
    """Divide; where there is nothing to divide by there is no figure, and not NaN."""
    return f"{top} / ({bottom} > 0)"


def attributed(*by: str, matchers: str = ROUTE, window: str = LIVE) -> str:
    """Watts that are attributed to requests."""
    return total(rate(ENERGY, ATTRIBUTED + matchers, window), *by)


def per_request(*by: str, metric: str = REQUEST_JOULES + "_sum", window: str = LIVE) -> str:
    """Joules per settled request; top and bottom move together, when a request is settled."""
    return over(total(rate(metric, ROUTE, window), *by), total(rate(REQUEST_JOULES + "_count", ROUTE, window), *by))


def answered(*by: str, matchers: str = ROUTE, window: str = LIVE) -> str:
    """Requests a second as clients count them: those that got an answer; where nothing is served, all spans."""
    served = total(rate(FIRST_BYTE + "_count", matchers, window), *by)
    return f"(({served} > 0) or {total(rate(SECONDS + '_count', matchers, window), *by)})"


def whole(matchers: str = ROUTE, window: str = LIVE) -> str:
    """Joules per request with everything that was measured inside it."""
    return over(attributed(matchers=matchers, window=window), answered(matchers=matchers, window=window))


def quantile(q: float, histogram: str, *by: str, window: str = LIVE) -> str:
    """Return the quantile; where nothing was observed there is no figure, and not NaN."""
    return f"histogram_quantile({q}, {total(rate(histogram + '_bucket', ROUTE, window), 'le', *by)}) >= 0"


def on_machine(expression: str) -> str:
    """Add the label ``machine``: the host part of ``instance``."""
    return f'label_replace({expression}, "machine", "$1", "instance", "(.+?)(:[0-9]+)?")'


def meters(*by: str) -> str:
    """Watts that the meters count; of processes on one machine, which all see the same, one speaks."""
    mean = on_machine(f"avg_over_time({POWER}{{{SERVICE}}}[{LIVE}])")
    return total(total(mean, "machine", "domain").replace("sum", "max", 1), *by)


def lines_watts(*by: str) -> str:
    """Watts of attributed, idle, other and unattributed together."""
    return total(on_machine(rate(ENERGY, SERVICE)), *by)


def closure(*by: str) -> str:
    """What the meters count over what the lines tell, from means over the range: the power is a sample a scrape."""
    counted, told = (f"avg_over_time(({watts})[{SHOWN}:])" for watts in (meters(*by), lines_watts(*by)))
    return f"{counted} / {told}"
