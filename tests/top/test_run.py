"""Looking again and again: a service that comes and goes, and everything that can be shown of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator

import pytest

from greeninfer.top import DEFAULT_URL, add_arguments, main
from greeninfer.top._page import PageError, Snapshot, parse
from greeninfer.top._report import Report
from greeninfer.top._run import run, show_once, watch
from greeninfer.top._view import open_view
from top.builders import AFTER, BEFORE, EMPTY
from top.servers import free_port, http, serving


class Shown:
    """A view that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def show(self, report: Report) -> None:
        known = "nothing lately" if report.seconds is None else f"{report.seconds:g} s"
        requests = sum(row.requests for row in report.rows)
        self.events.append(f"{'restarted, ' if report.restarted else ''}{known}, {requests:g} requests")

    def complain(self, problem: str) -> None:
        self.events.append(problem)


def looks(*pages: str | Exception) -> Callable[[], Snapshot]:
    """Return a look at one page after the other, ten seconds apart."""
    left: Iterator[tuple[int, str | Exception]] = iter(enumerate(pages))

    def look() -> Snapshot:
        place, page = next(left, (0, KeyboardInterrupt()))
        if isinstance(page, BaseException):
            raise page
        return parse(page, 10.0 * place)

    return look


def watched(*pages: str | Exception) -> list[str]:
    view = Shown()
    with pytest.raises(KeyboardInterrupt):
        watch(looks(*pages), view, 2.0, wait=lambda seconds: None)
    return view.events


def test_a_service_that_begins_works_goes_and_comes_back() -> None:
    gone = PageError("nothing listens there")
    assert watched(EMPTY, BEFORE, AFTER, gone, gone, AFTER, BEFORE, AFTER) == [
        "nothing lately, 0 requests",
        "10 s, 112 requests",
        "10 s, 156 requests",
        "nothing listens there",
        "nothing listens there",
        "30 s, 156 requests",
        "restarted, nothing lately, 112 requests",
        "10 s, 156 requests",
    ]


def test_a_service_that_is_not_there_yet() -> None:
    assert watched(PageError("x"), "<html>", AFTER)[0] == "x"
    assert watched(PageError("x"), "<html>", AFTER)[2] == "nothing lately, 156 requests"


def test_the_time_that_a_look_takes_is_part_of_the_interval() -> None:
    clock = iter([0.0, 0.5, 2.0, 9.0, 10.0])
    waits: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        watch(looks(BEFORE, AFTER), Shown(), 2.0, wait=waits.append, now=lambda: next(clock))
    assert waits == [1.5, 0.0]


@pytest.mark.parametrize(
    ("pages", "status", "events"),
    [
        ((BEFORE, AFTER), 0, ["10 s, 156 requests"]),
        ((AFTER, BEFORE), 1, ["restarted, nothing lately, 112 requests"]),
        ((EMPTY, EMPTY), 0, ["10 s, 0 requests"]),
        ((PageError("gone"),), 1, ["gone"]),
        ((BEFORE, PageError("gone")), 1, ["gone"]),
    ],
)
def test_once(pages: tuple[str | Exception, ...], status: int, events: list[str]) -> None:
    view, waits = Shown(), []
    assert show_once(looks(*pages), view, 3.0, waits.append) == status
    assert view.events == events
    assert waits == ([3.0] if len(pages) == 2 else [])


# The command


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_what_is_asked_for_by_default() -> None:
    assert vars(arguments()) == {"url": DEFAULT_URL, "interval": 2.0, "once": False, "json": False, "sort": "watts"}


@pytest.mark.parametrize(
    ("word", "url"),
    [
        ("localhost:8000", "http://localhost:8000/metrics"),
        ("example.org", "http://example.org/metrics"),
        ("http://example.org", "http://example.org/metrics"),
        ("http://example.org/", "http://example.org/metrics"),
        ("https://example.org:9/x/y?z=1#f", "https://example.org:9/x/y?z=1"),
        ("http://[::1]:8000", "http://[::1]:8000/metrics"),
        ("[::1]:8000/stats", "http://[::1]:8000/stats"),
        (" 10.0.0.1:80 ", "http://10.0.0.1:80/metrics"),
    ],
)
def test_an_address_may_be_short(word: str, url: str) -> None:
    assert arguments(word).url == url


