"""The screen: draws one frame after the other on the terminal, hears keys, and leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator

from rich.console import Console
from rich.live import Live

from valtier.top.frame import Frame
from valtier.top.view import draw
from valtier.top.watch import Watch

_PIPE_WIDTH = 140
"""Where the output is no terminal."""
_KEYS = "q quit   b big keys   n next prefix   space now"


async def run(watch: Watch, *, every_s: float) -> None:
    """Draws a frame every so many seconds, until `q`, Ctrl-C or SIGTERM. The terminal is then as it was before."""
    console = Console(highlight=False)
    stopped, hurried = asyncio.Event(), asyncio.Event()

    def pressed(key: str) -> None:
        if key in ("q", "Q", "\x04"):
            stopped.set()
        elif key in ("b", "B"):
            watch.big = not watch.big
        elif key in ("n", "N"):
            watch.next_prefix()
        hurried.set()

    def stop() -> None:
        stopped.set()
        hurried.set()

    with _signals(stop), _keys(pressed), Live(console=console, screen=True, auto_refresh=False) as live:
        while not stopped.is_set():
            hurried.clear()
            frame = await _unless(stopped, watch.frame())
            if frame is None:
                break
            live.update(draw(frame, width=console.width, height=console.height, keys=_KEYS), refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await hurried.wait()


async def _unless(stopped: asyncio.Event, asking: Coroutine[None, None, Frame]) -> Frame | None:
    """Returns the frame, or nothing as soon as it is stopped: a Valkey that hangs keeps nobody here."""
    frame, stop = asyncio.create_task(asking), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((frame, stop), return_when=asyncio.FIRST_COMPLETED)
        return await frame if frame.done() else None
    finally:
        frame.cancel()
        stop.cancel()
        await asyncio.wait((frame, stop))


def print_once(frame: Frame) -> None:
    """Prints a frame, all of it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    console.print(draw(frame, width=console.width))


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Calls for each key, without waiting for a line's end and without an echo, where there is a keyboard."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # which only terminals have
    import tty

    loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def read() -> None:
        data = os.read(number, 64)
        if not data:  # the terminal is gone
            loop.remove_reader(number)
            pressed("q")
        for key in data.decode("utf-8", "replace"):
            pressed(key)

    tty.setcbreak(number)
    loop.add_reader(number, read)
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
