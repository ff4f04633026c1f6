"""Runs a coroutine and notices whether it ever had to wait."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def drive(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, tuple[T, bool]]:
    """Returns what the coroutine returns, and whether it waited: a read that did not was answered from memory."""
    waited = False
    step: Any = work.send
    with_: Any = None
    while True:
        try:
            awaited = step(with_)
        except StopIteration as done:
            return done.value, waited
        waited = True
        try:
            step, with_ = work.send, (yield awaited)
        except GeneratorExit:
            work.close()
            raise
        except BaseException as exc:  # noqa: BLE001 - handed on to whom it belongs
            step, with_ = work.throw, exc
