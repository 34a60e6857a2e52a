"""Bad input is a clear error at the programmer's door, and never an exception in the middle of production traffic.

Clear: the message names the value, says what is allowed, and what to do about it.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live, play
from prometheus_client import CollectorRegistry

import greeninfer
from greeninfer import MeterUnavailable, Monitor, Settings, SettingsError, Span, batch, current, measure
from greeninfer._clock import SystemClock
from greeninfer._monitor import in_use
from greeninfer.exporters import JsonlExporter, LogExporter, PrometheusExporter
from greeninfer.meters.simulated import SimulatedMeter


def assert_clear(error: BaseException, *said: str) -> None:
    message = str(error)
    for words in (*said, "allowed:"):
        assert words in message, message


# Settings


SETTINGS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "unknown meter": (lambda: Monitor(Settings(meters=("rappel",))), ["'rappel'", "rapl", "nvml", "remedy:"]),
    "auto beside another": (lambda: Monitor(Settings(meters=("auto", "rapl"))), ["auto", "remedy:"]),
    "no meter at all": (lambda: Settings(meters=()), ["()", "remedy:"]),
    "unknown exporter": (lambda: Monitor(Settings(exporters=("graphite",))), ["'graphite'", "jsonl", "remedy:"]),
    "tick of zero": (lambda: Settings(tick_seconds=0.0), ["0.0", "remedy:"]),
    "negative tick": (lambda: Settings(tick_seconds=-0.02), ["-0.02", "remedy:"]),
    "endless tick": (lambda: Settings(tick_seconds=math.inf), ["inf", "remedy:"]),
    "tick that is no number": (lambda: Settings(tick_seconds=math.nan), ["nan", "remedy:"]),
    "negative idle watts": (lambda: Settings(idle_watts=-5.0), ["-5.0", "remedy:"]),
    "idle watts that are no number": (lambda: Settings(idle_watts=math.nan), ["nan", "remedy:"]),
    "malformed power model": (lambda: Monitor(Settings(power_model="lots")), ["'lots'", "remedy:"]),
    "negative power model": (lambda: Monitor(Settings(power_model="-1:5")), ["-1:5", "remedy:"]),
    "file that cannot be written": (
        lambda: Monitor(Settings(meters=("simulated",), exporters=("jsonl",), jsonl_path="/proc/no/such.jsonl")),
        ["/proc/no/such.jsonl", "remedy:"],
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_is_refused(name: str) -> None:
    make, said = SETTINGS[name]
    with pytest.raises(SettingsError) as caught:
        make()
    assert_clear(caught.value, *said)
    assert isinstance(caught.value, ValueError)


VARIABLES: dict[str, tuple[str, list[str]]] = {
    "METERS": ("rappel", ["rappel", "rapl"]),
    "EXPORTERS": ("graphite", ["graphite", "jsonl"]),
    "TICK_SECONDS": ("0", ["0"]),
    "TICK_SECOND": ("0.02", ["GREENINFER_TICK_SECOND", "GREENINFER_TICK_SECONDS"]),
    "IDLE_WATTS": ("-5", ["-5"]),
    "POWER_MODEL": ("lots", ["lots"]),
    "DISABLED": ("perhaps", ["perhaps", "true"]),
}

DECORATES = """
import json, logging
import greeninfer
said = {}

try:
    @greeninfer.measure
    def decorated(): return 42
except greeninfer.SettingsError as error:
    said["decoration"] = str(error)

# What is already in production when somebody breaks the environment: blocks, and a later decoration that is caught.
logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("greeninfer").addHandler(handler)
for _ in range(3):
    with greeninfer.measure("block") as span:
        span.add_tokens(output=3)
        with span.phase("decode"):
            with greeninfer.batch([(span, 1.0)]):
                pass
said["energy"] = span.energy(timeout=0.0).joules
said["flush"] = greeninfer.flush()
said["logged"] = [line for line in logged if "greeninfer.disabled" in line]
print(json.dumps(said))
"""


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_wrong_variable_is_refused_at_decoration_and_only_logged_in_traffic(variable: str, tmp_path: Path) -> None:
    value, words = VARIABLES[variable]
    said = play(DECORATES, tmp_path, **{variable: value})
    for word in (*words, "allowed:", "remedy:"):
        assert word in said["decoration"]
    assert said["energy"] is None  # not known, which is not 0
    assert said["flush"] is True
    assert len(said["logged"]) == 1
    assert all(word in said["logged"][0] for word in words)


TAKEN = """
import json
import prometheus_client
prometheus_client.Counter("greeninfer_energy_joules", "Somebody else was faster.")
import greeninfer

@greeninfer.measure
def predict(): return 42

