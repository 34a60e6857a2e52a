"""Every shape of work is charged what it burnt: 100 J within 1 %, and nothing that others burn while it waits."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter
from typing import Any

import pytest
from live import Live

from greeninfer import measure

Shape = Callable[[Live], None]
SHAPES: dict[str, Shape] = {}
NAME = "work"


def shape(function: Shape) -> Shape:
    SHAPES[function.__name__] = function
    return function


# Each shape burns 100 J inside the measured work and, where it can wait, 50 J of somebody else's meanwhile.


@shape
def function(live: Live) -> None:
    @measure(NAME)
    def predict() -> None:
        live.burn(100.0)

    predict()


@shape
def function_without_arguments_to_the_decorator(live: Live) -> None:
    @measure
    def predict() -> None:
        live.burn(100.0)

    predict.__qualname__ = "irrelevant: the name was taken at decoration"
    predict()


class Model:
    def __init__(self, live: Live) -> None:
        self.live = live

    @measure(NAME)
    def method(self) -> None:
        self.live.burn(100.0)

    @measure(NAME)
    @classmethod
    def outside_classmethod(cls, live: Live) -> None:
        assert cls is Model
        live.burn(100.0)

    @classmethod
    @measure(NAME)
    def inside_classmethod(cls, live: Live) -> None:
        assert cls is Model
        live.burn(100.0)

    @measure(NAME)
    @staticmethod
    def outside_staticmethod(live: Live) -> None:
        live.burn(100.0)

    @staticmethod
    @measure(NAME)
    def inside_staticmethod(live: Live) -> None:
        live.burn(100.0)

    @property
    @measure(NAME)
    def attribute(self) -> None:
        self.live.burn(100.0)

    @measure(NAME)
    def __call__(self) -> None:
        self.live.burn(100.0)

    @measure(NAME)
    async def coroutine(self) -> None:
        self.live.burn(60.0)
        await elsewhere(self.live)
        self.live.burn(40.0)

    @measure(NAME)
    @classmethod
    async def outside_class_coroutine(cls, live: Live) -> None:
        live.burn(60.0)
        await elsewhere(live)
        live.burn(40.0)

    @measure(NAME)
    def generator(self) -> Iterator[int]:
        self.live.burn(60.0)
        yield 1
        self.live.burn(40.0)

    @measure(NAME)
    async def async_generator(self) -> AsyncIterator[int]:
        self.live.burn(30.0)
        yield 1
        self.live.burn(30.0)
        await elsewhere(self.live)
        self.live.burn(40.0)


async def elsewhere(live: Live) -> None:
    """Wait for somebody else's 50 J."""

    async def neighbour() -> None:
        live.burn_apart(50.0)

    await asyncio.get_running_loop().create_task(neighbour())


SHAPES.update(
    {
        "method": lambda live: Model(live).method(),
        "method taken from the class": lambda live: Model.method(Model(live)),
        "measured in place": lambda live: measure(NAME)(functools.partial(live.burn, 100.0))(),
        "bound method": lambda live: measure(NAME)(live.burn)(100.0),
        "measured below functools.partial": lambda live: functools.partial(Model.method, Model(live))(),
        "classmethod, outside": lambda live: Model.outside_classmethod(live),
        "classmethod, outside, by its instance": lambda live: Model(live).outside_classmethod(live),
        "classmethod, inside": lambda live: Model.inside_classmethod(live),
        "staticmethod, outside": lambda live: Model.outside_staticmethod(live),
        "staticmethod, inside": lambda live: Model(live).inside_staticmethod(live),
        "property": lambda live: Model(live).attribute,
        "__call__": lambda live: Model(live)(),
        "async method": lambda live: asyncio.run(Model(live).coroutine()),
        "async classmethod, outside": lambda live: asyncio.run(Model.outside_class_coroutine(live)),
    }
)


@shape
def callable_object(live: Live) -> None:
    class Predictor:
        def __call__(self) -> None:
            live.burn(100.0)

    measure(NAME)(Predictor())()


@shape
def callable_object_that_is_async(live: Live) -> None:
    class Predictor:
        async def __call__(self) -> None:
            live.burn(60.0)
            await elsewhere(live)
            live.burn(40.0)

    asyncio.run(measure(NAME)(Predictor())())


@shape
def partial_of_a_coroutine_function(live: Live) -> None:
    async def predict(first: float, second: float) -> None:
        live.burn(first)
        await elsewhere(live)
        live.burn(second)

    asyncio.run(measure(NAME)(functools.partial(predict, 60.0))(40.0))


@shape
def coroutine(live: Live) -> None:
    @measure(NAME)
    async def predict() -> None:
        live.burn(30.0)
        await asyncio.sleep(0)
        live.burn(30.0)
        await elsewhere(live)
        live.burn(40.0)

    asyncio.run(predict())


