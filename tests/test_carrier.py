"""From one process to another: what is written into a carrier, what is linked to it, and what is nobody's business."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import gc
import json
import logging
import multiprocessing
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import Live, play
from simulated_world import GPU, ManualClock, ScriptedMeter, World

from greeninfer import Span, current, measure, threads
from greeninfer._carrier import extract, inject
from greeninfer._installed import installed
from greeninfer._origin import Origin
from greeninfer._remote import Remote
from greeninfer._running import current as innermost
from greeninfer.exporters.jsonl import JsonlExporter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
HERE = Path(__file__)


@pytest.fixture
def live() -> Iterator[Live]:
    with Live() as live:
        yield live


def written(span: Span | None = None, **carrier: str) -> dict[str, str]:
    inject(carrier, span)
    return carrier


def trace(span: Span) -> Span:
    """Let a span belong to a sampled trace, as the doors do that find one."""
    span.trace = (TRACE, SPAN)
    return span


def failures(live: Live) -> dict[tuple[str, str], int]:
    live.tick()
    return live.collected.failures()


# Written


def test_a_carrier_names_the_request_that_is_open(live: Live) -> None:
    with measure("classify", model="tfidf-lr"):
        assert written() == {"baggage": "greeninfer.name=classify,greeninfer.model=tfidf-lr"}


def test_a_part_of_a_request_goes_under_the_request_with_the_model_that_is_nearest(live: Live) -> None:
    with measure("/predict/{x}", model="router"):
        with measure("rank"):
            assert written() == {"baggage": "greeninfer.name=/predict/{x},greeninfer.model=router"}
        with measure("rank", model="minilm"), measure("encode"):
            assert written() == {"baggage": "greeninfer.name=/predict/{x},greeninfer.model=minilm"}


def test_a_given_span_is_named_wherever_it_is_and_whatever_is_open_here(live: Live) -> None:
    with measure("first") as first:
        pass
    with measure("second"):
        assert written(first) == {"baggage": "greeninfer.name=first"}


def test_without_a_request_nothing_is_written(live: Live) -> None:
    assert written(baggage="greeninfer.name=mine") == {"baggage": "greeninfer.name=mine"}
    with extract({}):
        assert written() == {}


def test_something_else_than_a_span_is_refused(live: Live) -> None:
    with pytest.raises(TypeError, match="span='classify' is not possible; allowed: a Span"):
        inject({}, "classify")  # type: ignore[arg-type]


def test_the_trace_of_a_request_goes_along(live: Live) -> None:
    with measure("classify") as span:
        trace(span)
        assert written() == {"baggage": "greeninfer.name=classify", "traceparent": PARENT}
        with measure("part"):
            assert written()["traceparent"] == PARENT
    with measure("classify"):
        assert "traceparent" not in written()


def test_a_trace_that_the_carrier_has_already_stays(live: Live) -> None:
    with measure("classify") as span:
        trace(span)
        for name in ("traceparent", "Traceparent", "TRACEPARENT"):
            assert written(**{name: "theirs"}) == {name: "theirs", "baggage": "greeninfer.name=classify"}


def test_the_baggage_of_others_stays_under_the_name_that_they_gave_it(live: Live) -> None:
    with measure("classify"):
        assert written(Baggage="userId=alice") == {"Baggage": "userId=alice,greeninfer.name=classify"}
        headers = {"Accept": "*/*", "baggage": "greeninfer.name=other,greeninfer.model=other"}
        assert written(**headers) == {"Accept": "*/*", "baggage": "greeninfer.name=classify"}


def test_a_full_baggage_goes_without_ours(live: Live) -> None:
    full = ",".join(f"k{each}=v" for each in range(64))
    with measure("classify"):
        for _ in range(3):
            assert written(baggage=full) == {"baggage": full}
    assert failures(live) == {("carrier", "full"): 3}


def test_a_name_that_is_too_long_leaves_no_other_name_in_its_place(live: Live) -> None:
    with measure("n" * 5000):
        assert written(baggage="greeninfer.name=other") == {}
    assert failures(live) == {("carrier", "full"): 1}


def test_a_payload_of_any_size_is_a_carrier(live: Live) -> None:
    payload = {f"field{each}": "x" for each in range(5000)}
    with measure("classify") as span:
        trace(span)
        inject(payload)
    assert len(payload) == 5002
    with extract(payload) as origin:
        assert origin == Origin("classify", "", TRACE, SPAN)


class Payload(dict[str, str]):
    """A mapping that takes too long to look through."""

    def keys(self) -> Any:
        return Keys(self)

    def items(self) -> Any:
        return Keys(self)


class Keys:
    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    def __len__(self) -> int:
        return len(self._payload)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("looked through")


def test_a_large_payload_is_not_looked_through(live: Live) -> None:
    payload = Payload({f"field{each}": "x" for each in range(5000)})
    with measure("classify"):
        inject(payload)
    with extract(payload) as origin:
        assert origin.name == "classify"
    assert failures(live) == {}


class Thrower(dict[str, str]):
    """A mapping whose every method is broken."""

    def keys(self) -> Any:
        raise RuntimeError("broken")

    def items(self) -> Any:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    "carrier",
    [None, 5, "text", [], [(b"baggage", b"a=1")], MappingProxyType({}), Thrower(), {"baggage": 5}, {"baggage": b"a=1"}],
    ids=lambda carrier: type(carrier).__name__,
)
def test_a_carrier_that_cannot_be_written_to_is_counted_and_logged_once(
    live: Live, carrier: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = repr(carrier)
    with measure("classify"):
        for _ in range(3):
            inject(carrier)
    assert failures(live) == {("carrier", "malformed"): 3}
    assert len(caplog.records) == 1
    assert f"reason=malformed detail=cannot write to a {type(carrier).__name__}: " in caplog.text
    assert repr(carrier) == before


# Linked


def test_a_new_request_inside_is_linked_to_the_one_in_the_carrier(live: Live) -> None:
    carrier = {"baggage": "greeninfer.name=/predict/%7Bx%7D,greeninfer.model=m", "traceparent": PARENT}
    with extract(carrier) as origin:
        assert origin == Origin("/predict/{x}", "m", TRACE, SPAN)
        assert current() is None
        with measure("work") as span, measure("part") as part:
            assert current() is part
        assert current() is None
        with measure("more work") as more:
            pass
    with measure("something else") as other:
        pass
    linked = [(each.origin, each.trace_id, each.trace_span_id) for each in (span, part, more)]
    assert linked == [("/predict/{x}", TRACE, SPAN)] * 3
    assert (other.origin, other.trace_id, other.trace_span_id) == ("", "", "")
    assert innermost.get() is None


def test_a_span_with_a_trace_of_its_own_keeps_it(live: Live) -> None:
    with extract({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}), measure("work") as span:
        trace(span)
    assert (span.trace_id, span.trace_span_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "carrier",
    [
        {"Baggage": "greeninfer.name=n", "TraceParent": PARENT},
        {b"baggage": b"greeninfer.name=n", b"traceparent": PARENT.encode()},
        [(b"host", b"x"), (b"baggage", b"greeninfer.name=n"), (b"traceparent", PARENT.encode())],
        [("BAGGAGE", "a=1"), ("baggage", "greeninfer.name=n"), ("traceparent", PARENT)],
        iter([(b"baggage", b"greeninfer.name=n"), (b"traceparent", PARENT.encode())]),
        {"baggage": "greeninfer.name=n", "traceparent": PARENT, 5: object(), None: None, "payload": [1, 2, 3]},
        {"baggage": "greeninfer.name=n", "traceparent": PARENT, **{str(each): "" for each in range(2000)}},
    ],
)
def test_carriers_of_many_kinds_are_read(live: Live, carrier: Any) -> None:
    with extract(carrier) as origin:
        assert origin == Origin("n", "", TRACE, SPAN)
    assert failures(live) == {}


def test_where_a_request_is_open_here_the_work_is_its_own(live: Live) -> None:
    with measure("here") as here:
        with extract({"baggage": "greeninfer.name=there"}) as origin:
            assert origin.name == "there"
            assert current() is here
            with measure("part") as part:
                pass
            assert written() == {"baggage": "greeninfer.name=here"}
        assert current() is here
    assert (here.origin, part.origin) == ("", "")
    assert part.parent is here


def test_of_two_carriers_the_inner_one_counts_unless_it_says_nothing(live: Live) -> None:
    names = []

    def look() -> None:
        with measure("work") as span:
            names.append(span.origin)

    with extract({"baggage": "greeninfer.name=outer"}):
        look()
        with extract({"baggage": "greeninfer.name=inner"}):
            look()
            look()
        look()
        with extract({"baggage": "userId=alice"}):
            look()
        look()
    look()
    assert names == ["outer", "inner", "inner", "outer", "outer", "outer", ""]


def test_an_exception_passes_through(live: Live) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        extract({"baggage": "greeninfer.name=there"}),
        measure("work") as span,
    ):
        raise ZeroDivisionError
    assert (span.origin, span.outcome) == ("there", "error")
    assert innermost.get() is None


def test_what_was_extracted_is_passed_on_and_a_request_of_this_process_goes_under_its_own_name(live: Live) -> None:
    carrier = {"baggage": "greeninfer.name=first%20one,greeninfer.model=m", "traceparent": PARENT}
    with extract(carrier):
        assert written() == carrier
        with measure("second"):
            assert written() == {"baggage": "greeninfer.name=second", "traceparent": PARENT}


def test_tasks_and_threads_with_the_context_are_linked(live: Live) -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        with measure("work") as span:
            return span.origin

    async def serve(name: str) -> list[str]:
        with extract({"baggage": f"greeninfer.name={name}"}):
            return await asyncio.gather(work(), asyncio.create_task(work()), asyncio.to_thread(asyncio.run, work()))

    async def main() -> list[list[str]]:
        return await asyncio.gather(serve("a"), serve("b"), serve("c"))

    assert asyncio.run(main()) == [["a"] * 3, ["b"] * 3, ["c"] * 3]


def test_what_goes_on_after_the_block_is_nobody_elses_work(live: Live) -> None:
    with extract({"baggage": "greeninfer.name=there"}):
        context = contextvars.copy_context()
        late = measure("late")
        span = late.__enter__()
    assert current() is span
    late.__exit__(None, None, None)
    assert innermost.get() is None

    def afterwards() -> str:
        with measure("background") as background:
            return background.origin

    assert context.run(afterwards) == ""
    assert afterwards() == ""


def test_a_request_that_outlives_the_inner_block_leads_back_to_the_outer_one(live: Live) -> None:
    with extract({"baggage": "greeninfer.name=outer"}):
        with extract({"baggage": "greeninfer.name=inner"}):
            late = measure("late")
            span = late.__enter__()
        late.__exit__(None, None, None)
        with measure("work") as work:
            pass
    assert (span.origin, work.origin) == ("inner", "outer")
    assert innermost.get() is None


def chain() -> list[object]:
    """Return what is innermost here, its parent, and so on."""
    found = []
    account = innermost.get()
    while account is not None:
        found.append(account)
        account = account.parent
    return found


def test_a_worker_that_is_left_elsewhere_than_entered_gathers_nothing(live: Live) -> None:
    async def work() -> AsyncIterator[int]:
        with extract({"baggage": "greeninfer.name=there"}):
            yield len(chain())

    async def leave(generator: AsyncIterator[int]) -> None:
        await generator.aclose()  # type: ignore[attr-defined]

    async def main() -> list[int]:
        lengths = []
        for _ in range(50):
            generator = work()
            lengths.append(await anext(generator))
            await asyncio.create_task(leave(generator))  # in a context of its own
        return lengths

    assert asyncio.run(main()) == [1] * 50


def test_nothing_is_left_of_an_origin_that_nobody_uses(live: Live) -> None:
    seen = []
    for each in range(200):
        with extract({"baggage": f"greeninfer.name=n{each}"}), measure("work"):
            seen.append(weakref.ref(chain()[1]))
        if each % 50 == 0:
            live.settle()
    with measure("something else"):
        pass
    live.settle()
    kept = live.collected.settlements
    kept[:] = [dataclasses.replace(settlement, measurements=()) for settlement in kept]
    gc.collect()
    assert [reference for reference in seen if reference() is not None] == []


# In the books


def test_a_linked_request_pays_what_it_would_pay_otherwise(live: Live) -> None:
    live.burn_apart(10.0)
    with extract({"baggage": "greeninfer.name=there"}):
        remote = innermost.get()
        live.burn_apart(20.0)
        with measure("work") as span:
            live.burn_apart(100.0)
            with measure("part") as part:
                live.burn_apart(7.0)
        with measure("work"):
            live.burn_apart(50.0)
    live.settle()
    assert span.energy().joules == pytest.approx(100.0, rel=0.01)
    assert span.energy().total_joules == pytest.approx(107.0, rel=0.01)
    assert part.energy().joules == pytest.approx(7.0, rel=0.01)
    assert live.joules("work") == pytest.approx(150.0, rel=0.01)
    assert live.collected.nanojoules("unattributed") == 0
    assert {each.key for each in live.collected.measurements} == {("work", ""), ("part", "")}
    assert isinstance(remote, Remote)
    assert (remote.nested, remote.nested_cpu_seconds) == (0, 0.0)


def test_an_origin_is_never_present_on_a_gpu() -> None:
    clock = ManualClock()
    meter = ScriptedMeter(clock, GPU)
    world = World(meter, clock=clock)
    world.tick()
    remote = Remote("there")
    for begun in (False, True):  # two one after the other, the second with another beside it on a second thread
        first = world.program.open("work", parent=remote)  # type: ignore[arg-type]
        second = world.program.open("work", thread=2, parent=remote) if begun else None  # type: ignore[arg-type]
        world.program.run(1.0)
        meter.use(30.0)
        world.program.close(first)
        if second is not None:
            world.program.close(second)
        world.program.run(1.0)
        meter.use(5.0)
        world.tick()
    assert sum(span.nanojoules for span in world.program.spans) == world.line(GPU, "attributed")
    assert world.line(GPU, "attributed", "idle", "other") == world.metered(GPU) == 70 * 10**9
    assert world.line(GPU, "unattributed") == 0
    meter.use(5.0)
    world.program.run(1.0)
    assert [line.state for line in world.tick().lines if line.nanojoules] == ["idle"]


def test_a_share_that_comes_to_an_origin_all_the_same_is_nobodys() -> None:
    clock = ManualClock()
    meter = ScriptedMeter(clock)
    world = World(meter, clock=clock)
    world.tick()
    remote = Remote("there", "m", parent=None)
    world.program.edges.extend((clock.now(), 0.0, 1, remote, remote))
    world.program.running[1] = remote
    world.program.run(1.0)
    meter.use(30.0)
    lines = world.tick().lines
    assert {(line.state, line.name, line.reason): line.nanojoules for line in lines if line.nanojoules} == {
        ("unattributed", "", "remote"): 30 * 10**9
    }


def test_work_that_is_followed_into_a_thread_pool_is_linked_and_charged_to_nobody_but_spans(live: Live) -> None:
    def work() -> str:
        live.burn_apart(20.0)
        with measure("work") as span:
            live.burn_apart(100.0)
        live.burn_apart(3.0)
        return span.origin

    threads.instrument()
    try:
        with ThreadPoolExecutor(1) as pool, extract({"baggage": "greeninfer.name=there"}):
            assert [pool.submit(work).result() for _ in range(2)] == ["there", "there"]
    finally:
        threads.uninstrument()
    assert live.joules("work") == pytest.approx(200.0, rel=0.01)
    assert live.collected.nanojoules("unattributed") == 0


# Malformed


@pytest.mark.parametrize(
    ("carrier", "expected", "count"),
    [
        (None, Origin(), 1),
        (5, Origin(), 1),
        ("baggage", Origin(), 1),
        (b"baggage", Origin(), 1),
        ([5, 6], Origin(), 1),
        ([(b"baggage",)], Origin(), 1),
        (Thrower(), Origin(), 1),
        ({"baggage": 5}, Origin(), 1),
        ({"baggage": None, "traceparent": None}, Origin(), 2),
        ({"baggage": ["greeninfer.name=n"]}, Origin(), 1),
        ({"baggage": "greeninfer.name=%zz"}, Origin(), 1),
        ({"baggage": "greeninfer.name=" + "n" * 9000}, Origin(), 1),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, Origin(), 1),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, Origin(), 1),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, Origin(), 1),
        ({"traceparent": PARENT, "Traceparent": PARENT}, Origin(), 1),
        ({"baggage": "greeninfer.name=n", "traceparent": "garbage"}, Origin("n"), 1),
        ({"baggage": "greeninfer.name=%", "traceparent": PARENT}, Origin("", "", TRACE, SPAN), 1),
        ({}, Origin(), 0),
        ([], Origin(), 0),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, Origin(), 0),
    ],
)
def test_what_is_malformed_counts_as_not_there(
    live: Live, carrier: Any, expected: Origin, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with extract(carrier) as origin, measure("work") as span:
            pass
        assert origin == expected
        assert (span.origin, span.trace_id) == (expected.name, expected.trace_id)
    assert failures(live) == ({("carrier", "malformed"): 3 * count} if count else {})
    assert len(caplog.records) == min(1, count)


def test_a_client_cannot_write_lines_of_our_log(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with extract({"baggage": "greeninfer.name=\r\n2026-01-01 all is well", "traceparent": "\n" * 1000}):
        pass
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == 1
    assert len(record.getMessage()) < 400


def test_a_carrier_without_end_is_read_to_some_point(live: Live) -> None:
    with extract(repeat((b"x", b"y"))) as origin:
        assert origin == Origin()


TEXT = st.text(max_size=40) | st.sampled_from(
    ["baggage", "Traceparent", "greeninfer.name=n", "greeninfer.name=%zz", PARENT, f"ff-{TRACE}-{SPAN}-01", "=,;%"]
)
ANY = st.none() | st.integers() | TEXT | st.binary(max_size=40) | st.lists(TEXT, max_size=3)
HEADERS = st.sampled_from(["baggage", "BAGGAGE", "traceparent", b"baggage", b"traceparent"]) | TEXT
CARRIERS = (
    ANY
    | st.dictionaries(HEADERS, ANY, max_size=5)
    | st.lists(st.tuples(HEADERS, ANY) | st.tuples(ANY), max_size=5)
    | st.lists(ANY, max_size=5)
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(carrier=CARRIERS)
def test_no_carrier_disturbs_a_request(live: Live, carrier: Any) -> None:
    with extract(carrier) as origin, measure("work") as span:
        inject(carrier)
    assert span.origin == origin.name
    assert span.trace_id == origin.trace_id
    assert len(origin.name.splitlines()) <= 1
    assert len(origin.trace_id) in (0, 32)
    assert innermost.get() is None
    if not isinstance(carrier, dict) or not isinstance(carrier.get("baggage"), str):
        return
    if [key for key in carrier if isinstance(key, str) and key.lower() == "baggage"] == ["baggage"]:
        with extract({"baggage": carrier["baggage"]}) as back:
            assert back.name == "work"


# Others


class Headers(Mapping[str, str]):
    """Headers as frameworks have them: names in lower case, several values of one name."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def __getitem__(self, name: str) -> str:
        return next(value for key, value in self._pairs if key == name.lower())

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))

    def __len__(self) -> int:
        return len(dict(self._pairs))

    def items(self) -> Any:
        return list(self._pairs)


