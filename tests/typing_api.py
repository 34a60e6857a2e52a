"""What a type checker must see of the API; checked by `mypy --strict`, never run.

An `assert_type` fails where a signature is lost, and an unused `type: ignore` fails where a wrong call is accepted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Protocol, assert_type

import greeninfer
from greeninfer import measure


class Predict(Protocol):
    """The exact shape of the functions below: names, keyword-only, default."""

    def __call__(self, text: str, *, top: int = 1) -> list[str]: ...


# Functions: bare, with a name, with a name and a model.
@measure
def bare(text: str, *, top: int = 1) -> list[str]:
    return [text] * top


@measure("classify")
def named(text: str, *, top: int = 1) -> list[str]:
    return [text] * top


@measure("classify", model="tfidf-lr", device="cpu", attributes={"shard": 3})
def modelled(text: str, *, top: int = 1) -> list[str]:
    return [text] * top


@measure(model="tfidf-lr")
def named_by_itself(text: str, *, top: int = 1) -> list[str]:
    return [text] * top


def functions() -> None:
    kept: list[Predict] = [bare, named, modelled, named_by_itself]
    assert_type(kept[0]("a", top=2), list[str])
    assert_type(bare("a", top=2), list[str])
    assert_type(modelled(text="a"), list[str])
    bare(1)  # type: ignore[arg-type]
    bare("a", 2)  # type: ignore[call-arg]
    named("a", bottom=2)  # type: ignore[call-arg]
    named()  # type: ignore[call-arg]
    modelled("a", top="2")  # type: ignore[arg-type]
    wrong: Callable[[int], str] = bare  # type: ignore[assignment]
    del wrong


# Methods of every kind, the decorator on either side of classmethod and staticmethod.
class Model:
    @measure
    def method(self, text: str) -> int:
        return len(text)

    @measure("predict", model="minilm")
    def named_method(self, text: str) -> int:
        return len(text)

    @classmethod
    @measure
    def of_class(cls, text: str) -> Model:
        return cls()

    @staticmethod
    @measure
    def static(text: str) -> bytes:
        return text.encode()

    @measure
    @classmethod
    def of_class_inside(cls, text: str) -> int:
        return len(text)

    @measure("predict")
    @staticmethod
    def static_inside(text: str) -> int:
        return len(text)

    @property
    @measure
    def size(self) -> int:
        return 1

    @measure
    async def asynchronous(self, text: str) -> float:
        return float(text)


def methods(model: Model) -> None:
    assert_type(model.method("a"), int)
    assert_type(Model.method(model, "a"), int)
    assert_type(model.named_method(text="a"), int)
    assert_type(Model.of_class("a"), Model)
    assert_type(model.of_class("a"), Model)
    assert_type(Model.static("a"), bytes)
    assert_type(model.static(text="a"), bytes)
    assert_type(Model.of_class_inside("a"), int)
    assert_type(model.of_class_inside("a"), int)
    assert_type(model.static_inside("a"), int)
    assert_type(model.size, int)
    model.method(1)  # type: ignore[arg-type]
    model.named_method()  # type: ignore[call-arg]
    Model.of_class(1)  # type: ignore[arg-type]
    Model.static(1)  # type: ignore[arg-type]


# The other three call shapes.
@measure
async def coroutine(text: str) -> float:
    return float(text)


@measure("stream")
def generator(text: str) -> Generator[str, int, bytes]:
    sent = yield text
    return bytes(sent)


@measure
def iterator(text: str) -> Iterator[str]:
    yield text


@measure("stream", model="gpt")
async def async_generator(text: str) -> AsyncGenerator[str, int]:
    yield text


@measure
async def async_iterator(text: str) -> AsyncIterator[str]:
    yield text


async def shapes(model: Model) -> None:
    pending = assert_type(coroutine("1"), Coroutine[Any, Any, float])
    assert_type(await pending, float)
    assert_type(await model.asynchronous("1"), float)
    assert_type(generator("a"), Generator[str, int, bytes])
    assert_type(iterator("a"), Iterator[str])
    assert_type(async_generator("a"), AsyncGenerator[str, int])
    assert_type(async_iterator("a"), AsyncIterator[str])
    await coroutine(1)  # type: ignore[arg-type]
    generator(1)  # type: ignore[arg-type]
    async_generator()  # type: ignore[call-arg]


# A callable that is no function, and a decorator kept for later.
class Called:
    def __call__(self, count: int) -> str:
        return "a" * count


async def others() -> None:
    assert_type(measure(Called())(3), str)
    assert_type(measure("rank")(len)([]), int)
    decorate = measure("rank", model="a")
    assert_type(decorate(bare)("a"), list[str])
    assert_type(await decorate(coroutine)("1"), float)


# The context manager, the span and the rest of the face.
def context() -> int:
    with measure("rerank", model="minilm") as span:
        assert_type(span, greeninfer.Span)
        assert_type(span.add_tokens(input=412, output=33, reasoning=128), None)
        with span.phase("decode"):
            pass
    assert_type(span.energy(timeout=1.0), greeninfer.Energy)
    assert_type(span.energy().joules, float | None)
    with greeninfer.batch([(span, 3.0), (span, 1.0)]):
        pass
    assert_type(greeninfer.current(), greeninfer.Span | None)
    greeninfer.flush()
    return 1


def swallows_nothing() -> int:
    # If mypy believed that the block may swallow an exception, it would miss a return here.
    with measure("rerank"):
        return 1


async def settled() -> None:
    async with measure("rerank") as span:
        assert_type(span, greeninfer.Span)
    assert_type(await span.settled(), greeninfer.Energy)


def wrong_arguments() -> None:
    measure(3)  # type: ignore[call-overload]
    measure("a", device=0)  # type: ignore[call-overload]
    measure("a", colour="red")  # type: ignore[call-overload]
    measure("a", "b")  # type: ignore[call-overload]
