"""The processes whose CPU time `overhead.py` reads. Each runs one thing, so that none pays for another's imports.

    python _workers.py call SUBJECT     one round for each number of calls that comes on standard input
    python _workers.py rest SECONDS CASE
    python _workers.py import MODULE
    python _workers.py memory REQUESTS

Answers are lines of JSON on standard output; nothing but the subjects themselves is imported here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

HEAVY = ("torch", "transformers", "sklearn", "scipy", "pandas", "opentelemetry.sdk", "rich", "psutil", "pynvml")

BURST = 1000


def work(value: int) -> int:
    return value


def nothing_to_finish() -> None: ...


Subject = tuple[Callable[[int], int], Callable[[], None]]
"""(what is called, what waits until everything that was put off is done)."""


def bare() -> Subject:
    return work, nothing_to_finish


def wrapt_pass() -> Subject:
    import wrapt

    @wrapt.decorator
    def passing(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    return passing(work), nothing_to_finish


def prometheus_time() -> Subject:
    import prometheus_client

    return prometheus_client.Histogram("work_seconds", "Seconds.").time()(work), nothing_to_finish


def greeninfer_decorator() -> Subject:
    import greeninfer

    return greeninfer.measure("work", model="tiny")(work), greeninfer.flush


def greeninfer_with() -> Subject:
    import greeninfer

    measure = greeninfer.measure

    def call(value: int) -> int:
        with measure("work", model="tiny"):
            return value

    return call, greeninfer.flush


def greeninfer_async() -> Subject:
    """A coroutine that never waits, driven without an event loop: the loop's own cost is not ours."""
    import greeninfer

    @greeninfer.measure("work", model="tiny")
    async def asynchronous(value: int) -> int:
        return value

    def call(value: int) -> int:
        try:
            asynchronous(value).send(None)
        except StopIteration as end:
            return int(end.value)
        raise AssertionError("a coroutine that never waits has waited")

    return call, greeninfer.flush


def pyrapl() -> Subject:
    import pyRAPL

    class Sink(pyRAPL.outputs.Output):  # type: ignore[misc]
        def add(self, result: Any) -> None: ...

    pyRAPL.setup()
    return pyRAPL.measureit(output=Sink())(work), nothing_to_finish


def codecarbon_task() -> Subject:
    import codecarbon

    tracker = codecarbon.OfflineEmissionsTracker(
        country_iso_code="DEU", save_to_file=False, log_level="critical", allow_multiple_runs=True
    )

    def call(value: int) -> int:
        tracker.start_task("work")
        tracker.stop_task()
        return value

    return call, nothing_to_finish


def zeus_window() -> Subject:
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor(gpu_indices=[], cpu_indices=[0])

    def call(value: int) -> int:
        monitor.begin_window("work")
        monitor.end_window("work")
        return value

    return call, nothing_to_finish


SUBJECTS: dict[str, tuple[str, Callable[[], Subject]]] = {
    "bare": ("bare call", bare),
    "wrapt": ("wrapt decorator that does nothing", wrapt_pass),
    "prometheus": ("prometheus_client Histogram.time()", prometheus_time),
    "decorator": ("greeninfer @measure", greeninfer_decorator),
    "with": ("greeninfer with measure()", greeninfer_with),
    "async": ("greeninfer @measure, async def", greeninfer_async),
    "pyrapl": ("pyRAPL @measureit", pyrapl),
    "codecarbon": ("CodeCarbon start_task/stop_task", codecarbon_task),
    "zeus": ("Zeus begin_window/end_window", zeus_window),
}


def loop(function: Callable[[int], int], calls: int) -> float:
    """Return the CPU seconds of this thread in so many calls."""
    begun = time.thread_time()
    for _ in repeat(None, calls):
        function(1)
    return time.thread_time() - begun


def one_round(subject: Subject, calls: int) -> dict[str, float]:
    """Return CPU seconds per call: a bare call, this subject on its caller's thread, and everything behind it.

    Calls come in bursts, and what was put off is done before the next one, as between the ticks of a busy server: a
    loop of calls that do nothing outruns any settling, and what it would cost is the queue.
    """
    function, finish = subject
    finish()
    bare_seconds = loop(work, calls)
    process = time.process_time()
    caller, done = 0.0, 0
    while done < calls:
        burst = min(BURST, calls - done)
        caller += loop(function, burst)
        finish()
        done += burst
    behind = time.process_time() - process - caller
    return {"bare": bare_seconds / calls, "caller": caller / calls, "behind": behind / calls}


def run_calls(answer: Callable[[Any], None], name: str) -> None:
    try:
        subject = SUBJECTS[name][1]()
        one_round(subject, 3)
    except Exception as error:
        answer({"unavailable": f"{type(error).__name__}: {error}".splitlines()[0]})
        return
    answer({"ready": True})
    for line in sys.stdin:
        answer(one_round(subject, int(line)))


def run_rest(answer: Callable[[Any], None], seconds: str, case: str) -> None:
    """Report the CPU share of all other threads while nothing runs, one request is open, or some come each second."""
    import greeninfer

    for _ in range(100):
        with greeninfer.measure("work"):
            pass
    greeninfer.flush()
    time.sleep(1.0)
    wall, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
    end = wall + float(seconds)
    if case == "nothing":
        time.sleep(end - time.perf_counter())
    elif case == "waiting":
        with greeninfer.measure("work"):
            time.sleep(end - time.perf_counter())
    else:
        while time.perf_counter() < end:
            with greeninfer.measure("work"):
                pass
            time.sleep(1.0 / int(case))
    cpu = time.process_time() - process - (time.thread_time() - thread)
    answer({"share": cpu / (time.perf_counter() - wall)})


def run_import(answer: Callable[[Any], None], module: str) -> None:
    before = set(sys.modules)
    begun = time.process_time()
    try:
        __import__(module)
    except ImportError as error:
        answer({"unavailable": str(error)})
        return
    seconds = time.process_time() - begun
    new = set(sys.modules) - before
    answer({"seconds": seconds, "heavy": [name for name in HEAVY if name in new], "modules": len(new)})


def run_memory(answer: Callable[[Any], None], requests: str) -> None:
    """Report the resident bytes after 50,000 requests and at the end, of twenty routes.

    They come in bursts for the same reason as in ``one_round``.
    """
    import greeninfer

    routes = [greeninfer.measure(f"route-{number}", model="tiny")(work) for number in range(20)]
    total, done = int(requests), 0
    for stop in (50_000, total):
        for number in range(done, stop):
            routes[number % 20](number)
            if number % BURST == 0 and not greeninfer.flush(timeout=30.0):
                raise SystemExit("a burst was not settled within 30 s")
        greeninfer.flush(timeout=30.0)
        answer({"requests": stop, "bytes": resident_bytes()})
        done = stop


def resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        import resource

        # No /proc: the peak, in bytes on macOS. Good enough for growth, which is what is asked.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    # What a subject prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    runs: dict[str, Callable[..., None]] = {
        "call": run_calls, "rest": run_rest, "import": run_import, "memory": run_memory,
    }  # fmt: skip
    runs[sys.argv[1]](answer, *sys.argv[2:])


if __name__ == "__main__":
    main()
