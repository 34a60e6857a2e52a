"""Bucket bounds of the histograms, the same wherever they are exported to."""

from __future__ import annotations

from typing import Final

ENERGY_BUCKETS_JOULES: Final = (*(float(f"{step}e{power}") for power in range(-3, 4) for step in (1, 2, 5)), 1e4)
"""1 mJ to 10 kJ, three bounds a decade: from a small model on a CPU to a long generation on several boards."""

DURATION_BUCKETS_SECONDS: Final = (*(float(f"{step}e{power}") for power in range(-3, 2) for step in (1, 2.5, 5)), 100.0)
"""1 ms to 100 s; holds most bounds that prometheus_client and OpenTelemetry take for HTTP, so that both compare."""
