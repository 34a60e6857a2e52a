"""Each example runs as its reader would run it, and prints the joules of what it answered."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
FIGURE = re.compile(r'request_energy_joules_sum\{model="([^"]*)",name="([^"]*)",quality="(\w+)"\} (\S+)')
LINE = re.compile(r"^(\S+) (\S*) (\S+) J \((\w+)\) ?(\S*)$", re.MULTILINE)
QUALITIES = {"measured", "shared", "estimated"}
SECONDS = 90.0


@dataclass(frozen=True)
class Example:
    """One file, what it needs, and what it must show: answers, and figures by (name, model)."""

    file: str
    needs: tuple[str, ...]
    answers: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]


SERVED = ("sklearn", "uvicorn", "httpx")
FASTAPI = Example(
    "fastapi_app.py",
    ("fastapi", *SERVED),
    (
        '/health: "ok"',
        '/classify/lost card: "card"',
        '/explain/lost card: {"card":0.58',
        "abroad: transfer transfer",
    ),
    (("/classify/{text}", ""), ("/explain/{text}", ""), ("/stream/{text}", "")),
)
LITESTAR = Example(
    "litestar_app.py",
    ("litestar", *SERVED),
    ("/classify/lost card: card", '/explain/lost card: {"card":0.58', "/stream/money abroad: transfer transfer"),
    FASTAPI.figures,
)
DJANGO = Example(
    "django_app.py",
    ("django", *SERVED),
    ("/classify/lost card: card", '/explain/lost card: {"card": 0.58'),
    (("/classify/<str:text>", ""), ("/explain/<str:text>", "")),
)
RAY = Example(
    "ray_serve_app.py",
    ("ray", "fastapi", "httpx"),
    ('/classify/lost card: "card"', "/stream/money abroad: transfer transfer"),
    (("/classify/{text}", ""), ("/stream/{text}", "")),
)
BENTOML = Example(
    "bentoml_app.py",
    ("bentoml", "httpx"),
    ("/classify: card", "/stream: card card card"),
    (("/classify", "nearest"), ("/stream", "nearest")),
)
LITSERVE = Example("litserve_app.py", ("litserve", "httpx"), ("/predict: card",), ())
LIGHT, HEAVY = (FASTAPI, LITESTAR, DJANGO), (RAY, BENTOML, LITSERVE)


def run(example: Example, **environment: str) -> str:
    """Return what an example printed; it must have ended well."""
    for package in example.needs:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GREENINFER_")}
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / example.file)],
        env={**inherited, "RAY_USAGE_STATS_ENABLED": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, complaints = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its servers, too
        printed, complaints = process.communicate()
        pytest.fail(f"{example.file} was not done in {SECONDS} s: {printed}{complaints}")
    assert process.returncode == 0, printed + complaints
    missing = [answer for answer in example.answers if answer not in printed]
    assert not missing, printed
    return printed


def figures(printed: str) -> dict[tuple[str, str], tuple[float, str]]:
    """Return joules and their quality by (name, model), as the metrics page had them."""
    return {(name, model): (float(joules), quality) for model, name, quality, joules in FIGURE.findall(printed)}


@pytest.mark.parametrize("example", LIGHT, ids=lambda example: example.file)
def test_a_light_example_shows_what_its_requests_cost(example: Example) -> None:
    shown = figures(run(example, GREENINFER_METERS="estimate", GREENINFER_POWER_MODEL="1:11"))
    assert set(shown) == set(example.figures)
    for joules, quality in shown.values():
        # Each used some milliseconds of CPU time at 10 W, and certainly no second of it.
        assert 0.0001 < joules < 10.0
        assert quality == "estimated"


@pytest.mark.heavy
@pytest.mark.parametrize("example", (RAY, BENTOML), ids=lambda example: example.file)
def test_a_heavy_example_shows_what_its_requests_cost(example: Example) -> None:
    shown = figures(run(example))
    assert set(shown) == set(example.figures)
    for joules, quality in shown.values():
        assert 0.0 < joules < 100.0
        assert quality in QUALITIES


@pytest.mark.heavy
def test_a_worker_process_tells_whose_request_its_joules_were_spent_on() -> None:
    shown = {name: rest for name, *rest in LINE.findall(run(LITSERVE))}
    assert set(shown) == {"classify", "/predict"}
    assert [shown["classify"][0], shown["classify"][3]] == ["nearest", "/predict"]
    assert [shown["/predict"][0], shown["/predict"][3]] == ["", ""]
    assert all(0.0 < float(joules) < 100.0 and quality in QUALITIES for _, joules, quality, _ in shown.values())


@pytest.mark.parametrize("file", [example.file for example in (*LIGHT, *HEAVY)])
def test_an_example_fits_a_screen(file: str) -> None:
    assert len((FOLDER / file).read_text(encoding="utf-8").splitlines()) < 60


def test_every_example_is_run() -> None:
    named = {example.file for example in (*LIGHT, *HEAVY)}
    assert {each.name for each in FOLDER.glob("*.py")} == named | {"first.py"}
