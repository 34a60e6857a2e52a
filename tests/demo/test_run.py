from __future__ import annotations

import socket
import threading
import urllib.request

from prometheus_client import CollectorRegistry, Counter

from greeninfer.demo._run import _metrics_page


def test_another_port_if_that_one_is_taken() -> None:
    registry = CollectorRegistry()
    Counter("apples", "Apples.", registry=registry).inc(3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with _metrics_page(registry, port) as url:
            assert url.startswith("http://127.0.0.1:") and f":{port}/" not in url
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert b"apples_total 3.0" in answer.read()


def test_the_page_goes_when_the_demo_ends() -> None:
    before = threading.active_count()
    with _metrics_page(CollectorRegistry(), 0) as url:
        port = int(url.split(":")[2].split("/")[0])
    assert threading.active_count() == before
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", port)) != 0
