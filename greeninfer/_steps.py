"""Drives coroutines, generators and async generators step by step, so that their waits are not charged.

Each driver passes on whatever is sent or thrown in, and whatever comes out, untouched; ``asend`` values and handled
``athrow`` included, which a plain ``async for ...: yield`` loses.
"""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any

from greeninfer._running import Stepper, outcome_of


async def run_coroutine(coroutine: Coroutine[Any, Any, Any], stepper: Stepper) -> Any:
    """Await a coroutine; its steps on the event loop count as running."""
    return await _steps(coroutine, stepper, closes=True)


@types.coroutine
def _steps(awaitable: Any, stepper: Stepper, *, closes: bool) -> Generator[Any, Any, Any]:
    """Step anything with send, throw and close; ``closes`` says whether a normal return ends the span."""
    step, argument = awaitable.send, None
    while True:
        stepper.resume()
        try:
            waited_for = step(argument)
        except StopIteration as stop:
            if closes:
                stepper.finish("ok")
            else:
                stepper.pause()
            return stop.value
        except BaseException as error:
            stepper.finish(outcome_of(error))
            raise
        stepper.pause()
        try:
            step, argument = awaitable.send, (yield waited_for)
        except GeneratorExit:
            awaitable.close()
            stepper.abandon()
            raise
        except BaseException as error:
            step, argument = awaitable.throw, error


def run_generator(generator: Generator[Any, Any, Any], stepper: Stepper) -> Generator[Any, Any, Any]:
    """Iterate a generator; only the time inside it counts, not what the consumer does between items."""
    step: Any = generator.send
    argument: Any = None
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
            generator.close()
            raise
        except BaseException as error:
            step, argument = generator.throw, error


async def run_async_generator(generator: AsyncGenerator[Any, Any], stepper: Stepper) -> AsyncGenerator[Any, Any]:
    """Iterate an async generator; only its own steps count, neither its waits nor its consumer."""
    step: Any = generator.asend
    argument: Any = None
    while True:
        try:
            item = await _steps(step(argument), stepper, closes=False)
        except StopAsyncIteration:
            return
        try:
            step, argument = generator.asend, (yield item)
        except GeneratorExit:
            stepper.abandon()
            await generator.aclose()
            raise
        except BaseException as error:
            step, argument = generator.athrow, error