@shape
def coroutine_made_of_a_generator(live: Live) -> None:
    @measure(NAME)
    @types.coroutine
    def predict() -> Iterator[Any]:
        live.burn(60.0)
        yield from elsewhere(live).__await__()
        live.burn(40.0)

    async def main() -> None:
        await predict()

    asyncio.run(main())


@shape
def coroutine_as_a_task_beside_another(live: Live) -> None:
    @measure(NAME)
    async def predict() -> None:
        for _ in range(10):
            live.burn(10.0)
            live.tick()
            await asyncio.sleep(0)

    async def neighbour() -> None:
        for _ in range(10):
            live.burn_apart(5.0)
            await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(predict(), neighbour())

    asyncio.run(both())


@shape
def coroutine_that_awaits_a_measured_one(live: Live) -> None:
    @measure("inner")
    async def inner() -> None:
        live.burn_apart(50.0)
        await elsewhere(live)

    @measure(NAME)
    async def predict() -> None:
        live.burn_apart(60.0)
        await inner()
        live.burn_apart(40.0)

    asyncio.run(predict())
    assert live.joules("inner") == pytest.approx(50.0, rel=0.01)


@shape
def generator(live: Live) -> None:
    for _ in Model(live).generator():
        live.burn_apart(50.0)


@shape
def generator_that_delegates(live: Live) -> None:
    def tail() -> Iterator[int]:
        live.burn(30.0)
        yield 2
        live.burn(10.0)

    @measure(NAME)
    def predict() -> Iterator[int]:
        live.burn(60.0)
        yield 1
        yield from tail()

    for _ in predict():
        live.burn_apart(50.0)


@shape
def async_generator(live: Live) -> None:
    async def consume() -> None:
        async for _ in Model(live).async_generator():
            live.burn_apart(50.0)

    asyncio.run(consume())


@shape
def with_block(live: Live) -> None:
    with measure(NAME):
        live.burn(100.0)


@shape
def with_block_in_a_measured_coroutine(live: Live) -> None:
    @measure("outer")
    async def outer() -> None:
        with measure(NAME):
            live.burn_apart(60.0)
            await elsewhere(live)
            live.burn_apart(40.0)

    asyncio.run(outer())


@shape
def async_with_block(live: Live) -> None:
    async def predict() -> None:
        async with measure(NAME):
            live.burn(100.0)

    asyncio.run(predict())


@pytest.mark.parametrize("name", SHAPES)
def test_a_hundred_joules_are_charged(name: str) -> None:
    with Live() as live:
        SHAPES[name](live)
        charged = [each for each in live.settle() if each.key[0] not in ("inner", "outer")]
        assert len(charged) == 1
        energy = charged[0].energy()
        assert energy.joules == pytest.approx(100.0, rel=0.01)
        assert energy.complete
        assert not energy.provisional
        assert charged[0].outcome == "ok"
        assert live.open_spans() == {}


def test_the_name_is_the_qualified_name() -> None:
    with Live() as live:

        class Classifier:
            @measure
            def predict(self) -> None: ...

            @measure
            @classmethod
            def load(cls) -> None: ...

        Classifier().predict()
        Classifier.load()
        where = "test_the_name_is_the_qualified_name.<locals>.Classifier"
        assert {each.key for each in live.settle()} == {(f"{where}.predict", ""), (f"{where}.load", "")}


def test_name_model_and_attributes_reach_the_exporters() -> None:
    with Live() as live:

        @measure("classify", model="tfidf-lr", attributes={"revision": 3})
        def predict() -> None: ...

        predict()
        with measure("rerank", model="minilm", attributes={"k": 10}) as span:
            span.set_attribute("rows", 7)
        assert {each.key: each.attributes for each in live.settle()} == {
            ("classify", "tfidf-lr"): {"revision": 3},
            ("rerank", "minilm"): {"k": 10, "rows": 7},
        }


def test_attributes_of_one_span_do_not_reach_the_next() -> None:
    with Live():
        door = measure("rerank", attributes={"k": 10})
        with door as first:
            first.set_attribute("user", "first")
        with door as second:
            pass
        assert (first.attributes, second.attributes) == ({"k": 10, "user": "first"}, {"k": 10})


@pytest.mark.parametrize("shape_name", ["function", "coroutine", "generator", "async_generator", "with_block"])
def test_a_span_lasts_from_open_to_close_whatever_it_runs(shape_name: str) -> None:
    with Live() as live:
        begun = perf_counter()
        SHAPES[shape_name](live)
        outside = perf_counter() - begun
        (measurement,) = live.settle()
        assert measurement.seconds <= outside
        # Everything except the building of the shape itself is inside; 0.5 ms is its shortest piece of work.
        assert measurement.seconds >= 0.001
        assert measurement.cpu_seconds <= measurement.seconds + 1e-4
