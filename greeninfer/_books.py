"""One tick, from readings and edges to a settlement. No thread, no I/O but the meters' own.

For each meter there is a *track*: its sampler, ledger and calibration. A tick reads the meters that are due, replays
the edges once, lets each ledger settle its interval, and closes the books of every span whose last tick is settled on
all tracks. The one feedback of the house is in ``_settle``: what a ledger saw goes to its calibration, and the weights
come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import thread_time

from greeninfer._account import Inbox, Key, Settler
from greeninfer._brief import Brief, Waiting
from greeninfer._calibration import Calibration
from greeninfer._clock import Clock
from greeninfer._energy import Measurement, Measurements, Rate
from greeninfer._ledger import Ledger
from greeninfer._power import MeanPower
from greeninfer._records import NANO, Interval, Line, MeterInfo, Settlement
from greeninfer._sampler import Meter, Sampler
from greeninfer._share import Divided, Share
from greeninfer._span import Span
from greeninfer._timeline import Cut, ThreadCpu, Timeline

_ROW_PERIODS = 10.0  # a row for learning, as long as this many periods of the counter, hides how late it is read
_RAN_SECONDS = 1e-4  # less is the look at a clock and the way back to sleep
_MOST_TICKS = 2  # as long as this many is the longest while spans are open
_SETTLING_PART = 0.05  # of a core, which ticks that are not longer leave to settling
_RATE_SECONDS = 1.0  # of CPU time, after which what a rate was made of counts for half


@dataclass(slots=True)
class _Track:
    """What belongs to one meter."""

    sampler: Sampler
    ledger: Ledger
    calibration: Calibration
    on_gpu: bool


class Books:
    """Everything between meters and exporters.

    Args:
        meters: what to read; a disjoint cover.
        inbox: what the request path leaves.
        settler: what spans ask.
        clock, share, thread_cpu: how time, other processes and other threads are seen.
        tick_seconds: how often meters are read at most.
        idle_watts: known idle power of the CPU domains, or None.

    Attributes:
        in_columns: whether requests can be settled without a span of theirs: one meter that gives joules of CPUs.
        rates: by route, from requests that came through a server.
        ending: whether requests whose route is not known yet will never be told one.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        inbox: Inbox,
        *,
        settler: Settler,
        clock: Clock,
        share: Share,
        thread_cpu: ThreadCpu,
        tick_seconds: float,
        idle_watts: float | None = None,
    ) -> None:
        self.meters: tuple[MeterInfo, ...] = tuple(meter.info for meter in meters)
        self._clock = clock
        self._share = share
        self._tick_seconds = tick_seconds
        self._divided = share if isinstance(share, Divided) else None
        shortest = max(share.period_seconds, 0.5 * tick_seconds)
        self._tracks = [_track(meter, clock, tick_seconds, shortest, idle_watts) for meter in meters]
        self._timeline = Timeline(inbox, thread_cpu, any(track.on_gpu for track in self._tracks))
        self._new_span = lambda key: Span(key, inbox.edges.extend, settler)
        self._waiting = Waiting(inbox.rows, sum(len(meter.domains) for meter in self.meters), self._new_span)
        self.in_columns = len(self._tracks) == 1 and not self._tracks[0].on_gpu
        self._power = MeanPower()
        self._open = 0
        self._in_flight: dict[str, int] = {}
        self._closing: list[Span] = []
        self._unrouted: list[Span] = []
        self.rates: dict[Key, Rate] = {}
        self.ending = False
        self._settling_seconds = 0.0  # CPU time of the last tick, with what came of the one before it
        self._span_cpu_seconds = 0.0
        self._span_gpu_seconds = 0.0
        self._used_cpu_seconds = 0.0
        self._crowded = False  # several ran since the last look

    @property
    def pause_seconds(self) -> float:
        """Return how long to wait for the next tick while spans are open.

        Once power is learned, what ran alone is charged the same however long the tick is: long ticks will do until
        others come. Where many requests end, settling must not take the core that they are for.
        """
        longest = _MOST_TICKS * self._tick_seconds
        if not self._crowded and all(track.calibration.learned for track in self._tracks):
            return longest
        return min(longest, max(self._tick_seconds, self._settling_seconds / _SETTLING_PART))

    @property
    def unsettled(self) -> bool:
        """Return whether a closed span waits for its last tick."""
        return bool(self._closing) or len(self._waiting) > 0

    @property
    def quiet(self) -> bool:
        """Return whether no span is open or waits for its last tick."""
        return self._open <= 0 and not self.unsettled

    def tick(self, *, force: bool = False) -> Settlement:
        """Do one tick: all meters that are due, or all of them with ``force``."""
        begun = thread_time()
        now = self._clock.now()
        read = [(track, track.sampler.tick()) for track in self._tracks if force or track.sampler.due(now)]
        cut = self._timeline.cut(self._clock.now())
        intervals = tuple(interval for _, interval in read if interval is not None)
        brief = self._waiting.take(intervals, cut)
        self._note(cut, brief)
        lines = self._route()
        for track, interval in read:
            if interval is not None:
                lines.extend(self._settle(track, interval, brief))
        lines.extend(self._route())
        measurements = self._finish(brief)
        self._settling_seconds, self._used_cpu_seconds = self._used_cpu_seconds + thread_time() - begun, 0.0
        return Settlement(
            instant=now,
            unix_seconds=self._clock.unix(),
            intervals=intervals,
            lines=tuple(lines),
            measurements=measurements,
            watts=self._power.watts(intervals),
            failures=tuple(failure for track, _ in read for failure in track.sampler.take_failures()),
            in_flight=dict(self._in_flight),
            overhead_cpu_seconds=self._settling_seconds,
            meters=self.meters,
            speaks_for_machine=self._divided is None or self._divided.speaks,
        )

    def close(self) -> None:
        """Leave: what this process measured is no longer divided with others that measure the same machine."""
        if self._divided is not None:
            self._divided.close()

    def spent(self, cpu_seconds: float) -> None:
        """Note CPU time that the library used outside ``tick``, such as for exporting."""
        self._used_cpu_seconds += cpu_seconds

    def _note(self, cut: Cut, brief: Brief) -> None:
        """Hand pieces to the ledgers and keep track of what is open."""
        self._span_cpu_seconds += sum(cut.ran.ran) + sum(brief.ran)
        self._span_gpu_seconds += sum(cut.present.ran)
        busy = sum(map(_RAN_SECONDS.__lt__, brief.ran))
        one: object = brief if busy else None
        self._crowded = busy > 1
        for account, ran in zip(cut.ran.accounts, cut.ran.ran, strict=True):
            account.cpu_seconds += ran
            if ran > _RAN_SECONDS and account is not one:
                one, self._crowded = account, one is not None
        for track in self._tracks:
            track.ledger.add(cut.present if track.on_gpu else cut.ran)
        in_flight = self._in_flight
        for name, _ in set(brief.keys):
            in_flight.setdefault(name, 0)
        for account in cut.opened:
            if isinstance(account, Span):
                self._open += 1
                if account.scope is not None and not account.is_routed():
                    self._unrouted.append(account)
                account.counted_as = name = account.key[0]
                in_flight[name] = in_flight.get(name, 0) + 1
            else:
                account.begun()
        for account in cut.closed:
            if isinstance(account, Span):
                self._open -= 1
                in_flight[account.counted_as] -= 1
                self._closing.append(account)
            else:
                account.ended()

    def _count(self, span: Span) -> None:
        """Count an open span as in flight under the name that it has now."""
        span.counted_as = span.key[0]
        self._in_flight[span.counted_as] = self._in_flight.get(span.counted_as, 0) + 1

    def _route(self) -> list[Line]:
        """Book what requests are owed whose route has become known, and count them under its name."""
        lines: list[Line] = []
        waiting, self._unrouted = self._unrouted, []
        for span in waiting:
            if span.is_routed():
                lines.extend(Line("attributed", *part, owed, *span.key) for part, owed in span.take_owed())
                if span.closed is None and span.counted_as != span.key[0]:
                    self._in_flight[span.counted_as] -= 1
                    self._count(span)
            elif self.ending:
                lines.extend(Line("unattributed", *part, owed, reason="unrouted") for part, owed in span.take_owed())
                self._unrouted.append(span)
            else:
                self._unrouted.append(span)
        return lines

    def _settle(self, track: _Track, interval: Interval, brief: Brief) -> list[Line]:
        company = None
        if self._divided is not None:
            ours = self._span_gpu_seconds if track.on_gpu else self._span_cpu_seconds
            company = self._divided.company(track.sampler.info, interval, ours)
        other = 0.0
        if not track.on_gpu:
            other = self._share.other(interval.end, interval.seconds, self._span_cpu_seconds)
        lines, row = track.ledger.settle(interval, other, company, brief)
        track.ledger.weights = track.calibration.learn(row)
        return lines

    def _finish(self, brief: Brief) -> Sequence[Measurement]:
        """Close the books of the spans whose last tick is settled on every track."""
        ledgers = [track.ledger for track in self._tracks]
        until = min((ledger.settled_until for ledger in ledgers), default=float("inf"))
        began = max((ledger.began for ledger in ledgers), default=0.0)
        whole_since = max((ledger.whole_since for ledger in ledgers), default=0.0)
        settled: list[Span] = []
        waiting: list[Span] = []
        now = self._clock.now()
        offset = self._clock.unix() - now
        for span in self._closing:
            if span.held > 0 or max(span.closed or 0.0, span.parts_closed) > until:
                waiting.append(span)
                continue
            if span.opened < began and span.is_charged:
                span.lack()  # it began before the first reading
            elif span.opened >= whole_since and not span.is_charged:
                for track in self._tracks:  # it never ran, and no meter was away: that is 0 J
                    track.ledger.credit_nothing(span)
            span.settled_at, span.unix_seconds = now, span.opened + offset
            settled.append(span)
            if span.rated:
                self._rate(span)
            ancestor = span.parent
            while ancestor is not None:  # each takes what this one had of its own; whoever was told before stays
                if ancestor.settled_at is None or ancestor.settled_at == now:
                    ancestor.nested += span.nanojoules
                    ancestor.nested_cpu_seconds += span.cpu_seconds
                ancestor = ancestor.parent
        self._closing = waiting
        brief.settled_at, brief.unix_offset = now, offset
        if not len(brief):
            return tuple(settled)
        rows = range(len(brief))

        def objects() -> Sequence[Span]:
            return sorted([*settled, *brief.spans(rows, self._new_span)], key=lambda span: span.closed or 0.0)

        return Measurements(settled, brief, objects)

    def _rate(self, span: Span) -> None:
        """Learn what a request of this route takes per CPU second."""
        cpu_seconds = span.cpu_seconds + span.nested_cpu_seconds
        if span.quality is None or span.missing or cpu_seconds <= 0.0:
            return
        joules = (span.nanojoules + span.nested) / NANO
        rate = self.rates.get(span.key)
        if rate is None:
            self.rates[span.key] = Rate(joules, cpu_seconds, span.quality, span.gain)
            return
        if rate.cpu_seconds > _RATE_SECONDS:
            rate.joules, rate.cpu_seconds = rate.joules / 2.0, rate.cpu_seconds / 2.0
        rate.joules += joules
        rate.cpu_seconds += cpu_seconds
        rate.quality, rate.gain = span.quality, span.gain


def _track(meter: Meter, clock: Clock, tick_seconds: float, row_seconds: float, idle_watts: float | None) -> _Track:
    info = meter.info
    domains = [domain.id for domain in info.domains]
    on_gpu = info.domains[0].device == "gpu"
    return _Track(
        Sampler(meter, clock, tick_seconds),
        Ledger(domains, info.gain, info.quality),
        Calibration(
            domains,
            max(row_seconds, _ROW_PERIODS * info.period_seconds),
            info.idle_watts if on_gpu or idle_watts is None else idle_watts,
        ),
        on_gpu,
    )
