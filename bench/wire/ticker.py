"""A clock that ticks finer than an event loop's timers, which uvloop rounds to a millisecond."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_S = 200e-6
COARSE_TICK_S = 1e-3


def tick_s() -> float:
    """How long a tick takes on this system."""
    return TICK_S if sys.platform == "linux" else COARSE_TICK_S


@contextmanager
def ticking(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Iterator[None]:
    """Calls back at each tick while the block runs: by a timerfd on Linux, elsewhere by the loop's own timer."""
    if sys.platform == "linux":
        with _timerfd() as timer:

            def ticked() -> None:
                os.read(timer, 8)
                callback()

            loop.add_reader(timer, ticked)
            try:
                yield
            finally:
                loop.remove_reader(timer)
    else:
        with _coarse(loop, callback):
            yield


@contextmanager
def _timerfd() -> Iterator[int]:
    """A file descriptor that is readable at each tick. (Python has `os.timerfd_create` from 3.13 on.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create failed")
    try:
        interval_ns = int(TICK_S * 1e9)
        setting = (ctypes.c_long * 4)(0, interval_ns, 0, interval_ns)  # struct itimerspec
        if libc.timerfd_settime(timer, 0, ctypes.byref(setting), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")
        yield timer
    finally:
        os.close(timer)


@contextmanager
def _coarse(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Iterator[None]:
    handle: asyncio.TimerHandle

    def ticked() -> None:
        nonlocal handle
        handle = loop.call_later(COARSE_TICK_S, ticked)
        callback()

    handle = loop.call_later(COARSE_TICK_S, ticked)
    try:
        yield
    finally:
        handle.cancel()
