"""Waiting in tests for what will be true soon, without sleeping blindly."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

from valtier.embedded._directory import command_line

_POLL_S = 0.01


def wait_until(predicate: Callable[[], object], deadline_s: float = 10.0) -> None:
    """Returns when the predicate is true; asks every 10 ms.

    Raises:
        TimeoutError: it is still false after `deadline_s`.
    """
    deadline = time.monotonic() + deadline_s
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {deadline_s:g} s: {_describe(predicate)}")
        time.sleep(_POLL_S)


async def eventually(predicate: Callable[[], object | Awaitable[object]], deadline_s: float = 10.0) -> None:
    """Returns when the predicate, a function or a coroutine function, is true; the event loop runs meanwhile.

    Raises:
        TimeoutError: it is still false after `deadline_s`.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        result = predicate()
        if await result if inspect.isawaitable(result) else result:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {deadline_s:g} s: {_describe(predicate)}")
        await asyncio.sleep(_POLL_S)


def process_is_gone(pid: int) -> bool:
    """Tells whether no process has this id, or only a zombie."""
    return not command_line(pid)


def _describe(predicate: Callable[[], object]) -> str:
    try:
        return inspect.getsource(predicate).strip()
    except (OSError, TypeError):
        return repr(predicate)
