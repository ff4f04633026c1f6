"""What is left of a lost connection: the commands that may be sent on the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from valtier.errors import OutcomeUnknownError, UnavailableError, ValkeyError

Queued = tuple["asyncio.Future[Any]", bytes]
"""A command that was sent or is about to be: the future of its reply, and its packed bytes."""


class Again(NamedTuple):
    """A command of a lost connection that may be sent on the next one."""

    future: asyncio.Future[Any]
    packed: bytes
    left_s: float
    """What is left of its deadline, in seconds."""
    written: bool
    """It may have run, and is harmless to repeat; else it never left."""


def marked(commands: Iterable[Queued], left_s: float, *, written: bool) -> list[Again]:
    """Returns the commands with what is known of them."""
    return [Again(future, packed, left_s, written) for future, packed in commands]


def still_open(commands: Iterable[Queued], *, but: Iterable[Queued]) -> list[Queued]:
    """Returns the commands that somebody waits for and that are not among `but`."""
    others = {id(future) for future, _ in but}
    return [queued for queued in commands if not queued[0].done() and id(queued[0]) not in others]


def lost(command: Again) -> ValkeyError:
    """Returns the error for a command that is not sent again after all."""
    if command.written:
        return OutcomeUnknownError("the connection to Valkey was lost; the command may have run")
    return UnavailableError("the connection to Valkey was lost before the command was sent")


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Fails a future, unless it is done: whoever awaits it is told, and nobody is warned of one that was given up."""
    if not future.done():
        future.set_exception(error)
        if future.done():  # a subclass may have found another way
            future.exception()