with greeninfer.measure("block"): pass
print(json.dumps([predict(), greeninfer.current() is None]))
"""


def test_metric_names_that_somebody_else_has_taken_do_not_break_a_request(tmp_path: Path) -> None:
    assert play(TAKEN, tmp_path, METERS="simulated") == [42, True]


# Sensors that are not as they should be


def powercap(folder: Path, **contents: str) -> Path:
    zone = folder / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in ({"name": "package-0", "energy_uj": "1", "max_energy_range_uj": "1000000"} | contents).items():
        (zone / name).write_text(text + "\n")
    return zone.parent


def assert_serves_without_joules(settings: Settings, reason: str) -> MeterUnavailable:
    """Requests are served, their joules are not known, and the monitor says why."""
    with Monitor(settings, exporters=[]) as monitor:
        for _ in range(3):
            with measure("work") as span:
                sum(range(1000))
        assert monitor.flush(timeout=20.0)
        energy = span.energy(timeout=0.0)
        assert (energy.joules, energy.quality, energy.provisional) == (None, None, False)
        assert not any(letter.isdigit() for letter in str(energy))
        assert monitor.meters == ()
        (refused,) = monitor.refused
    assert reason in refused.reason
    return refused


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ({"energy_uj": "lots"}, "garbage"),
        ({"energy_uj": ""}, "garbage"),
        ({"energy_uj": "-5"}, "garbage"),
        ({"energy_uj": "2000000"}, "garbage"),
        ({"max_energy_range_uj": "0"}, "garbage"),
        ({"max_energy_range_uj": "nothing"}, "garbage"),
    ],
)
def test_garbage_in_the_powercap_tree_is_a_reason_not_an_exception(
    contents: dict[str, str], reason: str, tmp_path: Path
) -> None:
    root = powercap(tmp_path, **contents)
    assert_serves_without_joules(Settings(meters=("rapl",), powercap_root=str(root)), reason)


def test_a_powercap_tree_that_is_not_there_is_a_reason_not_an_exception(tmp_path: Path) -> None:
    refused = assert_serves_without_joules(Settings(meters=("rapl",), powercap_root=str(tmp_path / "no")), "not there")
    assert refused.remedy


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Be a user without rights, as a service should be; nothing to do for one who has none."""
    if os.geteuid() != 0:
        yield
        return
    for each in (tmp_path, *tmp_path.parents[:-2]):
        each.chmod(each.stat().st_mode | 0o055)
    yield
    os.seteuid(0)