def test_a_baggage_in_several_headers_is_one(live: Live) -> None:
    headers = Headers(("baggage", "a=1"), ("baggage", "greeninfer.name=n"), ("baggage", "greeninfer.model=m"))
    with extract(headers) as origin:
        assert origin == Origin("n", "m")


@pytest.mark.parametrize("name", ["classify", "bank question", "1+1=2", "a,b;c%d", "größe ⚡", "/predict/{x}"])
def test_opentelemetry_reads_what_we_write_and_we_read_what_it_passes_on(live: Live, name: str) -> None:
    baggage = pytest.importorskip("opentelemetry.baggage", reason="needs opentelemetry-api")
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"baggage": "userId=alice"}
    with measure(name, model=name) as span:
        trace(span)
        inject(carrier)
    context = TraceContextTextMapPropagator().extract(carrier, W3CBaggagePropagator().extract(carrier))
    assert baggage.get_all(context) == {"userId": "alice", "greeninfer.name": name, "greeninfer.model": name}
    theirs = get_current_span(context).get_span_context()
    assert (theirs.trace_id, theirs.span_id, theirs.trace_flags) == (int(TRACE, 16), int(SPAN, 16), 1)

    passed_on: dict[str, str] = {}
    W3CBaggagePropagator().inject(passed_on, context)
    TraceContextTextMapPropagator().inject(passed_on, context)
    with extract(passed_on) as origin:
        assert origin == Origin(name, name, TRACE, SPAN)


