"""The first door: ``measure``, for functions of every shape and for blocks; ``current``, ``batch`` and ``flush``."""

from __future__ import annotations

import copy
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload

import wrapt

from greeninfer import _installed
from greeninfer._accounts import Batch
from greeninfer._records import Outcome
from greeninfer._running import Stepper, close_span, current, here, open_span, outcome_of
from greeninfer._span import Span
from greeninfer._steps import run_async_generator, run_coroutine, run_generator

P = ParamSpec("P")
R = TypeVar("R")
