"""Random requests that overlap on one event loop, held against a model that knows what each of them does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import Live, wait_until_asleep

from asgi.wire import GONE, REQUEST, Scope, Wire, body, http, start, watched
from greeninfer import EnergyMiddleware, measure
from greeninfer._energy import Outcome
from greeninfer._records import NANO


class ModelError(Exception):
    pass


Step = tuple[str, int]
JOULES = st.integers(1, 9)
STEPS = st.lists(
    st.one_of(
        *(st.tuples(st.just(kind), JOULES) for kind in ("burn", "burn", "task", "thread", "child")),
        *(st.tuples(st.just(kind), st.just(0)) for kind in ("pause", "pause", "receive", "last chunk", "name")),
        st.tuples(st.just("start"), st.sampled_from([200, 404, 500])),
        st.tuples(st.just("chunk"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["raise", "cancel", "finish"]), st.just(0)),
    ),
    max_size=8,
)
SAID = st.lists(st.sampled_from([REQUEST, REQUEST, GONE]), max_size=3)


@dataclass
class Expected:
    """What the model says of a request: plain statements, none of them ours."""

    name: str = "(unmatched)"
    outcome: Outcome = "ok"
    joules: float = 0.0
    child_joules: float = 0.0
    complete: bool = False
    gone: bool = False
    status: int | None = None
    first_byte: bool = False

    def play(self, script: list[Step], said: list[Any], number: int) -> Expected:
        said = [*said]
        for kind, value in script:
            if kind in ("burn", "task", "thread"):
                self.joules += value
            elif kind == "child":
                self.child_joules += value
            elif kind == "name" and self.status is None:  # routers route before anything is answered
                self.name = f"/route{number % 3}"
            elif kind == "start":
                self.status = value
            elif kind in ("chunk", "last chunk"):
                self.first_byte = self.first_byte or value > 0 or kind == "last chunk"
                self.complete = self.complete or kind == "last chunk"
            elif kind == "receive":
                if said and said.pop(0) is GONE and not self.complete:
                    self.gone = True
            elif kind == "finish":
                break
            elif kind == "cancel":
                self.outcome = "cancelled"
                return self
            elif kind == "raise":
                self.outcome = "cancelled" if self.gone else "error"
                return self
        if self.gone:
            self.outcome = "cancelled"
        elif not self.complete or (self.status or 200) >= 500:
            self.outcome = "error"
        return self


class Service:
    """Does as the script of each request says."""

    def __init__(self, live: Live, scripts: list[list[Step]]) -> None:
        self.live = live
        self.scripts = scripts
        self.alone = threading.Lock()

    def burn(self, joules: int) -> None:
        """Burn while no other thread works: what it did would be charged, too."""
        with self.alone:
            me = threading.current_thread()
            others = [each for each in threading.enumerate() if each is not me]
            wait_until_asleep([each for each in others if not each.name.startswith("greeninfer")])
            self.live.burn_apart(float(joules))

    async def burn_later(self, joules: int) -> None:
        await asyncio.sleep(0)
        self.burn(joules)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        number = int(scope["path"][1:])
        started = False
        for kind, value in self.scripts[number]:
            if kind == "burn":
                self.burn(value)
            elif kind == "task":
                await asyncio.create_task(self.burn_later(value))
            elif kind == "thread":
                await asyncio.to_thread(self.burn, value)
            elif kind == "child":
                await measure("child")(self.burn_later)(value)
            elif kind == "pause":
                await asyncio.sleep(0)
            elif kind == "name":
                if not started:
                    scope["path_template"] = f"/route{number % 3}"
            elif kind == "start":
                started = True
                await send(start(value))
            elif kind in ("chunk", "last chunk"):
                await send(body(b"x" * value, more=kind == "chunk"))
            elif kind == "receive":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await receive()
            elif kind == "finish":
                break
            elif kind == "cancel":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            else:
                raise ModelError


class Server(Wire):
    """Says what the test says and no more."""

    async def send(self, message: Any) -> None:
        self.sent.append(message)


@given(st.lists(st.tuples(STEPS, SAID), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_requests_are_what_the_model_says(requests: list[tuple[list[Step], list[Any]]]) -> None:
    scripts = [script for script, _ in requests]

    async def one(number: int, said: list[Any]) -> str:
        wire = Server(REQUEST)
        await wire.receive()
        for message in said:
            wire.say(message)
        try:
            await middleware(http(f"/{number}"), wire.receive, wire.send)
        except ModelError:
            return "raised"
        except asyncio.CancelledError:
            return "cancelled"
        return "returned"

    async def main() -> list[str]:
        tasks = [asyncio.create_task(one(number, said)) for number, (_, said) in enumerate(requests)]
        return await asyncio.gather(*tasks)

    with watched() as live:
        middleware = EnergyMiddleware(Service(live, scripts))
        asyncio.run(main())
        expected = [Expected().play(script, said, number) for number, (script, said) in enumerate(requests)]
        settled = [each for each in live.settle() if each.key[0] != "child"]
        assert len(settled) == len(requests)
        found = sorted((each.key[0], each.outcome, each.first_byte_seconds is not None) for each in settled)
        assert found == sorted((each.name, each.outcome, each.first_byte) for each in expected)
        # Two threads hand over to each other: what one still does then falls into the other's tick.
        handed = sum(value for script in scripts for kind, value in script if kind == "thread")
        for name in {each.name for each in expected}:
            joules = sum(each.joules for each in expected if each.name == name)
            charged = sum(each.nanojoules for each in settled if each.key[0] == name) / NANO
            assert charged == pytest.approx(joules, rel=0.02, abs=0.1 + 0.2 * handed)
        children = sum(each.child_joules for each in expected)
        assert live.joules("child") == pytest.approx(children, rel=0.02, abs=0.1 + 0.2 * handed)
        total = sum(each.energy().total_joules or 0.0 for each in settled)
        assert total == pytest.approx(
            children + sum(each.joules for each in expected), rel=0.02, abs=0.1 + 0.2 * handed
        )
