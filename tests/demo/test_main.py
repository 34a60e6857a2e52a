from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from greeninfer import demo

from .browser import CHROMIUM, browser

RUN = """
import argparse, sys
from greeninfer.demo import add_arguments, main
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(main(parser.parse_args()))
"""


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(words)


def environ(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GREENINFER_")} | more


def start(words: Sequence[str], **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", RUN, *words]
    pipe = subprocess.PIPE
    # What is started in the background of a script inherits that Ctrl-C is to be ignored.
    return subprocess.Popen(command, env=environ(**more), stdout=pipe, stderr=pipe, text=True, preexec_fn=_hear_ctrl_c)


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_defaults() -> None:
    assert vars(parsed()) == {"seconds": 30.0, "json": False, "port": 9464, "workers": 3}


@pytest.mark.parametrize(
    "words",
    [
        "--seconds 0",
        "--seconds nan",
        "--seconds -1",
        "--seconds x",
        "--port 65536",
        "--port -1",
        "--workers 0",
        "--workers 1.5",
    ],
)
def test_bad_arguments_exit_with_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parsed(*words.split())
    assert stopped.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_without_the_extra_it_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_NEEDED", ("no_such_package",))
    assert demo.main(parsed()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "pip install 'greeninfer[demo]'" in output.err and "no_such_package" in output.err


def test_importing_it_is_cheap() -> None:
    script = "import sys, greeninfer.demo; print({'sklearn', 'rich', 'fastapi', 'uvicorn', 'httpx'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("GREENINFER_DISABLED", "1", "DISABLED"),
        ("GREENINFER_METERS", "nonsense", "nonsense"),
        ("GREENINFER_X", "1", "GREENINFER_X"),
    ],
)
def test_a_wrong_setting_exits_with_2_before_training(name: str, value: str, word: str) -> None:
    out, err = start([], **{name: value}).communicate(timeout=60)
    assert out == ""
    assert word in err and "Traceback" not in err


@pytest.mark.heavy
@pytest.mark.parametrize("meter", ["simulated", "estimate"])
def test_end_to_end_as_json(meter: str) -> None:
    process = start(["--seconds", "6", "--json", "--port", "0"], GREENINFER_METERS=meter)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert err == ""
    data = json.loads(out)
    books = data["books"]
    lines = [books[f"{state}_nanojoules"] for state in ("attributed", "idle", "other", "unattributed")]
    assert sum(lines) == books["sum_nanojoules"] == books["metered_nanojoules"] > 0
    assert all(line >= 0 for line in lines)
    assert books["closed"] is True
    assert [each["name"] for each in data["meters"]] == [meter]
    routes = {(each["name"], each["model"]): each for each in data["routes"]}
    serving = {each["name"]: each for each in data["serving"]}
    assert len(routes) == len(data["routes"]) >= 6
    assert set(serving) == {f"/{way}/{{task}}/{{model}}" for way in ("async", "sync", "stream")}
    counts = [each["requests"] for each in routes.values()]
    assert sum(counts) == data["requests"] and min(counts) > 0
    # A streaming request asks about three texts, every other one about one.
    texts = sum(each["requests"] * (3 if "stream" in name else 1) for name, each in serving.items())
    assert texts == data["requests"]
    assert sum(each["requests"] for each in serving.values()) == data["http_requests"]
    # Every attributed joule belongs to a row.
    total = sum(each["metered_requests"] * each["joules_per_request"] for each in (*routes.values(), *serving.values()))
    assert total == pytest.approx(books["attributed_nanojoules"] / 1e9, rel=1e-6)
    # The vote of 260 trees needs some thirty times the CPU of the regression on the same vectors.
    for name in ("bank-question", "film-review"):
        dear, cheap = (routes[name, model]["joules_per_request"] for model in ("wordllama-vote", "wordllama-lr"))
        assert dear > 5 * cheap > 0
    # Serving takes a millisecond or so of CPU time: more than the cheapest model, less than the dearest.
    for each in serving.values():
        assert 0.0 < each["cpu_seconds_per_request"] < 0.02
        assert 0.0 < each["joules_per_request"] < 0.5 * max(row["joules_per_request"] for row in routes.values())
    # The clients are another process, and native threads are held to one, so that most CPU time of this process is that
    # of its requests; the rest is the HTTP server.
    assert data["requests_cpu_seconds"] <= data["process_cpu_seconds"]
    assert data["requests_cpu_seconds"] > 0.5 * data["process_cpu_seconds"]
    if meter == "estimate":
        assert books["other_nanojoules"] > 0  # the clients work, and nothing of theirs is a request's


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what the demo says up to the line that holds this word."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return "".join(lines)
    raise AssertionError(f"never said {word!r}: {lines}")


@pytest.mark.heavy
def test_metrics_and_live_page_are_served_meanwhile_and_the_table_comes_at_the_end() -> None:
    process = start(["--seconds", "12", "--port", "0"], GREENINFER_METERS="estimate")
    said = read_until(process, "J per request: wordllama-lr")
    address = re.search(r"live page: (http://127\.0\.0\.1:\d+)/    metrics: (\1/metrics)$", said, re.MULTILINE)
    assert address
    shown: dict[str, dict[str, str]] = {}
    if CHROMIUM is not None:
        with browser() as page:
            page.open(address[1] + "/?every=0.2")
            page.wait("document.querySelectorAll('#joules .line').length >= 11")
            assert "ESTIMATED" in page.ask("document.querySelector('#quality').innerText")
            page.ask("fetch = () => new Promise(() => {}), new Promise((done) => setTimeout(done, 500))")
            told = page.ask("[...document.querySelectorAll('#routes tbody tr')].map((row) => ({...row.dataset}))")
            shown = {f"{row['model']} {row['name']}": row for row in told}
            assert page.errors == []
    with urllib.request.urlopen(address[2], timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'greeninfer_request_energy_joules_count{model="tfidf-lr",name="bank-question"' in metrics
    totals = joules_and_requests(metrics)
    if shown:
        assert set(shown) == set(totals)
        for key, row in shown.items():
            joules, requests = totals[key]  # a moment later than the page
            assert requests - 40 <= float(row["requests"]) <= requests
            assert float(row["joulesSinceStart"]) == pytest.approx(joules / requests, rel=0.5)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "The books close to the last nanojoule." in rest
    assert "what serving itself costs" in rest and "/stream/{task}/{model}" in rest
    assert rest.count("tfidf-lr") >= 2


def joules_and_requests(page: str) -> dict[str, tuple[float, float]]:
    """Return sum and count of every route's joules, by "model name"."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in ("greeninfer_request_energy_joules_sum", "greeninfer_request_energy_joules_count"):
                key = f"{sample.labels['model']} {sample.labels['name']}"
                found.setdefault(key, {})[sample.name.rpartition("_")[2]] = sample.value
    return {key: (each["sum"], each["count"]) for key, each in found.items()}


@pytest.mark.heavy
def test_by_hand_it_ends_in_order_and_nothing_stays_behind() -> None:
    process = start(["--seconds", "600", "--port", "0"], GREENINFER_METERS="simulated")
    said = read_until(process, "J per request: wordllama-lr")
    address = re.search(r"http://127\.0\.0\.1:\d+/metrics", said)
    assert address
    process.send_signal(signal.SIGINT)
    # The end of standard error is that of all processes that hold it: the clients are among them.
    rest, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "stopped by hand" in rest and "The books close to the last nanojoule." in rest
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address[0], timeout=10)


@pytest.mark.heavy
def test_while_it_trains_it_can_be_stopped() -> None:
    process = start(["--port", "0"], GREENINFER_METERS="simulated")
    read_until(process, "training")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.heavy
def test_clients_that_are_killed_end_it_with_a_word() -> None:
    process = start(["--seconds", "600", "--port", "0"], GREENINFER_METERS="simulated")
    read_until(process, "J per request: wordllama-lr")
    (clients,) = (Path(f"/proc/{process.pid}/task/{process.pid}/children")).read_text().split()
    os.kill(int(clients), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "greeninfer demo: the clients ended with exit code -9\n"


@pytest.mark.heavy
def test_without_a_meter_it_shows_no_joules_and_exits_with_1(tmp_path: Path) -> None:
    process = start(["--seconds", "2", "--port", "0"], GREENINFER_METERS="rapl", GREENINFER_POWERCAP_ROOT=str(tmp_path))
    out, err = process.communicate(timeout=180)
    assert process.returncode == 1, err
    assert "No meter counted anything" in out and "Not read: rapl" in out
    assert "wordllama-lr" in out and "0.000000000" not in out
