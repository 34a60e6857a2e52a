"""The process of clients, as it is seen from outside: stand-ins for it are scripts of a few lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from greeninfer.demo import _load
from greeninfer.demo._clients import LoadBroken, Order
from greeninfer.demo._load import COMMAND, Load, Score
from greeninfer.demo._texts import load_tasks

ROUTES = (("parity", "one"), ("parity", "two"))

READY = "import sys, json, time\norder = json.loads(sys.stdin.readline())\nprint('{\"ready\": true}', flush=True)\n"
UNTIL_TOLD = "sys.stdin.read()\n"


def load(script: str) -> Load:
    return Load("http://127.0.0.1:1", ROUTES, 2, command=(sys.executable, "-c", script))


def test_answers_become_scores_that_count_each_text_once() -> None:
    script = (
        READY
        + "for line in ('[0, 3, true]', '[0, 3, true]', '[0, 4, false]', '[1, 3, true]'): print(line, flush=True)\n"
    )
    clients = load(script + UNTIL_TOLD)
    clients.start()
    clients.stop()
    assert clients.scores() == {
        ROUTES[0]: Score(frozenset({3, 4}), frozenset({3})),
        ROUTES[1]: Score(frozenset({3}), frozenset({3})),
    }


def test_the_clients_are_told_what_to_do(tmp_path: Path) -> None:
    clients = load(READY + f"open({str(tmp_path / 'order')!r}, 'w').write(json.dumps(order))\n" + UNTIL_TOLD)
    clients.start()
    clients.stop()
    assert Order.from_json((tmp_path / "order").read_text()) == Order("http://127.0.0.1:1", ROUTES, 2, 0.02)


def test_they_go_on_until_they_are_stopped() -> None:
    clients = load(READY + UNTIL_TOLD)
    clients.start()
    assert clients.wait(0.01)
    clients.stop()
    clients.stop()


def test_what_broke_them_is_told_at_once() -> None:
    clients = load(READY + 'print(\'{"error": "the service said no"}\', flush=True)\nsys.exit(1)\n')
    clients.start()
    assert not clients.wait(30)
    with pytest.raises(LoadBroken, match="the service said no"):
        clients.stop()


@pytest.mark.parametrize("script", ["raise SystemExit(3)", READY + "raise SystemExit(3)"])
def test_an_end_without_a_word_is_told(script: str) -> None:
    clients, begun = load(script), time.monotonic()
    clients.start()
    assert not clients.wait(30)
    assert time.monotonic() - begun < 25
    with pytest.raises(LoadBroken):
        clients.stop()


def test_clients_that_do_not_start_or_stop_do_not_hold_up_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load, "_START_SECONDS", 0.05)
    monkeypatch.setattr(_load, "_STOP_SECONDS", 0.05)
    clients = load("import time\ntime.sleep(600)")
    clients.start()
    assert not clients.wait(30)
    with pytest.raises(LoadBroken, match=r"did not start within 0\.05 s"):
        clients.stop()


def test_what_is_stopped_before_its_start_was_never_there() -> None:
    load(READY).stop()


def test_nothing_stays_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    clients = load(READY + f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n" + UNTIL_TOLD)
    clients.start()
    assert threading.active_count() == before + 1
    clients.stop()
    assert threading.active_count() == before
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


class Parrot(BaseHTTPRequestHandler):
    """A service with one answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = b'{"label": "pos"}\n' * len(told.get("texts", "x"))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_real_clients_reach_a_service_whatever_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Parrot)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    route = ("film-review", "e5")
    clients = Load(f"http://127.0.0.1:{server.server_port}", [route], 2, think_seconds=1e-4)
    try:
        clients.start()
        while len(clients.scores()[route].seen) < 50:
            assert clients.wait(0.01)
        clients.stop()
    finally:
        clients.stop()
        server.shutdown()
        server.server_close()
        thread.join()
    (test,) = (task.test for task in load_tasks() if task.name == "film-review")
    score = clients.scores()[route]
    assert score.right == {index for index in score.seen if test.labels[index] == "pos"}


def started() -> subprocess.Popen[str]:
    """Start the real clients, on a service that is not there."""
    pytest.importorskip("httpx")
    return subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_real_clients_tell_that_nobody_answers() -> None:
    process = started()
    assert process.stdin is not None and process.stdout is not None
    order = Order("http://127.0.0.1:1", (("film-review", "e5"),), 1, think_seconds=1e-6)
    with process.stdin, process.stdout:
        print(order.to_json(), file=process.stdin, flush=True)
        ready, error = (json.loads(line) for line in process.stdout)
    assert ready == {"ready": True}
    assert "does not answer" in error["error"]
    assert process.wait(60) == 1


def test_the_real_clients_end_with_whoever_started_them() -> None:
    process = started()
    assert process.stdin is not None and process.stdout is not None
    print(
        Order("http://127.0.0.1:1", (("film-review", "e5"),), 1, think_seconds=1e6).to_json(),
        file=process.stdin,
        flush=True,
    )
    with process.stdout:
        assert json.loads(process.stdout.readline()) == {"ready": True}
        begun = time.monotonic()
        process.stdin.close()
        assert process.wait(60) == 0
    assert time.monotonic() - begun < 30
