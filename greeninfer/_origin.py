"""Who a request in another process is, as two headers: W3C Baggage and W3C Trace Context.

https://www.w3.org/TR/baggage/ and https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_plus

MAX_MEMBERS: Final = 64
"""Of a baggage: what everybody must pass on at least (W3C Baggage, "Limits")."""

MAX_BYTES: Final = 8192
"""Of a baggage, likewise."""

MAX_MEMBER_BYTES: Final = 4096
"""Of one of our members: the limit of earlier drafts, which OpenTelemetry's propagators still keep."""

_NAME: Final = "greeninfer.name"
_MODEL: Final = "greeninfer.model"
_BLANKS: Final = " \t"  # optional white space, RFC 7230 section 3.2.3

# Octets that W3C Baggage allows in a value and nobody takes for something else: "+" is a space to whoever decodes as
# HTML forms do, which OpenTelemetry for Python does and encodes so too, and some split a member at every "=".
_PLAIN: Final = "!#$&'()*-./:<>?@[]^_`{|}~"
_VALUE: Final = re.compile(r"(?:%[0-9A-Fa-f]{2}|[!#$&-+\x2d-:<-\[\]-~])*")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRACE: Final = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """Who a carrier says that the work is for; "" is what it does not say.

    Args:
        name: of the request.
        model: that it named.
        trace_id: of its trace, 32 hexadecimal digits, if that is sampled.
        trace_span_id: of its span in that trace, 16 hexadecimal digits.
    """

    name: str = ""
    model: str = ""
    trace_id: str = ""
    trace_span_id: str = ""


def write_baggage(before: str, origin: Origin) -> tuple[str, bool]:
    """Return a baggage that names this request and no other of ours, and whether there was room for all of it.

    Args:
        before: the baggage that is there, or "". Its other members stay as they are; ours give way to them, the
            model first.
        origin: has a name or a model.
    """
    said = [f"{key}={_encode(value)}" for key, value in ((_NAME, origin.name), (_MODEL, origin.model)) if value]
    members = [member.strip(_BLANKS) for member in before.split(",")]
    others = [member for member in members if member and _key(member) not in (_NAME, _MODEL)]
    ours = [member for member in said if len(member) <= MAX_MEMBER_BYTES]
    while ours and (len(others) + len(ours) > MAX_MEMBERS or _size(others + ours) > MAX_BYTES):
        ours.pop()
    return ",".join(others + ours), len(ours) == len(said)


def read_baggage(headers: list[str]) -> tuple[str, str]:
    """Return the name and the model that baggage headers tell, or ""; other members are none of ours.

    Raises:
        ValueError: if they are too long together, or one of our members is malformed.
    """
    size = _size(headers)
    if size > MAX_BYTES:
        raise ValueError(f"has {size} bytes, more than {MAX_BYTES}")
    found = {_NAME: "", _MODEL: ""}
    for member in ",".join(headers).split(","):
        key = _key(member)
        if key in found:
            found[key] = _decode(member.partition(";")[0].partition("=")[2].strip(_BLANKS))
    return found[_NAME], found[_MODEL]


def write_trace(origin: Origin) -> str:
    """Return a traceparent for the origin's trace, or "" without one."""
    parent = f"00-{origin.trace_id}-{origin.trace_span_id}-{_SAMPLED:02x}"
    return parent if _TRACE.fullmatch(parent) else ""


def read_trace(headers: list[str]) -> tuple[str, str]:
    """Return the trace and span ids of a sampled trace, or "" without one.

    Raises:
        ValueError: if it is no traceparent, or there are several.
    """
    if not headers:
        return "", ""
    match = _TRACE.fullmatch(headers[0].strip(_BLANKS))
    if match is None or len(headers) > 1:
        raise ValueError(f"is {short(headers)}, not one version-trace-span-flags in lower-case hexadecimal")
    version, trace_id, trace_span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest):
        raise ValueError(f"is {short(headers[0])}, which version {version} does not allow")
    if not (int(trace_id, 16) and int(trace_span_id, 16)):
        raise ValueError(f"is {short(headers[0])}, with an id of zeros")
    return (trace_id, trace_span_id) if int(flags, 16) & _SAMPLED else ("", "")


def short(value: object) -> str:
    """Return the beginning of a repr, for a log: it keeps a client's line breaks out."""
    return f"{value!r:.120}"


def _encode(value: str) -> str:
    # A lone surrogate, as in a name that is not UTF-8, is written as Prometheus labels of ours show it.
    return quote(value, _PLAIN, "utf-8", "backslashreplace")


def _decode(value: str) -> str:
    """Return what a value says; octets that are no UTF-8 become U+FFFD, as W3C Baggage wants it.

    Raises:
        ValueError: if it is too long, or has characters that must be percent-encoded and are not.
    """
    if len(value) > MAX_MEMBER_BYTES or not _VALUE.fullmatch(value):
        raise ValueError(f"says {short(value)}, which is too long or not percent-encoded")
    return _CONTROL.sub("\ufffd", unquote_plus(value))


def _key(member: str) -> str:
    return member.partition(";")[0].partition("=")[0].strip(_BLANKS)


def _size(members: list[str]) -> int:
    return len(",".join(members).encode("utf-8", "replace"))
