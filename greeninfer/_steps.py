"""Drives coroutines, generators and async generators step by step, so that their waits are not charged.

Each driver passes on whatever is sent or thrown in, and whatever comes out, untouched; ``asend`` values and handled
``athrow`` included, which a plain ``async for ...: yield`` loses.
"""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any

from greeninfer._running import Carried, Stepper, outcome_of


async def run_coroutine(stepper: Stepper) -> Any:
    """Await a coroutine; its steps on the event loop count as running."""
    return await _awaited(stepper)


@types.coroutine
def _awaited(stepper: Stepper) -> Generator[Any, Any, Any]:
    return (yield from run_generator(stepper))  # what the loop sends to a coroutine, it takes as a generator does


class CarriedCoroutine:
    """A coroutine that works for a span which it did not open; in everything else it is the coroutine itself.

    Args:
        carried: charges the span for each step.
        work: the coroutine.
    """

    __slots__ = ("_carried", "_work")

    def __init__(self, carried: Carried, work: Any) -> None:
        self._carried = carried
        self._work = work

    def send(self, value: Any) -> Any:
        """Do a step."""
        self._carried.resume()
        try:
            return self._work.send(value)
        finally:
            self._carried.pause()

    def throw(self, *error: Any) -> Any:
        """Do a step that begins with an exception."""
        self._carried.resume()
        try:
            return self._work.throw(*error)
        finally:
            self._carried.pause()

    def close(self) -> None:
        """Close the coroutine."""
        self._work.close()

    def __await__(self) -> Any:
        """Return what steps it."""
        return _carried_steps(self)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the coroutine, as debuggers and tracebacks look at them."""
        return getattr(self._work, name)


Coroutine.register(CarriedCoroutine)  # so that event loops take it for what it is


def _carried_steps(work: CarriedCoroutine) -> Generator[Any, Any, Any]:
    step: Callable[..., Any] = work.send
    argument: Any = None
    while True:
        try:
            waited_for = step(argument)
        except StopIteration as stop:
            return stop.value
        try:
            step, argument = work.send, (yield waited_for)
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            step, argument = work.throw, error


def run_generator(stepper: Stepper) -> Generator[Any, Any, Any]:
    """Iterate a generator; only the time inside it counts, not what the consumer does between items."""
    generator = stepper.work
    step, argument = generator.send, None
    while True:
        stepper.resume()
        try:
            item = step(argument)
        except StopIteration as stop:
            stepper.finish("ok")
            return stop.value
        except BaseException as error:
            stepper.finish(outcome_of(error))
            raise
        stepper.pause()
        try:
            step, argument = generator.send, (yield item)
        except GeneratorExit:
            stepper.abandon()
            raise
        except BaseException as error:
            step, argument = generator.throw, error


async def run_async_generator(stepper: Stepper) -> AsyncGenerator[Any, Any]:
    """Iterate an async generator; only its own steps count, neither its waits nor its consumer."""
    generator = stepper.work
    asked = _first(generator)
    while True:
        try:
            item = await _item_steps(asked, stepper)
        except StopAsyncIteration:
            return
        try:
            asked = generator.asend((yield item))
        except GeneratorExit:
            await _closing_steps(generator.aclose(), stepper)
            raise
        except BaseException as error:
            asked = generator.athrow(error)


def _first(generator: AsyncGenerator[Any, Any]) -> Any:
    """Ask for the first item without telling the event loop of this generator: its driver is the one to close.

    A loop that shuts down closes all async generators that it knows of at once, and would find this one closing.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


@types.coroutine
def _item_steps(asked: Any, stepper: Stepper) -> Generator[Any, Any, Any]:
    """Step until the next item; what ends the generator closes the span."""
    step, argument = asked.send, None
    while True:
        stepper.resume()
        try:
            waited_for = step(argument)
        except StopIteration as item:
            stepper.pause()
            return item.value
        except BaseException as error:
            stepper.finish(outcome_of(error))
            raise
        stepper.pause()
        try:
            step, argument = asked.send, (yield waited_for)
        except GeneratorExit:
            asked.close()
            raise
        except BaseException as error:
            step, argument = asked.throw, error


@types.coroutine
def _closing_steps(closing: Any, stepper: Stepper) -> Generator[Any, Any, None]:
    """Step until the generator is closed because its consumer left; it lasted until its last item."""
    stepper.leaving()
    step, argument = closing.send, None
    while True:
        stepper.resume()
        try:
            waited_for = step(argument)
        except BaseException as error:
            stepper.finish("cancelled")
            if isinstance(error, StopIteration):
                return
            raise
        stepper.pause()
        try:
            step, argument = closing.send, (yield waited_for)
        except BaseException as error:
            step, argument = closing.throw, error