def test_a_disabled_library_passes_by(tmp_path: Path) -> None:
    script = """
import json
from greeninfer import measure
from greeninfer._carrier import extract, inject
carrier = {}
with measure("classify") as span:
    inject(carrier)
    inject(carrier, span)
with extract({"baggage": "greeninfer.name=there"}) as origin, measure("work") as span:
    pass
with extract(None) as nothing:
    pass
print(json.dumps([carrier, origin.name, span.origin, nothing.name]))
"""
    assert play(script, tmp_path, DISABLED=1) == [{}, "", "", ""]


# A real other process


def serve(inbox: Any, folder: str) -> None:
    """Do work for requests of another process, until there is no more; a process of its own runs this."""
    with Live(1.0, JsonlExporter(str(Path(folder) / "lines.jsonl"))) as live:
        while (carrier := inbox.get(timeout=30)) is not None:
            with extract(carrier), measure("work", model="worker"):
                live.burn_apart(10.0)
        live.settle()


def test_a_worker_process_tells_whose_work_it_did(live: Live, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    inbox = spawn.Queue()
    worker = spawn.Process(target=serve, args=(inbox, str(tmp_path)))
    worker.start()
    try:
        for name in ("bank question", "/predict/{x}"):
            carrier: dict[str, str] = {}
            with measure(name) as span:
                trace(span)
                inject(carrier)
            inbox.put(carrier)
        inbox.put({})
        inbox.put(None)
        worker.join(30)
        assert worker.exitcode == 0
    finally:
        worker.kill()
        worker.join()
        inbox.close()
        inbox.join_thread()
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [(each["name"], each["origin"], each["trace_id"], each["trace_span_id"]) for each in lines] == [
        ("work", "bank question", TRACE, SPAN),
        ("work", "/predict/{x}", TRACE, SPAN),
        ("work", None, None, None),
    ]
    assert [each["joules"] for each in lines] == [pytest.approx(10.0, rel=0.02)] * 3


def test_one_origin_on_many_threads(live: Live) -> None:
    spans: list[Span] = []

    def work() -> None:
        for _ in range(50):
            with measure("work") as span:
                pass
            spans.append(span)

    with extract({"baggage": "greeninfer.name=there"}):
        many = [threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(4)]
        for each in many:
            each.start()
        for each in many:
            each.join()
    assert {span.origin for span in spans} == {"there"}
    assert len(live.named("work")) == 200
    assert installed() is live.monitor
