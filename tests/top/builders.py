"""Metrics pages written by hand: what is on them was chosen, so what must be shown is known."""

from __future__ import annotations

from collections.abc import Sequence

from greeninfer.top._change import Change, compare
from greeninfer.top._page import parse
from greeninfer.top._report import Report, report

SECONDS = 4.0
PACKAGE, DRAM = "rapl/0/package", "rapl/0/dram"


def energy(state: str, joules: float, name: str = "", model: str = "", domain: str = PACKAGE, reason: str = "") -> str:
    labels = f'domain="{domain}",model="{model}",name="{name}",quality="measured",reason="{reason}",state="{state}"'
    return f"greeninfer_energy_joules_total{{{labels}}} {joules}"


def settled(joules: float, requests: float, name: str, model: str = "") -> str:
    family, labels = "greeninfer_request_energy_joules", f'model="{model}",name="{name}",quality="measured"'
    return (
        f'{family}_bucket{{le="+Inf",{labels}}} {requests}\n'
        f"{family}_count{{{labels}}} {requests}\n"
        f"{family}_sum{{{labels}}} {joules}"
    )


def durations(reached: Sequence[float], name: str, model: str = "", outcome: str = "ok") -> str:
    """Return a histogram with bounds of 10, 25 and 50 ms."""
    family, labels = "greeninfer_request_duration_seconds", f'model="{model}",name="{name}",outcome="{outcome}"'
    buckets = [
        f'{family}_bucket{{le="{le}",{labels}}} {count}'
        for le, count in zip(("0.01", "0.025", "0.05", "+Inf"), reached, strict=True)
    ]
    return "\n".join([*buckets, f"{family}_count{{{labels}}} {reached[-1]}", f"{family}_sum{{{labels}}} 1.0"])


BEFORE = f"""\
# HELP greeninfer_energy_joules_total Joules that the meters counted, divided.
# TYPE greeninfer_energy_joules_total counter
{energy("attributed", 10.0, "classify", "minilm")}
{energy("attributed", 2.0, "classify", "minilm", DRAM)}
{energy("attributed", 5.0, "rerank")}
{energy("idle", 100.0)}
{energy("idle", 20.0, domain=DRAM)}
{energy("other", 30.0)}
{energy("unattributed", 1.0, reason="reset")}
# TYPE greeninfer_request_energy_joules histogram
{settled(20.0, 102.0, "classify", "minilm")}
{settled(5.0, 10.0, "rerank")}
# TYPE greeninfer_request_duration_seconds histogram
{durations((50.0, 99.0, 100.0, 100.0), "classify", "minilm")}
{durations((0.0, 1.0, 2.0, 2.0), "classify", "minilm", "error")}
{durations((10.0, 10.0, 10.0, 10.0), "rerank")}
# TYPE greeninfer_tokens_total counter
greeninfer_tokens_total{{kind="input",model="minilm",name="classify"}} 1000.0
greeninfer_tokens_total{{kind="output",model="minilm",name="classify"}} 100.0
# TYPE greeninfer_power_watts gauge
greeninfer_power_watts{{domain="rapl/0/package"}} 17.0
greeninfer_power_watts{{domain="rapl/0/dram"}} 2.5
# TYPE greeninfer_requests_in_flight gauge
greeninfer_requests_in_flight{{name="classify"}} 1.0
# TYPE greeninfer_meter_failures_total counter
greeninfer_meter_failures_total{{meter="rapl",reason="garbage"}} 2.0
# TYPE greeninfer_meter_info gauge
greeninfer_meter_info{{domain="rapl/0/package",meter="rapl",period_seconds="0.001",quality="measured"}} 1.0
greeninfer_meter_info{{domain="rapl/0/dram",meter="rapl",period_seconds="0.001",quality="measured"}} 1.0
# TYPE greeninfer_overhead_cpu_seconds_total counter
greeninfer_overhead_cpu_seconds_total 1.0
python_gc_objects_collected_total{{generation="0"}} 5.0
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e+09
"""