@pytest.mark.parametrize(
    "words",
    [
        ("",),
        ("file:///etc/passwd",),
        ("ftp://x/metrics",),
        ("http://",),
        ("http://user:secret@host/metrics",),
        ("host:port",),
        ("host:99999",),
        ("host:0",),
        ("http://[::1/metrics",),
        ("http://a b/metrics",),
        ("http://x/\r\nHost: y",),
        ("--interval", "0"),
        ("--interval", "nan"),
        ("--interval", "-1"),
        ("--interval", "soon"),
        ("--interval", "1e9"),
        ("--sort", "beauty"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(*words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "allowed: " in said or "choose from" in said


def test_once_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    pages = iter([BEFORE, AFTER])
    with serving(lambda connection: http(next(pages))(connection)) as server:
        assert main(arguments(server.url, "--once", "--interval", "0.1")) == 0
    out, err = capsys.readouterr()
    first, second, third = out.splitlines()[:3]
    assert first.startswith(f"{server.url}   ")
    assert "   over 0." in first
    assert "J per the same" in second
    assert third.split()[:2] == ["name", "model"]
    assert "attributed to requests" in out
    assert err == ""


def test_once_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    pages = iter([BEFORE, AFTER])
    with serving(lambda connection: http(next(pages))(connection)) as server:
        assert main(arguments(server.url, "--once", "--json", "--interval", "0.1", "--sort", "name")) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["schema"], found["url"]) == ("greeninfer-top/1", server.url)
    assert [each["share"] for each in found["books"]] == [0.25, 0.6, 0.1, 0.05]
    assert 0.1 <= found["interval_seconds"] < 5.0


@pytest.mark.parametrize("json_too", [False, True])
def test_once_without_a_page(json_too: bool, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}/metrics"
    assert main(arguments(url, "--once", *(["--json"] if json_too else []))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"greeninfer top: {url}: nothing listens there; remedy: ")
    assert len(err.splitlines()) == 1


def test_once_with_a_page_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(http("# TYPE up gauge\nup 1\n")) as server:
        assert main(arguments(server.url, "--once")) == 1
    assert "no metric of greeninfer is on this page" in capsys.readouterr().err


def ends_after(waits: int) -> Callable[[float], None]:
    """Return what waits no time, and so often before somebody presses Ctrl-C."""
    left = iter(range(waits))

    def wait(seconds: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return wait


def test_ctrl_c_is_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(http(BEFORE)) as server:
        assert run(server.url, 2.0, once=False, as_json=True, sort="watts", wait=ends_after(2)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_ctrl_c_before_there_was_anything(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}/metrics"
    assert run(url, 2.0, once=False, as_json=False, sort="watts", wait=ends_after(2)) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1
    with serving(http(BEFORE)) as server:
        assert run(server.url, 2.0, once=True, as_json=False, sort="watts", wait=ends_after(0)) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_it_says_once_that_a_service_went_and_that_it_is_back(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([http(BEFORE), http("", "503 Gone"), http("", "503 Gone"), http(AFTER), http("", "503 Gone")])
    with serving(lambda connection: next(answers)(connection)) as server:
        assert run(server.url, 2.0, once=False, as_json=as_json, sort="watts", wait=ends_after(4)) == 0
    out, err = capsys.readouterr()
    assert out.count('"books"' if as_json else "where the joules go") == 2
    gone = f"greeninfer top: {server.url}: the answer is HTTP 503 Gone: the service does not work as it should"
    went, back, went_again = err.splitlines()
    assert went.startswith(gone)
    assert back == f"greeninfer top: {server.url} is there again"
    assert went_again.startswith(gone)


def test_whoever_reads_along_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def show(self, report: Report) -> None:
            raise BrokenPipeError

    redirected: list[tuple[int, int]] = []
    monkeypatch.setattr("os.dup2", lambda old, new: redirected.append((old, new)))
    monkeypatch.setattr("greeninfer.top._view._Json.show", Closed.show)
    with serving(http(BEFORE)) as server:
        assert main(arguments(server.url, "--json")) == 0
    assert len(redirected) == 1


def test_without_rich_a_terminal_gets_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with open_view("http://x/metrics", 2.0, once=False, as_json=False, sort="watts") as view:
        view.complain("gone")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "greeninfer top: http://x/metrics: gone\n")
