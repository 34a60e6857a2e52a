"""The live table, and a real service: a monitor on a simulated meter whose joules are known, looked at over HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from live import Live
from prometheus_client import CollectorRegistry, start_http_server

from greeninfer import measure
from greeninfer.exporters import PrometheusExporter
from greeninfer.top._run import run
from greeninfer.top._view import _Table
from top.builders import AFTER, BEFORE, reported


@contextmanager
def service() -> Iterator[tuple[Live, str]]:
    """Give a monitor with a metrics page, and the page's address."""
    registry = CollectorRegistry()
    with Live(1.0, PrometheusExporter(registry)) as live:
        server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
        try:
            yield live, f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def look(url: str, capsys: pytest.CaptureFixture[str], work: Callable[[], None]) -> dict[str, list[dict[str, object]]]:
    """Return what the command says as JSON of what is done between its two looks."""
    assert run(url, 1.0, once=True, as_json=True, sort="watts", wait=lambda seconds: work()) == 0
    found: dict[str, list[dict[str, object]]] = json.loads(capsys.readouterr().out)
    return found


def test_a_real_service_whose_joules_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    with service() as (live, url):
        for joules in (5.0, 15.0):
            with measure("classify", model="tfidf"):
                live.burn_apart(joules)
        live.settle()

        def work() -> None:
            for joules in (80.0, 120.0):
                with measure("classify", model="tfidf"):
                    live.burn_apart(joules)
            with pytest.raises(ZeroDivisionError), measure("answer", model="llm") as span:
                span.add_tokens(input=100, output=40, reasoning=10)
                live.burn_apart(50.0)
                raise ZeroDivisionError
            live.burn_apart(30.0)
            live.settle()

        found = look(url, capsys, work)
    seconds = found["interval_seconds"]
    assert isinstance(seconds, float)
    classify, answer = found["routes"]
    assert (classify["name"], classify["model"], answer["name"]) == ("classify", "tfidf", "answer")
    assert classify["joules_per_request"] == pytest.approx(100.0, rel=0.01)
    assert classify["joules_per_request_overall"] == pytest.approx(55.0, rel=0.01)
    assert classify["watts"] == pytest.approx(200.0 / seconds, rel=0.01)
    assert classify["share_of_attributed"] == pytest.approx(0.8, abs=0.01)
    assert classify["requests_per_second"] == pytest.approx(2.0 / seconds)
    assert (classify["requests"], classify["errors"], answer["errors"], answer["errors_lately"]) == (4.0, 0.0, 1.0, 1.0)
    assert answer["joules_per_generated_token"] == pytest.approx(1.0, rel=0.01)
    assert answer["tokens"] == {"input": 100.0, "output": 40.0, "reasoning": 10.0}
    assert (classify["in_flight"], classify["quality"]) == (0.0, "measured")
    watts = {str(each["state"]): each["watts"] for each in found["books"]}
    assert watts["attributed"] == pytest.approx(250.0 / seconds, rel=0.01)
    assert sum(float(str(each)) for each in watts.values()) == pytest.approx(280.0 / seconds, rel=0.02)
    assert sum(float(str(each["share"])) for each in found["books"]) == pytest.approx(1.0)
    assert found["meters"][0]["domains"] == ["simulated/0/package"]


def test_a_real_service_before_its_first_request(capsys: pytest.CaptureFixture[str]) -> None:
    with service() as (_, url):
        found = look(url, capsys, lambda: None)
        assert found["routes"] == []
        assert run(url, 1.0, once=True, as_json=False, sort="watts", wait=lambda seconds: None) == 0
    assert "No request yet." in capsys.readouterr().out


def test_a_request_that_is_still_open_is_in_flight(capsys: pytest.CaptureFixture[str]) -> None:
    with service() as (live, url), measure("classify"):

        def work() -> None:
            live.burn_apart(10.0)

        (row,) = look(url, capsys, work)["routes"]
    assert (row["in_flight"], row["requests"], row["joules_per_request"]) == (1.0, 0.0, None)
    assert float(str(row["watts"])) > 0.0


def test_the_live_table_stays_while_the_service_is_away() -> None:
    pytest.importorskip("rich", reason="needs rich")
    from rich.console import Console
    from rich.live import Live as RichLive

    def screen() -> str:
        """Return what was written since the last call, without what moves the cursor."""
        text = console.export_text(clear=True)
        return "\n".join(line.rstrip() for line in text.splitlines())

    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=40, record=True)
    with RichLive(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        table = _Table(live, "http://x/metrics   every 2 s", "watts")
        table.complain("nothing listens there")
        before = screen()
        table.show(reported(BEFORE, AFTER))
        there = screen()
        table.complain("nothing listens there")
        table.complain("nothing listens there")
        away = screen()
        table.show(reported(BEFORE, AFTER))
        back = screen()
    assert "nothing listens there." in before
    assert "name" not in before
    assert "Ctrl-C ends" in there
    assert "over 4.0 s" in there
    assert "classify minilm     11.0    0.500" in there
    assert away.count("nothing listens there. Below is what was seen last.") == 1
    assert "classify minilm     11.0    0.500" in away
    assert "nothing listens" not in back
    assert all(len(line) <= 80 for text in (before, there, away, back) for line in text.splitlines())