def test_a_powercap_tree_without_permission_gives_the_line_that_mends_it(tmp_path: Path, nobody: None) -> None:
    root = powercap(tmp_path)
    (root / "intel-rapl:0/energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    refused = assert_serves_without_joules(Settings(meters=("rapl",), powercap_root=str(root)), "may not be read")
    assert "energy_uj" in refused.remedy


# What cannot be measured


class SomeClass:
    def method(self) -> None: ...


DOORS: dict[str, tuple[Callable[[], object], type[Exception], list[str]]] = {
    "a number": (lambda: measure(42), TypeError, ["42", "remedy:"]),  # type: ignore[call-overload]
    "a class": (lambda: measure(SomeClass), TypeError, ["SomeClass", "remedy:"]),
    "a class, below a name": (lambda: measure("work")(SomeClass), TypeError, ["SomeClass", "remedy:"]),
    "a number, below a name": (lambda: measure("work")(42), TypeError, ["42", "remedy:"]),  # type: ignore[type-var]
    "None, below a name": (lambda: measure("work")(None), TypeError, ["None", "remedy:"]),  # type: ignore[type-var]
    "a property": (lambda: measure(property(lambda self: 1)), TypeError, ["property", "remedy:"]),  # type: ignore[call-overload]
    "bytes for a name": (lambda: measure(b"work"), TypeError, ["b'work'"]),  # type: ignore[call-overload]
    "an empty name": (lambda: measure(""), ValueError, ["''", "remedy:"]),
    "a model that is no string": (lambda: measure("work", model=3), TypeError, ["3"]),  # type: ignore[call-overload]
    "a model of None": (lambda: measure("work", model=None), TypeError, ["None"]),  # type: ignore[call-overload]
    "a model object": (lambda: measure("work", model=SomeClass()), TypeError, ["SomeClass"]),  # type: ignore[call-overload]
    "an unknown device": (lambda: measure("work", device="tpu"), ValueError, ["'tpu'", "'cpu'"]),
    "attributes that are no mapping": (
        lambda: measure("work", attributes=["user"]),  # type: ignore[call-overload]
        TypeError,
        ["['user']"],
    ),
}


@pytest.mark.parametrize("name", DOORS)
def test_what_cannot_be_measured_is_refused_at_the_door(name: str) -> None:
    make, kind, said = DOORS[name]
    with pytest.raises(kind) as caught:
        make()
    assert type(caught.value) is kind
    assert_clear(caught.value, *said)
    assert in_use == []  # nothing was started for it


# Spans


@pytest.fixture
def span() -> Iterator[Span]:
    with Live(), measure("work") as span:
        yield span


@pytest.mark.parametrize("count", [-1, 1.5, math.nan, "3", None, True, 10**3 + 0.5])
@pytest.mark.parametrize("kind", ["input", "output", "reasoning"])
def test_tokens_that_are_no_count_are_refused_and_add_nothing(kind: str, count: Any, span: Span) -> None:
    span.add_tokens(output=2)
    with pytest.raises(ValueError, match="allowed: whole numbers") as caught:
        span.add_tokens(**{"input": 1, kind: count})
    assert_clear(caught.value, repr(count), kind)
    assert {each: amount for each, amount in span.tokens.items() if amount} == {"output": 2}


def test_tokens_without_a_kind_are_refused(span: Span) -> None:
    for count in (-1, 1.5, 3):
        with pytest.raises(TypeError):
            span.add_tokens(count)  # type: ignore[misc]
    with pytest.raises(TypeError):
        span.add_tokens(cached=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["", None, 3, b"decode"])
def test_a_phase_without_a_name_is_refused(name: Any, span: Span) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        span.phase(name)
    assert_clear(caught.value, repr(name))


@pytest.mark.parametrize("weights", [[], [0.0], [0.0, 0.0], [-1.0], [2.0, -1e-9], [math.nan], [1.0, math.inf]])
def test_a_batch_whose_weights_make_no_sense_is_refused(weights: list[float], span: Span) -> None:
    with pytest.raises(ValueError, match="allowed:") as caught:
        batch([(span, weight) for weight in weights])
    wrong = [weight for weight in weights if not (math.isfinite(weight) and weight >= 0.0)]
    assert_clear(caught.value, *(repr(weight) for weight in wrong))


@pytest.mark.parametrize(
    "row",
    [lambda span: span, lambda span: (span,), lambda span: (span, 1.0, 2.0), lambda span: (1.0, span),
     lambda span: ("span", 1.0), lambda span: (span, "much"), lambda span: (span, None), lambda span: 42],
)  # fmt: skip
def test_a_batch_of_rows_that_are_no_pairs_is_refused(row: Callable[[Span], Any], span: Span) -> None:
    with pytest.raises(TypeError) as caught:
        batch([(span, 1.0), row(span)])
    assert_clear(caught.value)


def test_a_batch_of_nothing_that_can_be_iterated_is_refused(span: Span) -> None:
    for rows in (None, 42, span):
        with pytest.raises(TypeError):
            batch(rows)  # type: ignore[arg-type]


def test_a_batch_that_is_refused_leaves_no_trace() -> None:
    with Live() as live:
        with measure("work") as span:
            with pytest.raises(ValueError, match="allowed:"):
                batch([(span, -1.0)])
            live.burn(100.0)
        assert live.joules("work") == pytest.approx(100.0, rel=0.01)


# In production nothing raises, whatever is done to a span


def test_closing_twice_is_harmless() -> None:
    with Live() as live:
        door = measure("work")
        with door:
            live.burn_apart(100.0)
        for _ in range(3):
            door.__exit__(None, None, None)
            door.__exit__(ValueError, ValueError("late"), None)
        measurement = live.one("work")
        assert measurement.outcome == "ok"
        assert measurement.energy().joules == pytest.approx(100.0, rel=0.01)
        assert live.open_spans() == {}
        assert current() is None


def test_closing_what_was_never_opened_is_harmless() -> None:
    with Live() as live:
        measure("work").__exit__(None, None, None)
        assert live.settle() == []
        assert live.open_spans() == {}


def test_a_span_that_another_thread_closes_is_closed() -> None:
    """As a dependency of a web framework: one thread of its pool opens it, another one closes it."""
    with Live() as live:
        door = measure("work")
        opened: list[Span] = []

        def begin() -> None:
            opened.append(door.__enter__())
            live.burn_apart(100.0)

        for step in (begin, lambda: door.__exit__(None, None, None)):
            thread = threading.Thread(target=step)
            thread.start()
            thread.join()
        assert opened[0].closed is not None
        assert live.one("work").energy().joules == pytest.approx(100.0, rel=0.01)
        assert live.open_spans() == {}
        live.burn_apart(50.0)
        assert live.joules("work") == pytest.approx(100.0, rel=0.01)


def test_a_thread_that_closes_its_own_block_does_not_close_another_ones() -> None:
    """One door for all threads, as a module-level object is; the blocks close in the order in which they opened."""
    door = measure("work")
    gate = threading.Barrier(2, timeout=10.0)
    first_may_close, second_may_close = threading.Event(), threading.Event()
    spans: dict[str, Span] = {}

    def work(name: str, may_close: threading.Event) -> None:
        with door as span:
            spans[name] = span
            gate.wait()
            assert may_close.wait(10.0)

    with Live() as live:
        threads = [
            threading.Thread(target=work, args=("first", first_may_close)),
            threading.Thread(target=work, args=("second", second_may_close)),
        ]
        for thread in threads:
            thread.start()
        first_may_close.set()
        threads[0].join()
        assert spans["first"].closed is not None
        assert spans["second"].closed is None
        second_may_close.set()
        threads[1].join()
        assert len(live.named("work")) == 2
        assert live.open_spans() == {}


def test_phases_and_batches_that_outlive_their_span_are_harmless() -> None:
    with Live() as live:
        with measure("work") as span:
            phase, together = span.phase("decode"), batch([(span, 1.0)])
            phase.__enter__()
            together.__enter__()
        live.tick()
        phase.__exit__(None, None, None)
        together.__exit__(None, None, None)
        phase.__exit__(None, None, None)
        together.__exit__(None, None, None)
        assert live.one("work").outcome == "ok"
        assert live.open_spans() == {}
        with measure("next"):
            live.burn_apart(100.0)
        assert live.joules("next") == pytest.approx(100.0, rel=0.01)


def test_a_phase_or_batch_that_was_never_opened_is_harmless_to_leave() -> None:
    with Live() as live:
        with measure("work") as span:
            span.phase("decode").__exit__(None, None, None)
            batch([(span, 1.0)]).__exit__(None, None, None)
            live.burn(100.0)
        assert live.one("work").energy().joules == pytest.approx(100.0, rel=0.01)


def test_words_to_a_span_that_is_settled_are_harmless_and_late() -> None:
    with Live() as live:
        with measure("work") as span:
            span.add_tokens(output=1)
        live.settle()
        span.add_tokens(output=5)
        span.set_attribute("late", True)
        live.settle()
        assert len(live.named("work")) == 1


def test_strange_names_and_attributes_reach_every_exporter(tmp_path: Path) -> None:
    class Nasty:
        def __repr__(self) -> str:
            raise RuntimeError("no repr either")

    file = tmp_path / "requests.jsonl"
    cycle: dict[str, object] = {"nan": math.nan, "bytes": b"\xff", "huge": 10**5000}
    cycle["self"] = cycle
    exporters = [PrometheusExporter(CollectorRegistry()), JsonlExporter(str(file)), LogExporter()]
    with Live(1.0, *exporters) as live:
        for name in ('quote " and \n line', "naïve ☃ \ud800", "x" * 10_000, " ", "{}", "\0"):
            with measure(name, model=name, attributes={"nasty": Nasty(), "cycle": cycle}) as span:
                span.set_attribute(name, Nasty())
                span.set_attribute(3, 3)  # type: ignore[arg-type]
                with span.phase(name):
                    pass
        assert len(live.settle()) == 6
        live.tick()  # tells of what went wrong with the exports before
        assert live.collected.failures() == {}
    for exporter in exporters:
        exporter.close()
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 6


def test_what_is_exported_from_the_package_is_all_there_is() -> None:
    assert set(greeninfer.__all__) <= set(dir(greeninfer))
    for name in ("measure", "current", "batch", "flush", "Monitor", "Settings", "Span", "Energy"):
        assert name in greeninfer.__all__


# The simulated meter's own door


@pytest.mark.parametrize("joules", [-1.0, math.nan, math.inf])
def test_joules_that_cannot_be_burnt_are_refused(joules: float) -> None:
    with pytest.raises(ValueError, match=repr(joules)):
        SimulatedMeter(clock=SystemClock()).burn(joules)


@pytest.mark.parametrize("watts", [-5.0, math.nan, [-5.0]])
def test_a_machine_of_negative_watts_is_refused(watts: Any) -> None:
    """A counter that runs backwards would make negative joules, which the books would hand out."""
    with pytest.raises(ValueError, match="watts"):
        SimulatedMeter(watts, clock=SystemClock())


@pytest.mark.parametrize("powers", [[], [1.0, 2.0]])
def test_one_power_for_each_domain(powers: list[float]) -> None:
    with pytest.raises(ValueError, match="powers for"):
        SimulatedMeter(powers, clock=SystemClock())
