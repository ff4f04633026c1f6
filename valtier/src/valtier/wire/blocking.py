"""Blocking commands: how long the server may take to answer one, read from its arguments. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from valtier.errors import ConfigurationError
from valtier.wire.connection import Argument

_LAST_IS_SECONDS = frozenset(("BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BZPOPMIN", "BZPOPMAX"))
_FIRST_IS_SECONDS = frozenset(("BLMPOP", "BZMPOP"))
_LAST_IS_MILLISECONDS = frozenset(("WAIT", "WAITAOF"))
_STREAMS = frozenset(("XREAD", "XREADGROUP"))

_SERVER_TICK_S = 0.1
"""So late a server (at its usual `hz` of 10) may notice that a block time is over."""


def patience(block_s: float | None, deadline_s: float) -> float | None:
    """Returns how long to wait for the reply to a command that blocks for `block_s`, which is 0 for not, `None` for ever."""
    if block_s is None:
        return None
    return block_s + deadline_s + (_SERVER_TICK_S if block_s else 0.0)


def block_of(args: Sequence[Argument]) -> float | None:
    """Returns for how many seconds a command asks the server to wait: 0 for one that does not block, `None` for ever.

    Raises:
        ConfigurationError: the time is no number.
    """
    name = _word(args[0]) if args else ""
    if name in _LAST_IS_SECONDS:
        seconds = _number(args, -1)
    elif name in _FIRST_IS_SECONDS:
        seconds = _number(args, 1)
    elif name in _LAST_IS_MILLISECONDS:
        seconds = _number(args, -1) / 1000
    elif name in _STREAMS:
        position = _position_of_block(args)
        if position is None:
            return 0.0
        seconds = _number(args, position + 1) / 1000
    else:
        return 0.0
    return seconds or None


def _position_of_block(args: Sequence[Argument]) -> int | None:
    first = 4 if _word(args[0]) == "XREADGROUP" else 1  # behind GROUP, group and consumer
    for position in range(first, len(args)):
        word = _word(args[position])
        if word == "BLOCK":
            return position
        if word == "STREAMS":  # what follows are names
            return None
    return None


def _word(argument: Argument) -> str:
    return (argument.decode("latin-1") if isinstance(argument, bytes) else str(argument)).upper()


def _number(args: Sequence[Argument], position: int) -> float:
    try:
        number = float(args[position])
    except (ValueError, IndexError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigurationError(f"{_word(args[0])} needs the time that it may block: a number, 0 or more")
    return number
