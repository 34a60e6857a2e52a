"""A door between processes: who a request is, written into a carrier here and read from it there.

A carrier is whatever travels with the work: the headers of a call, or of a message in a queue, or the payload. Name and
model go in it as W3C Baggage, the trace as W3C Trace Context, so what passes those on passes ours on (`_origin.py`)::

    carrier = {}                                    # in the process that was asked
    greeninfer.inject(carrier)

    with greeninfer.extract(carrier) as origin:     # in the one that works
        predict(rows)                               # measured: its span.origin is origin.name

Each process measures what it does itself; no joules travel. The origin says whose work they were spent on.

An origin is no metric label. It comes from outside, and so from a client where nobody takes it out on the way: as a
label it would let everyone who can send a header make as many series as he likes, and put any name on our joules. It
is for logs and traces, where it costs a line. Control characters, which would break such a line, are read as U+FFFD.

What is malformed counts as not there; it is counted, logged once, and never becomes an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from time import perf_counter
from typing import Any, Final

from greeninfer._account import SpanAccount
from greeninfer._installed import installed
from greeninfer._origin import Origin, read_baggage, read_trace, short, write_baggage, write_trace
from greeninfer._records import Failure
from greeninfer._remote import Remote
from greeninfer._running import current
from greeninfer._span import Span

MAX_HEADERS: Final = 1000
"""Of a carrier that are looked through. In a larger mapping, such as a payload, our headers must be in lower case."""

_BAGGAGE: Final = "baggage"
_TRACEPARENT: Final = "traceparent"
_UNKNOWN: Final = Origin()


def inject(carrier: MutableMapping[str, str], span: Span | None = None) -> None:
    """Write into a carrier whose work it goes with: the request that is open here, or that of a given span.

    The name is that of the whole request, the model that of the innermost span that names one. What else is in the
    carrier stays; a baggage that is full goes without ours. Without a request nothing is written, but what
    ``extract`` has read here is passed on. A carrier that cannot be written to is counted and logged once.

    Args:
        carrier: a mapping of strings, such as the headers of a call.
        span: default: the innermost open one.

    Raises:
        TypeError: if ``span`` is something else than a span.
    """
    if span is not None and not isinstance(span, Span):
        raise TypeError(f"span={span!r} is not possible; allowed: a Span of greeninfer, or None for the current one")
    account = span or current.get()
    if account is None or installed().settings.disabled:
        return
    origin = _origin_of(account)
    try:
        complete = _write(carrier, origin)
    except Exception as error:  # noqa: BLE001 - the carrier is foreign code, in the middle of a request
        _note("malformed", f"cannot write to a {type(carrier).__name__}: {type(error).__name__}")
        return
    if not complete:
        _note("full", f"no room in the baggage for {short(origin.name)} and {short(origin.model)}")


def extract(carrier: Mapping[str, str] | Iterable[tuple[bytes, bytes]]) -> AbstractContextManager[Origin]:
    """Return a context manager in which new requests are linked to the one that a carrier tells of.

    ``with extract(carrier) as origin`` gives what the carrier says. Spans opened inside that have no parent in this
    process get ``origin.name`` as their ``origin``, and its trace where they have none of their own. Where a span of
    this process is open already, work belongs to that one's request, and nothing is linked. Of two, one inside
    the other, the inner one counts, unless its carrier says nothing.

    Args:
        carrier: a mapping with names in any case, or pairs as in the ``headers`` of an ASGI scope.
    """
    return nullcontext(_UNKNOWN) if installed().settings.disabled else _linked(_read(carrier))


@contextmanager
def _linked(origin: Origin) -> Iterator[Origin]:
    """Let spans without a parent in this process be children of the origin."""
    before = parent = current.get()
    while parent is not None and parent.closed is not None:  # or one that was not left where it was entered stays
        parent = parent.parent
    if origin == _UNKNOWN or not (parent is None or isinstance(parent, Remote)):
        yield origin
        return
    remote = Remote(origin.name, origin.model, origin.trace_id, origin.trace_span_id, parent)
    current.set(remote)
    try:
        yield origin
    finally:
        remote.closed = perf_counter()
        if current.get() is remote:
            current.set(before)


def _origin_of(account: SpanAccount) -> Origin:
    """Return what another process has to know of the request that an account is part of."""
    if isinstance(account, Remote):
        return Origin(account.name, account.model, account.trace_id, account.trace_span_id)
    name = model = trace_id = trace_span_id = ""
    each: SpanAccount | None = account
    if isinstance(each, Span):
        trace_id, trace_span_id = each.trace_id, each.trace_span_id
    while isinstance(each, Span):
        name, model = each.name, model or each.model
        each = each.parent
    return Origin(name, model, trace_id, trace_span_id)


def _write(carrier: MutableMapping[str, str], origin: Origin) -> bool:
    """Write the headers; return whether the baggage had room for all of ours."""
    keys = carrier.keys()
    few = keys if len(keys) <= MAX_HEADERS else [key for key in (_BAGGAGE, _TRACEPARENT) if key in carrier]
    spelled = {key.lower(): key for key in few if isinstance(key, str)}
    complete = True
    if origin.name or origin.model:
        header = spelled.get(_BAGGAGE, _BAGGAGE)
        baggage, complete = write_baggage(carrier.get(header, ""), origin)
        if baggage:
            carrier[header] = baggage
        elif header in carrier:
            del carrier[header]  # it named another request
    parent = write_trace(origin)
    if parent and _TRACEPARENT not in spelled:
        carrier[_TRACEPARENT] = parent
    return complete


def _read(carrier: object) -> Origin:
    """Return what a carrier says; a header that is malformed counts as not there."""
    name = model = trace_id = trace_span_id = ""
    try:
        headers = _headers(carrier)
    except Exception as error:  # noqa: BLE001 - the carrier is foreign code, in the middle of a request
        _note("malformed", f"cannot read a {type(carrier).__name__}: {type(error).__name__}")
        return _UNKNOWN
    try:
        name, model = read_baggage([_text(value) for value in headers[_BAGGAGE]])
    except ValueError as error:
        _note("malformed", f"baggage {error}")
    try:
        trace_id, trace_span_id = read_trace([_text(value) for value in headers[_TRACEPARENT]])
    except ValueError as error:
        _note("malformed", f"traceparent {error}")
    return Origin(name, model, trace_id, trace_span_id)


def _headers(carrier: Any) -> dict[str, list[object]]:
    """Return our headers out of whatever the carrier is, with all values of each."""
    found: dict[str, list[object]] = {_BAGGAGE: [], _TRACEPARENT: []}
    if isinstance(carrier, Mapping) and len(carrier) > MAX_HEADERS:
        return {header: [carrier[header]] if header in carrier else [] for header in found}
    pairs = carrier.items() if hasattr(carrier, "items") else carrier
    for key, value in islice(pairs, MAX_HEADERS):
        header = key.decode("latin-1") if isinstance(key, bytes) else key
        if isinstance(header, str) and header.lower() in found:
            found[header.lower()].append(value)
    return found


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise ValueError(f"is a {type(value).__name__}, not a string")


def _note(reason: str, detail: str) -> None:
    installed().note(Failure("carrier", reason), detail)
