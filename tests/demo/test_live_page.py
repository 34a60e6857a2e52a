"""The live page in a real browser: what it shows is held against the metrics, read by prometheus_client's parser."""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from greeninfer._records import NANO, Failure, Line, MeterInfo, Settlement
from greeninfer.exporters import PrometheusExporter

from .browser import CHROMIUM, MISSING, Page, browser
from .builders import CPU, ESTIMATE, RAPL, attributed, idle, other, request, settlement, unattributed
from .fake_service import Answer, fake_service, live_page

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

JOULES = {("bank-question", "small"): 0.002, ("bank-question", "big"): 0.2, ("/sync/{task}/{model}", ""): 0.02}
QUICK = "/?every=0.1"


class Told:
    """A service that tells what happened so far; one more of ``happens`` at each reading."""

    def __init__(self, happens: Callable[[int], Sequence[Settlement]]) -> None:
        self._happens = happens
        self._lock = threading.Lock()
        self.last = b""
        self.begin()

    def begin(self) -> None:
        """Be a new process, with new counters."""
        self._registry = CollectorRegistry()
        self._exporter = PrometheusExporter(self._registry)

    def __call__(self, number: int) -> Answer:
        with self._lock:
            for each in self._happens(number):
                self._exporter.export(each)
            self.last = generate_latest(self._registry)
            return 200, self.last

    def value(self, name: str, /, **labels: str) -> float:
        """Return the sum of the samples of that name with these labels on the page that was told last."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.last.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def served(joules: dict[tuple[str, str], float], *lines: Line, meter: MeterInfo = RAPL) -> Settlement:
    """Return a settlement with three requests of each route, of 0.9, 1 and 1.1 times these joules, and one unknown."""
    some = [(key, each * part) for key, each in joules.items() for part in (0.9, 1.0, 1.1)]
    domain = meter.domains[0]
    return settlement(
        lines=[*(attributed(round(3 * each * NANO), *key, domain) for key, each in joules.items()), *lines],
        requests=[
            *(request(*key, each, seconds=each / 4, quality=meter.quality) for key, each in some),
            *(request(*key, None, seconds=each / 4) for key, each in joules.items()),
        ],
        meters=[meter],
    )


def usual(number: int) -> Sequence[Settlement]:
    return [served(JOULES, idle(NANO // 2), other(NANO // 4), unattributed(7, "reset"))]


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(one_browser: Page) -> Iterator[Page]:
    """Give the browser; nothing may be red in its console afterwards that the test has not taken."""
    one_browser.errors.clear()
    yield one_browser
    faults = one_browser.ask("document.body.dataset.faults || ''")
    one_browser.open("about:blank")
    assert (one_browser.errors, faults) == ([], "")


def has_read(page: Page, readings: int) -> None:
    page.wait(f"document.body.dataset.state === 'live' && Number(document.body.dataset.readings) >= {readings}")


def every(page: Page, selector: str, *expressions: str) -> list[list[Any]]:
    """Return what these expressions are for each element ``e``."""
    told = page.ask(f"[...document.querySelectorAll('{selector}')].map((e) => [{', '.join(expressions)}])")
    return list(told)


def rows(page: Page) -> dict[tuple[str, str], dict[str, str]]:
    """Return the data of every row, which is what the texts beside it are made of."""
    told = every(page, "#routes tbody tr", "{...e.dataset, text: e.innerText}")
    return {(row["name"], row["model"]): row for (row,) in told}


def status(page: Page) -> str:
    return str(page.ask("document.querySelector('#status').innerText"))


def quality(page: Page) -> str:
    return str(page.ask("document.querySelector('#quality').innerText"))


def stop_reading(page: Page) -> None:
    """Keep the page as it is."""
    page.ask("fetch = () => new Promise(() => {}), new Promise((done) => setTimeout(done, 150))")


@needs_chromium
def test_every_figure_is_that_of_the_metrics(page: Page) -> None:
    told = Told(usual)
    with fake_service(told) as url:
        page.open(url + QUICK, width=1900)
        has_read(page, 4)
        stop_reading(page)
        shown = rows(page)
        lines = every(page, "#lines tr[data-line]", "e.dataset.line", "Number(e.dataset.joules)", "e.innerText")
    assert set(shown) == set(JOULES)
    for (name, model), row in shown.items():
        joules = told.value("greeninfer_request_energy_joules_sum", name=name, model=model)
        count = told.value("greeninfer_request_energy_joules_count", name=name, model=model)
        assert float(row["joulesSinceStart"]) == pytest.approx(joules / count, rel=1e-9)
        assert float(row["joules"]) == pytest.approx(JOULES[name, model], rel=1e-6)
        assert float(row["seconds"]) == pytest.approx(JOULES[name, model] / 4, rel=1e-6)
        finished = told.value("greeninfer_request_duration_seconds_count", name=name, model=model)
        assert int(row["requests"]) == finished == pytest.approx(count / 3 * 4)
    assert "200 mJ\t200 mJ\t50.0 ms" in shown["bank-question", "big"]["text"]
    total = told.value("greeninfer_energy_joules_total")
    for line, joules, text in lines:
        wanted = total if line == "sum" else told.value("greeninfer_energy_joules_total", state=line)
        assert joules == pytest.approx(wanted, rel=1e-9), line
        assert f"{100 * wanted / total:.1f} %" in text or line == "sum"
    assert [line for line, _, _ in lines] == ["attributed", "other", "idle", "unattributed", "sum"]
    assert "unattributed: reset" in lines[3][2]


@needs_chromium
def test_the_last_requests_are_told_apart_from_all_of_them(page: Page) -> None:
    told = Told(lambda number: [served({("answer", "m"): 1.0 if number == 0 else 3.0})])
    with fake_service(told) as url:
        page.open(url + QUICK)
        has_read(page, 3)
        stop_reading(page)
        ((_, row),) = rows(page).items()
        dots = dict(every(page, "#routes tr i", "e.className", "parseFloat(e.style.left)"))
    assert float(row["joules"]) == pytest.approx(3.0, rel=1e-6)
    assert 1.0 < (ever := float(row["joulesSinceStart"])) < 3.0
    # The strip goes from 1 J to 10 J.
    assert dots == pytest.approx({"late": 100 * math.log10(3.0), "ever": 100 * math.log10(ever)}, abs=0.1)


@needs_chromium
def test_watts_are_joules_per_second_and_stack_up_to_the_meters(page: Page) -> None:
    begun, until = time.monotonic(), 0

    def happens(number: int) -> Sequence[Settlement]:
        nonlocal until
        before, until = until, round((time.monotonic() - begun) * NANO)
        rose = until - before
        return [
            settlement(lines=[attributed(5 * rose), attributed(2 * rose, model="big"), idle(3 * rose), other(rose)])
        ]

    with fake_service(Told(happens)) as url:
        page.open(url + QUICK)
        has_read(page, 40)
        stop_reading(page)
        layers = dict(every(page, "#watts-legend li", "e.dataset.layer", "Number(e.dataset.watts)"))
        areas = every(page, "#watts .area", "e.dataset.layer", "Number(e.dataset.points)", "e.getAttribute('d')")
        lines = dict(every(page, "#lines tr[data-line]", "e.dataset.line", "Number(e.dataset.watts)"))
    # No request of these is settled, so their watts have no route yet that the page could name.
    wanted = {"not settled yet": 7.0, "other": 1.0, "idle": 3.0, "unattributed": 0.0}
    assert layers == pytest.approx(wanted, rel=0.1)
    assert lines == pytest.approx(
        {"attributed": 7.0, "other": 1.0, "idle": 3.0, "unattributed": 0.0, "sum": 11.0}, rel=0.1
    )
    assert [name for name, points, _ in areas if points >= 10] == list(wanted)
    heights, floor = {}, None
    for name, points, path in areas:
        spots = [tuple(map(float, spot.split())) for spot in path.strip("MZ").split("L")]
        (x, top), (same_x, bottom) = spots[points - 1], spots[points]  # where the upper edge ends and the lower begins
        assert x == same_x and (floor is None or bottom == floor)  # each stands on the one before
        heights[name], floor = bottom - top, top
    assert heights == pytest.approx(
        {name: watts * heights["idle"] / layers["idle"] for name, watts in layers.items()}, abs=0.3
    )
    assert heights["idle"] > 20


@needs_chromium
def test_the_plot_is_logarithmic_and_true_to_its_axis(page: Page) -> None:
    with fake_service(Told(usual)) as url:
        page.open(url + QUICK)
        has_read(page, 5)
        stop_reading(page)
        marks = every(page, "#joules text", "e.textContent", "e.getBBox().y + e.getBBox().height / 2")
        end = "e.getPointAtLength(e.getTotalLength()).y"
        ends = every(page, "#joules .line", "e.dataset.name", "e.dataset.model", "Number(e.dataset.points)", end)
        dots = every(page, "#routes tr i.late", "{...e.closest('tr').dataset}", "parseFloat(e.style.left)")
    height = dict(marks)
    axis = {10.0**-3: height["1 mJ"], 10.0**-2: height["10 mJ"], 10.0**-1: height["100 mJ"], 1.0: height["1 J"]}
    steps = [below - above for below, above in itertools.pairwise(axis.values())]
    assert min(steps) > 20 and max(steps) == pytest.approx(min(steps), abs=1)
    assert {(name, model) for name, model, _, _ in ends} == set(JOULES)
    for name, model, points, y in ends:
        assert points >= 3
        assert y == pytest.approx(axis[1e-3] - steps[0] * math.log10(JOULES[name, model] / 1e-3), abs=2.5)
    assert len(dots) == len(JOULES)
    for row, left in dots:
        assert left == pytest.approx(100 * math.log10(JOULES[row["name"], row["model"]] / 1e-3) / 3, abs=0.5)


@needs_chromium
def test_an_estimate_says_so_and_a_measurement_does_not(page: Page) -> None:
    with fake_service(Told(lambda number: [served(JOULES, idle(NANO, CPU), meter=ESTIMATE)])) as url:
        page.open(url + QUICK)
        has_read(page, 2)
        assert "ESTIMATED" in quality(page)
        assert all("≈ " in row["text"] and row["quality"] == "estimated" for row in rows(page).values())
        stop_reading(page)
    with fake_service(Told(usual)) as url:
        page.open(url + QUICK)
        has_read(page, 2)
        assert quality(page) == "Meters: rapl (measured)."
        assert not any("≈" in row["text"] for row in rows(page).values())
        stop_reading(page)


@needs_chromium
def test_shared_and_troubled_meters_are_told(page: Page) -> None:
    shared = settlement(requests=[request(quality="shared")], meters=[RAPL])
    trouble = Settlement(1.0, 0.0, failures=(Failure("rapl", "late", 3),), meters=(RAPL,))
    with fake_service(Told(lambda number: [shared, trouble] if number == 0 else [shared])) as url:
        page.open(url + QUICK)
        has_read(page, 2)
        stop_reading(page)
        said = quality(page)
    assert "Shared: other processes measure the same machine" in said and "Meter trouble: 3 times." in said


@needs_chromium
def test_no_meter_shows_latency_and_no_joules(page: Page) -> None:
    with fake_service(
        Told(lambda number: [settlement(requests=[request(joules=None, seconds=0.25)], meters=())])
    ) as url:
        page.open(url + QUICK)
        has_read(page, 3)
        stop_reading(page)
        ((_, row),) = rows(page).items()
        assert "250 ms" in row["text"] and "joules" not in row and "joulesSinceStart" not in row
        assert "nothing is known of joules" in quality(page)
        assert "nothing is known of joules" in page.ask("document.querySelector('#watts').textContent")
        assert "0 J" not in page.ask("document.querySelector('#lines').innerText")


@needs_chromium
@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        ((200, b""), "empty", "has no figures of greeninfer"),
        ((200, b"# HELP up Up.\nup 1\n"), "empty", "has no figures of greeninfer"),
        ((200, b"<html>another service"), "empty", "has no figures of greeninfer"),
        ((404, b"Not Found"), "wrong", "answers 404"),
        (None, "gone", "no answer from http://127.0.0.1"),
    ],
)
def test_without_figures_it_says_what_is_wrong(page: Page, answer: Answer, state: str, said: str) -> None:
    with fake_service(lambda number: answer) as url:
        page.open(url + QUICK)
        page.wait(f"document.body.dataset.state === '{state}'")
        stop_reading(page)
        assert said in status(page)
        assert rows(page) == {}
        assert page.ask("document.querySelector('#no-routes').checkVisibility()")
    page.errors[:] = [each for each in page.errors if "/metrics" not in each]  # the browser's own word for it


@needs_chromium
def test_a_service_that_goes_leaves_its_figures_and_may_come_back(page: Page) -> None:
    told, gone = Told(usual), threading.Event()
    with fake_service(lambda number: None if gone.is_set() else told(number)) as url:
        page.open(url + QUICK)
        has_read(page, 3)
        gone.set()
        page.wait("document.body.dataset.state === 'gone'")
        assert re.search(r"no answer from \S+ for \d+ s; below is", status(page))
        assert set(rows(page)) == set(JOULES)
        assert ["last"] in every(page, "#joules text", "e.textContent")
        time.sleep(0.5)
        gone.clear()
        page.wait("document.body.dataset.state === 'live'")
        stop_reading(page)
        assert ["now"] in every(page, "#joules text", "e.textContent")
        pieces = [tuple(name) for name in every(page, "#joules .line", "e.dataset.name", "e.dataset.model")]
        assert all(pieces.count(route) == 2 for route in JOULES)  # nothing is drawn over the time in between
        assert float(rows(page)["bank-question", "big"]["joules"]) == pytest.approx(0.2, rel=1e-6)
    page.errors[:] = [each for each in page.errors if "/metrics" not in each]


@needs_chromium
def test_a_restarted_service_shows_no_nonsense(page: Page) -> None:
    restart = threading.Event()
    told = Told(
        lambda number: (
            [served({("answer", "m"): 3.0 if restart.is_set() else 1.0}, idle(NANO))] * (1 if restart.is_set() else 9)
        )
    )
    with fake_service(told) as url:
        page.open(url + QUICK)
        has_read(page, 5)
        told.begin()
        restart.set()
        page.wait("document.querySelector('#status').innerText.includes('restarted once')")
        page.wait("document.querySelector('#lines tbody tr').dataset.watts")
        stop_reading(page)
        ((_, row),) = rows(page).items()
        assert float(row["joules"]) == float(row["joulesSinceStart"]) == pytest.approx(3.0, rel=1e-6)
        ends = every(page, "#joules .line", "e.dataset.points")
        assert len(ends) == 2  # the line is broken where the service was
        watts = every(page, "#lines tr[data-line]", "Number(e.dataset.watts)")
        assert len(watts) == 5 and all(each >= 0 for (each,) in watts)
        assert "service restarted" in page.ask("document.querySelector('#joules').textContent")


@needs_chromium
def test_numbers_have_three_digits_and_a_prefix(page: Page) -> None:
    with fake_service(Told(usual)) as url:
        page.open(url + QUICK)
        has_read(page, 1)
        stop_reading(page)
        values = {
            "0.00146": "1.46 mJ", "0.99996": "1.00 J", "0.9994": "999 mJ", "1e-10": "0.100 nJ", "12345": "12.3 kJ",
            "0": "0 J", "null": "–", "NaN": "–", "1000": "1.00 kJ", "99.95": "100 J", "2e12": "2000 GJ",
        }  # fmt: skip
        assert page.ask(f"[{', '.join(values)}].map((value) => si(value, 'J'))") == list(values.values())


WEIRD = (
    'quo"te',
    "back\\slash\\n",
    "new\nline",
    "{a=1}",
    'a,b="c"}',
    "<img src=x onerror=fault(1)>",
    "größe ⚡",
    "x" * 300,
)


@needs_chromium
def test_names_are_shown_as_they_are(page: Page) -> None:
    with fake_service(Told(lambda number: [served({(name, "m"): 1.0 for name in WEIRD})])) as url:
        for width in (320, 1900):
            page.open(url + QUICK, width=width)
            has_read(page, 2)
            assert {name for name, _ in rows(page)} == set(WEIRD)
            assert page.ask("document.documentElement.scrollWidth") <= width
        stop_reading(page)
    assert page.ask("document.images.length") == 0


@needs_chromium
def test_power_that_is_not_known_and_great_numbers_do_no_harm(page: Page) -> None:
    def metrics(number: int) -> Answer:
        lines = [
            'greeninfer_power_watts{domain="rapl/0/package"} NaN',
            'greeninfer_energy_joules_total{state="idle"} +Inf',
        ]
        count = f'greeninfer_request_energy_joules_count{{name="a",model=""}} {1e6 + number}'
        joules = f'greeninfer_request_energy_joules_sum{{model="",name="a"}} {(1e6 + number) * 2e9}'
        huge = f'{count} 1700000000000 # {{trace_id="x"}} 1'
        return 200, "\r\n".join([*lines, huge, joules, "greeninfer_nonsense", "# EOF"]).encode()

    with fake_service(metrics) as url:
        page.open(url + QUICK)
        has_read(page, 3)
        stop_reading(page)
        assert "2.00 GJ" in rows(page)["a", ""]["text"]


@needs_chromium
def test_of_very_many_routes_it_shows_those_that_matter(page: Page) -> None:
    many = {(f"route {number}", ""): 1e-3 * 1.01**number for number in range(500)}
    with fake_service(Told(lambda number: [served(many)])) as url:
        page.open(url + QUICK)
        page.wait("document.querySelector('#watts .area') !== null")
        stop_reading(page)
        assert set(rows(page)) == {(f"route {number}", "") for number in range(440, 500)}
        assert "440 more take less" in page.ask("document.querySelector('#routes-box').innerText")
        names = {name for (name,) in every(page, "#joules .line", "e.dataset.name")}
        assert names == {f"route {number}" for number in range(484, 500)}
        layers = [name for (name,) in every(page, "#watts-legend li", "e.dataset.layer")]
        assert "494 more" in layers and len(layers) == 6 + 1 + 3


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_can_be_read_on_every_screen(page: Page, dark: bool) -> None:
    with fake_service(Told(usual)) as url:
        page.open(url + QUICK, width=1280, height=900, dark=dark)
        has_read(page, 3)
        stop_reading(page)
        ink, paper = "getComputedStyle(e).color", "getComputedStyle(e).backgroundColor"
        (colour, _), (_, ground) = every(page, "body, #routes-box", ink, paper)
        assert contrast(colour, ground) > 7
        assert (luminance(ground) < 0.1) is dark
        for width in (320, 360, 390, 600, 768, 1024, 1280, 1440, 1920, 2560):
            page.resize(width, 900)
            page.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert page.ask("innerWidth") == width
            assert page.ask("document.documentElement.scrollWidth") <= width
            assert max(over for (over,) in every(page, "section", "e.scrollWidth - e.clientWidth")) <= 0, width
            plots = every(
                page, ".plot", "e.getBoundingClientRect().width", "Number(e.getAttribute('viewBox').split(' ')[2])"
            )
            assert all(drawn > 0.36 * width and drawn == pytest.approx(prepared, abs=1) for drawn, prepared in plots)
            names = every(page, "#routes tbody th", "e.getBoundingClientRect().width")
            assert min(each for (each,) in names) > 70, width


@needs_chromium
def test_another_service_is_read_where_it_says_that_it_may(page: Page) -> None:
    with fake_service(Told(usual)) as elsewhere, fake_service(lambda number: (404, b"")) as url:
        page.open(f"{url}/?every=0.1&metrics={elsewhere}/metrics")
        page.wait("document.body.dataset.state === 'gone'")  # that one does not say so
        stop_reading(page)
        assert elsewhere in status(page)
    page.errors[:] = [each for each in page.errors if "CORS" not in each and "ERR_FAILED" not in each]


def test_where_the_metrics_are_is_told_to_the_page() -> None:
    assert b'<meta name="greeninfer-metrics" content="/inner/metrics?a=1&amp;b=&quot;">' in live_page(
        '/inner/metrics?a=1&b="'
    )
    assert b'<meta name="greeninfer-metrics" content="/metrics">' in live_page()


# ---- colours --------------------------------------------------------------------------------------------------------

# How colours look to people with no working cones of one kind: Machado, Oliveira and Fernandes 2009, severity 1.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def palette(scheme: int) -> dict[str, str]:
    """Return the colours of the light (0) or the dark (1) scheme by their name in the page."""
    page = (files("greeninfer.demo") / "live.html").read_text(encoding="utf-8")
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", page)
    return {name: colours[scheme] for name, *colours in found}


def linear(colour: str) -> np.ndarray:  # type: ignore[type-arg]
    """Return linear RGB of ``#rrggbb`` or of ``rgb(r, g, b)`` (sRGB, IEC 61966-2-1)."""
    parts = (
        [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        if colour[0] == "#"
        else map(int, re.findall(r"\d+", colour)[:3])
    )
    each = np.array(list(parts)) / 255
    return np.where(each <= 0.04045, each / 12.92, ((each + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """Return the contrast of WCAG 2.1."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return CIELAB of linear RGB under D65."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("eyes", SEEN)
def test_colours_stay_apart_for_every_eye(scheme: int, eyes: str) -> None:
    colours = [value for name, value in palette(scheme).items() if re.fullmatch(r"c\d|plain", name)]
    assert len(colours) == 7
    for one, two in itertools.combinations(colours, 2):
        apart = np.linalg.norm(lab(SEEN[eyes] @ linear(one)) - lab(SEEN[eyes] @ linear(two)))
        assert apart > 12, (one, two)  # 2.3 is a just noticeable difference


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_are_seen_on_their_ground(scheme: int) -> None:
    colours = palette(scheme)
    for name in ("c0", "c1", "c2", "c3", "c4", "c5", "plain"):
        assert contrast(colours[name], colours["panel"]) > 3, name  # WCAG 2.1, 1.4.11
    for name in ("text", "quiet", "bad"):
        assert contrast(colours[name], colours["panel"]) > 4.5, name  # 1.4.3
        assert contrast(colours[name], colours["page"]) > 4.5, name
    assert contrast(colours["warn-text"], colours["warn-page"]) > 4.5