# Four seconds later: 80 J more. classify +18 (package 16, dram 2), rerank +2, idle +48, other +8, unattributed +4.
# classify: 44 requests more (40 ok, 2 errors, 2 cancelled), settled with 22 J; 400, 44 and 44 tokens more.
# Durations: 10 more up to 10 ms, 30 up to 25 ms, 44 up to 50 ms.
AFTER = f"""\
# TYPE greeninfer_energy_joules_total counter
{energy("attributed", 26.0, "classify", "minilm")}
{energy("attributed", 4.0, "classify", "minilm", DRAM)}
{energy("attributed", 7.0, "rerank")}
{energy("idle", 140.0)}
{energy("idle", 28.0, domain=DRAM)}
{energy("other", 38.0)}
{energy("unattributed", 1.0, reason="reset")}
{energy("unattributed", 4.0, domain=DRAM, reason="late")}
# TYPE greeninfer_request_energy_joules histogram
{settled(42.0, 146.0, "classify", "minilm")}
{settled(5.0, 10.0, "rerank")}
# TYPE greeninfer_request_duration_seconds histogram
{durations((60.0, 128.0, 140.0, 140.0), "classify", "minilm")}
{durations((0.0, 1.0, 4.0, 4.0), "classify", "minilm", "error")}
{durations((0.0, 1.0, 2.0, 2.0), "classify", "minilm", "cancelled")}
{durations((10.0, 10.0, 10.0, 10.0), "rerank")}
# TYPE greeninfer_tokens_total counter
greeninfer_tokens_total{{kind="input",model="minilm",name="classify"}} 1400.0
greeninfer_tokens_total{{kind="output",model="minilm",name="classify"}} 144.0
greeninfer_tokens_total{{kind="reasoning",model="minilm",name="classify"}} 44.0
# TYPE greeninfer_power_watts gauge
greeninfer_power_watts{{domain="rapl/0/package"}} 18.5
greeninfer_power_watts{{domain="rapl/0/dram"}} NaN
# TYPE greeninfer_requests_in_flight gauge
greeninfer_requests_in_flight{{name="classify"}} 3.0
greeninfer_requests_in_flight{{name="rerank"}} 0.0
greeninfer_requests_in_flight{{name="warm-up"}} 1.0
# TYPE greeninfer_meter_failures_total counter
greeninfer_meter_failures_total{{meter="rapl",reason="garbage"}} 3.0
greeninfer_meter_failures_total{{meter="nvml",reason="lost"}} 0.0
# TYPE greeninfer_meter_info gauge
greeninfer_meter_info{{domain="rapl/0/package",meter="rapl",period_seconds="0.001",quality="measured"}} 1.0
greeninfer_meter_info{{domain="rapl/0/dram",meter="rapl",period_seconds="0.001",quality="measured"}} 1.0
greeninfer_meter_info{{domain="nvml/0/gpu",meter="nvml",period_seconds="0.1",quality="measured"}} 0.0
# TYPE greeninfer_overhead_cpu_seconds_total counter
greeninfer_overhead_cpu_seconds_total 1.4
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e+09
"""

EMPTY = """\
# HELP greeninfer_energy_joules_total Joules that the meters counted, divided.
# TYPE greeninfer_energy_joules_total counter
# TYPE greeninfer_request_energy_joules histogram
# TYPE greeninfer_overhead_cpu_seconds_total counter
greeninfer_overhead_cpu_seconds_total 0.0
"""


def change(before: str | None, after: str, seconds: float = SECONDS) -> Change:
    return compare(None if before is None else parse(before, 100.0), parse(after, 100.0 + seconds))


def reported(before: str | None = BEFORE, after: str = AFTER, seconds: float = SECONDS) -> Report:
    return report(change(before, after, seconds))


def as_estimated(page: str) -> str:
    return page.replace('quality="measured"', 'quality="estimated"')


def scaled(page: str, times: float) -> str:
    """Return a page on which every sample is so many times as large."""
    lines = []
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            line = f"{name} {float(value) * times}"
        lines.append(line)
    return "\n".join(lines) + "\n"
