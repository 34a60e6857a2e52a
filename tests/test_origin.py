"""Who a request is, as W3C Baggage and W3C Trace Context: against headers written by hand from the two documents."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greeninfer._origin import (
    MAX_BYTES,
    MAX_MEMBER_BYTES,
    MAX_MEMBERS,
    Origin,
    read_baggage,
    read_trace,
    write_baggage,
    write_trace,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


# Baggage, written


@pytest.mark.parametrize(
    ("origin", "baggage"),
    [
        (Origin("classify"), "greeninfer.name=classify"),
        (Origin("classify", "tfidf-lr"), "greeninfer.name=classify,greeninfer.model=tfidf-lr"),
        (Origin("/predict/{x}"), "greeninfer.name=/predict/{x}"),
        (Origin("main.<locals>.run"), "greeninfer.name=main.<locals>.run"),
        (Origin("bank question"), "greeninfer.name=bank%20question"),
        (Origin('a,b;c=d+e%f"g\\h'), "greeninfer.name=a%2Cb%3Bc%3Dd%2Be%25f%22g%5Ch"),
        (Origin("größe ⚡"), "greeninfer.name=gr%C3%B6%C3%9Fe%20%E2%9A%A1"),
        (Origin("new\nline"), "greeninfer.name=new%0Aline"),
        (Origin("caf\udce9"), "greeninfer.name=caf%5Cudce9"),
        (Origin("", "minilm"), "greeninfer.model=minilm"),
    ],
)
def test_a_request_as_baggage(origin: Origin, baggage: str) -> None:
    assert write_baggage("", origin) == (baggage, True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("userId=alice", "userId=alice,greeninfer.name=classify"),
        ("key1=value1;property1;property2, key2 = value2", "key1=value1;property1;property2,key2 = value2,{ours}"),
        ("greeninfer.name=old,userId=alice", "userId=alice,{ours}"),
        (" greeninfer.name = old ;p=1 , greeninfer.model=old", "{ours}"),
        ("greeninfer.names=other,GREENINFER.NAME=other", "greeninfer.names=other,GREENINFER.NAME=other,{ours}"),
        (",, ,", "{ours}"),
        ("no equals sign", "no equals sign,{ours}"),
    ],
)
def test_what_others_say_stays_and_what_we_said_before_goes(before: str, after: str) -> None:
    ours = "greeninfer.name=classify"
    assert write_baggage(before, Origin("classify")) == (after.replace("{ours}", ours), True)


@pytest.mark.parametrize(
    ("others", "room"), [(62, ["greeninfer.name=n", "greeninfer.model=m"]), (63, ["greeninfer.name=n"]), (64, [])]
)
def test_a_baggage_has_at_most_64_members(others: int, room: list[str]) -> None:
    members = [f"k{each}=v" for each in range(others)]
    baggage, complete = write_baggage(",".join(members), Origin("n", "m"))
    assert baggage.split(",") == members + room
    assert len(baggage.split(",")) <= MAX_MEMBERS == 64
    assert complete == (len(room) == 2)


@pytest.mark.parametrize(
    ("spare", "room"),
    [(36, ",greeninfer.name=n,greeninfer.model=m"), (35, ",greeninfer.name=n"), (17, ",greeninfer.name=n"), (16, "")],
)
def test_a_baggage_has_at_most_8192_bytes(spare: int, room: str) -> None:
    # 18 bytes are ",greeninfer.name=n", 19 are ",greeninfer.model=m"; so 37 bytes hold both.
    assert MAX_BYTES == 8192
    other = "k=" + "v" * (8192 - 3 - spare)
    assert write_baggage(other, Origin("n", "m")) == (other + room, len(room) == 37)


def test_a_name_that_no_propagator_would_pass_on_is_left_out() -> None:
    longest = "n" * (MAX_MEMBER_BYTES - len("greeninfer.name="))
    assert write_baggage("", Origin(longest)) == (f"greeninfer.name={longest}", True)
    assert write_baggage("", Origin(longest + "n")) == ("", False)


# Baggage, read


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ("", "")),
        ([""], ("", "")),
        (["userId=alice,serverNode=DF%2028,isProduction=false"], ("", "")),
        (["greeninfer.name=classify,greeninfer.model=tfidf-lr"], ("classify", "tfidf-lr")),
        (["userId =   alice , greeninfer.name\t=\t classify \t; p = 1;q"], ("classify", "")),
        (["userId=alice", "greeninfer.model=m", "greeninfer.name=n"], ("n", "m")),
        (["greeninfer.name=DF%2028"], ("DF 28", "")),
        (["greeninfer.name=DF+28"], ("DF 28", "")),
        (["greeninfer.name=a=b==c"], ("a=b==c", "")),
        (["greeninfer.name=first,greeninfer.name=last"], ("last", "")),
        (["greeninfer.name="], ("", "")),
        (["greeninfer.name"], ("", "")),
        (["greeninfer.name=%e2%9A%a1"], ("⚡", "")),
        (["greeninfer.name=caf%E9"], ("caf\ufffd", "")),
        (["greeninfer.name=a%0Ab%0D%00%7F%C2%85%E2%80%A8c"], ("a\ufffdb\ufffd\ufffd\ufffd\ufffd\ufffdc", "")),
        (["broken=%zz,\x00, ;;,==,greeninfer.name=n"], ("n", "")),
        (["Greeninfer.Name=n"], ("", "")),
        (["k=" + "v" * (8192 - 20) + ",greeninfer.name=n"], ("n", "")),
    ],
)
def test_what_a_baggage_says(headers: list[str], expected: tuple[str, str]) -> None:
    assert read_baggage(headers) == expected


@pytest.mark.parametrize(
    "header",
    [
        "greeninfer.name=%",
        "greeninfer.name=%4",
        "greeninfer.name=%zz",
        "greeninfer.name=100%",
        "greeninfer.name=two words",
        'greeninfer.name="quoted"',
        "greeninfer.name=back\\slash",
        "greeninfer.name=caf\xe9",
        "greeninfer.name=nul\0",
        "greeninfer.model=%zz",
        "greeninfer.name=" + "n" * (MAX_MEMBER_BYTES + 1),
        "k=" + "v" * (8192 - 19) + ",greeninfer.name=n",
    ],
)
def test_a_malformed_baggage_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match=r"^(says|has) ") as refused:
        read_baggage([header])
    assert len(str(refused.value)) < 200
    assert "\0" not in str(refused.value)


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=200)


@given(name=NAMES, model=NAMES | st.just(""))
@example(name=" leading and trailing ", model="+")
@example(name=",greeninfer.name=other", model=";p")
def test_any_name_that_can_stand_in_a_log_comes_back_as_it_was(name: str, model: str) -> None:
    baggage, complete = write_baggage("a=1;greeninfer.name=x, b = 2", Origin(name, model))
    assert complete
    assert read_baggage([baggage]) == (name, model)
    assert baggage.isascii()


@given(before=st.text(max_size=100), name=st.text(min_size=1, max_size=300))
def test_whatever_stood_there_our_name_is_legible_and_never_breaks_a_line(before: str, name: str) -> None:
    baggage, complete = write_baggage(before, Origin(name))
    assert complete
    assert len(read_baggage([baggage])[0].splitlines()) == 1


# Trace Context


@pytest.mark.parametrize(
    ("origin", "parent"),
    [
        (Origin(trace_id=TRACE, trace_span_id=SPAN), PARENT),
        (Origin("classify"), ""),
        (Origin(trace_id=TRACE), ""),
        (Origin(trace_span_id=SPAN), ""),
        (Origin(trace_id="x" * 32, trace_span_id=SPAN), ""),
        (Origin(trace_id=TRACE.upper(), trace_span_id=SPAN), ""),
    ],
)
def test_a_trace_as_traceparent(origin: Origin, parent: str) -> None:
    assert write_trace(origin) == parent


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ("", "")),
        ([PARENT], (TRACE, SPAN)),
        ([f" \t{PARENT} "], (TRACE, SPAN)),
        ([f"00-{TRACE}-{SPAN}-03"], (TRACE, SPAN)),
        ([f"00-{TRACE}-{SPAN}-00"], ("", "")),
        ([f"00-{TRACE}-{SPAN}-02"], ("", "")),
        ([f"cc-{TRACE}-{SPAN}-01"], (TRACE, SPAN)),
        ([f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"], (TRACE, SPAN)),
    ],
)
def test_what_a_traceparent_says(headers: list[str], expected: tuple[str, str]) -> None:
    assert read_trace(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [""],
        ["garbage"],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-01-more"],
        [f"00-{TRACE}-{SPAN}-01-"],
        [f"cc-{TRACE}-{SPAN}-01.more"],
        [f"00-{TRACE.upper()}-{SPAN}-01"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[:-1]}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-1"],
        [f"0-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}"],
        [f"{PARENT}\n"],
        [f"00-{TRACE}-{SPAN}-01-\nGET /"],
        [f"00-{TRACE.replace('4', '٤')}-{SPAN}-01"],
        [PARENT, PARENT],
        ["-" * 100_000],
    ],
)
def test_a_malformed_traceparent_is_refused(headers: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^is ") as refused:
        read_trace(headers)
    assert len(str(refused.value)) < 250
    assert "\n" not in str(refused.value)
