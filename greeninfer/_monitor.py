"""The one joint of the house: settings, meters, books and exporters meet here, and the thread that makes them tick.

Doors (`_measure.py`, ...) only append edges to ``record``; nothing else of a monitor is on the request path. ``record``
is None while the monitor is disabled, so that every door is a plain pass-through.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Sequence
from time import perf_counter, sleep, thread_time
from types import TracebackType

from greeninfer import exporters as exporter_shelf
from greeninfer import meters as meter_shelf
from greeninfer._account import Edge, Inbox, Key, Record
from greeninfer._books import Books
from greeninfer._clock import Clock, SystemClock
from greeninfer._energy import Rate
from greeninfer._outlet import Outlet
from greeninfer._records import Failure, MeterInfo, Settlement
from greeninfer._settings import Settings
from greeninfer._share import Share, open_share
from greeninfer._span import Span
from greeninfer._timeline import ThreadCpu, system_thread_cpu
from greeninfer.errors import MeterUnavailable
from greeninfer.exporters._contract import Exporter
from greeninfer.meters._contract import Meter

_log = logging.getLogger("greeninfer")

_REST_SECONDS = 1.0
_QUIET_TICKS = 10  # this many without a span before the sampler rests
_MOST_WAITING = 100_000  # edges and requests; beyond that requests go unmeasured until there is room
_JOIN_SECONDS = 5.0

in_use: list[Monitor] = []
"""The doors write to the last one; those before come back when it leaves."""


class Monitor:
    """Measures this process: reads meters, divides joules among spans, hands settlements to exporters.

    The first span starts it. As a context manager it is the one that the doors write to until the end of the block.

    Args:
        settings: how to measure; default: from ``GREENINFER_*``.
        meters: read these instead of those that the settings name; the caller closes them.
        exporters: use these instead of those that the settings name; the caller closes them.
        clock, share, thread_cpu: how time, other processes and other threads are seen.

    Attributes:
        record: takes an edge; None while nothing is measured.
        columns: takes the steps of requests, while those that are over before the next tick can be settled in columns.
        note: counts a failure of a door's, and logs the first of its kind.
        annotates: whether the user's own trace spans are to tell the joules.

    Raises:
        SettingsError: for a variable that is unknown or malformed, or a meter or exporter that does not exist.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        meters: Sequence[Meter] | None = None,
        exporters: Sequence[Exporter] | None = None,
        clock: Clock | None = None,
        share: Share | None = None,
        thread_cpu: ThreadCpu | None = None,
    ) -> None:
        self.settings = Settings.from_env(os.environ) if settings is None else settings
        check(self.settings)
        self._given_meters = meters
        self._given_exporters = exporters
        self._clock = clock or SystemClock()
        self._given_share = share
        self._thread_cpu = thread_cpu or system_thread_cpu()
        opened: Sequence[Exporter] = ()
        if not self.settings.disabled:
            opened = exporter_shelf.open_exporters(self.settings) if exporters is None else exporters
        self._outlet = Outlet(opened)
        self.annotates = any(exporter.name == "otel" for exporter in opened)
        self.note = self._outlet.note
        self.begin_anew()

    def begin_anew(self) -> None:
        """Be as new: nothing opened, no thread. Also for a forked child: it has no thread, and locks may be held."""
        self._outlet.begin_anew()
        self.inbox = Inbox()
        self.columns: Inbox | None = None
        self.record: Record | None = None if self.settings.disabled else self._start_and_record
        self._books: Books | None = None
        self._opened: meter_shelf.Opened = meter_shelf.Opened((), ())
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.guard = threading.RLock()  # held for a tick, exporters included
        self._life = threading.Lock()  # held to start and stop; never for long, because requests may wait for it
        self._wake = threading.Event()
        self._first = threading.Event()  # set after the first tick
        self._settled = threading.Condition()

    def _start_and_record(self, edge: Edge) -> None:
        """Take the first edge; the thread that it starts opens the meters, and the request goes on at once."""
        self.inbox.edges.extend(edge)
        self._start_thread()

    def _wake_and_record(self, edge: Edge) -> None:
        """Take an edge while the sampler rests."""
        self.record = self.inbox.edges.extend
        self.inbox.edges.extend(edge)
        self._wake.set()

    @property
    def meters(self) -> tuple[MeterInfo, ...]:
        """Return what is read; empty before the first tick and where nothing can be read."""
        return self._books.meters if self._books is not None else ()

    @property
    def refused(self) -> tuple[MeterUnavailable, ...]:
        """Return why the other meters are not read."""
        return self._opened.refused

    def start(self, timeout: float = 2.0) -> None:
        """Start the sampler thread and wait up to ``timeout`` seconds for its first reading.

        Joules are known from that reading on. It does nothing if the thread is there or the monitor is disabled.
        """
        self._start_thread()
        if self._thread is not None:
            self._first.wait(timeout)

    def _start_thread(self) -> None:
        with self._life:
            if self.settings.disabled or self._thread is not None or self._stopping:
                return
            self.record = self.inbox.edges.extend
            self._thread = threading.Thread(target=self._run, name="greeninfer-sampler", daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def stop(self) -> None:
        """Settle and export what is open to be settled, and end the thread. A second call does nothing."""
        with self._life:
            if self._stopping:
                return
            self._stopping, self.record, self.columns = True, None, None
            thread = self._thread
        self._wake.set()
        if thread is not None:
            atexit.unregister(self.stop)
            thread.join(_JOIN_SECONDS)
            if thread.is_alive():  # a meter or an exporter hangs; the program must end all the same
                _log.warning("greeninfer.stop_timeout seconds=%s", _JOIN_SECONDS)
                return
        if self._books is not None:
            self._books.ending = True
        self.flush()
        if self._books is not None:
            self._books.close()
        if self._given_exporters is None:
            self._outlet.close()
        if self._given_meters is None:
            for meter in self._opened.meters:
                meter.close()

    def __enter__(self) -> Monitor:
        """Start, and be the monitor that the doors write to."""
        in_use.append(self)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give way to the monitor that was there before, and stop."""
        in_use.remove(self)
        self.stop()

    def rate(self, key: Key) -> Rate | None:
        """Return what a route's requests took lately per CPU second, or None while that is not known."""
        return self._books.rates.get(key) if self._books is not None else None

    @property
    def pause_seconds(self) -> float:
        """Return how long to wait for the next tick while spans are open."""
        return self.settings.tick_seconds if self._books is None else self._books.pause_seconds

    def tick(self, *, force: bool = False) -> Settlement:
        """Do one tick and export its settlement; the sampler thread does this by itself."""
        with self.guard:
            books = self._books = self._books or self._open_books()
            settlement = self._outlet.complete(books.tick(force=force))
            begun = thread_time()
            self._outlet.send(settlement)
            books.spent(thread_time() - begun)
        with self._settled:
            self._settled.notify_all()
        return settlement

    def flush(self, timeout: float = 1.0) -> bool:
        """Force ticks until all closed spans are settled; return whether they are, within ``timeout`` seconds."""
        if self._books is None and not self.inbox.waiting:
            return True
        deadline = perf_counter() + timeout
        while True:
            if not self.guard.acquire(timeout=max(0.0, deadline - perf_counter())):
                return False  # the sampler is busy: a meter or an exporter takes its time
            try:
                self._attempt(force=True)
            finally:
                self.guard.release()
            books = self._books
            if books is None or not books.unsettled:
                return True
            if perf_counter() >= deadline:
                return False
            sleep(min(self.settings.tick_seconds, 0.01))

    def settle(self, span: Span, timeout: float) -> None:
        """Wait until a closed span is settled, or ``timeout`` seconds."""
        deadline = perf_counter() + timeout
        while span.settled_at is None:
            left = deadline - perf_counter()
            if left <= 0.0 or threading.current_thread() is self._thread:
                return
            if self._thread is None:
                self.flush(left)
                return
            self._wake.set()  # somebody waits: no long tick now
            with self._settled:
                if span.settled_at is None:
                    self._settled.wait(min(left, self.settings.tick_seconds))

    def _open_books(self) -> Books:
        if self._given_meters is not None:
            self._opened = meter_shelf.Opened(tuple(self._given_meters), ())
        else:
            self._opened = meter_shelf.open_meters(self.settings, self._clock)
        return Books(
            self._opened.meters,
            self.inbox,
            settler=self,
            clock=self._clock,
            share=self._given_share or open_share(self.settings.proc_root, self._clock.now(), self._opened.meters),
            thread_cpu=self._thread_cpu,
            tick_seconds=self.settings.tick_seconds,
            idle_watts=self.settings.idle_watts,
        )

    def _attempt(self, *, force: bool) -> None:
        """Tick; a tick that fails is counted and logged, and the next one covers its time."""
        try:
            self.tick(force=force)
        except Exception as error:  # noqa: BLE001 - the border to the meters' foreign code
            self.note(Failure("monitor", "tick"))
            self._outlet.complain("greeninfer.tick_failed", error)

    def _run(self) -> None:
        """Tick until stopped: at full pace while spans are open, slowly at rest."""
        quiet = 0
        while not self._stopping:
            self._attempt(force=False)
            self._listen()
            self._first.set()
            quiet = quiet + 1 if self._books is None or self._books.quiet else 0
            if quiet < _QUIET_TICKS:
                self._wake.wait(self.pause_seconds)
            else:
                self._rest()
                quiet = 0 if self._wake.is_set() else quiet
            self._wake.clear()

    def _rest(self) -> None:
        """Wait for the next span, or for a second; a span that came just before this began is not missed."""
        self.record, self.columns = self._wake_and_record, None
        if not (self.inbox.waiting or self._stopping):
            self._wake.wait(_REST_SECONDS)
        self._listen()

    def _listen(self) -> None:
        """Take edges, unless so many wait that memory would not hold: what is not measured then is counted."""
        full = self.inbox.waiting > _MOST_WAITING
        if full:
            self.note(Failure("monitor", "overload"))
        listens = not full and not self._stopping
        self.record = self.inbox.edges.extend if listens else None
        self.columns = self.inbox if listens and self._books is not None and self._books.in_columns else None


def check(settings: Settings) -> None:
    """Check that all that the settings name exists, without opening any of it.

    Raises:
        SettingsError: if a meter or an exporter is unknown, or the power model is malformed.
    """
    meter_shelf.check_names(settings)
    exporter_shelf.check_names(settings)
