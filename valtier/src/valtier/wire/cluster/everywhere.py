"""Commands without keys that concern every primary, and how their replies become one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from valtier.wire.cluster.keyspec import Argument

Merge = Callable[[Sequence[Any]], Any]


def _first(replies: Sequence[Any]) -> Any:
    return replies[0]


def _concatenated(replies: Sequence[Any]) -> list[Any]:
    return [item for reply in replies for item in reply]


def _in_all(replies: Sequence[Any]) -> list[int]:
    return [min(column) for column in zip(*replies, strict=True)]


_EVERYWHERE: dict[str, Merge] = {
    "PING": _first,
    "FLUSHALL": _first,
    "FLUSHDB": _first,
    "SCRIPT LOAD": _first,
    "SCRIPT FLUSH": _first,
    "SCRIPT EXISTS": _in_all,
    "FUNCTION LOAD": _first,
    "FUNCTION DELETE": _first,
    "FUNCTION FLUSH": _first,
    "FUNCTION RESTORE": _first,
    "CONFIG SET": _first,
    "CONFIG RESETSTAT": _first,
    "DBSIZE": sum,
    "KEYS": _concatenated,
    "WAIT": min,
}
READS = frozenset({"PING", "SCRIPT EXISTS", "DBSIZE", "KEYS", "WAIT"})


def find(name: str, args: Sequence[Argument]) -> tuple[str, Merge] | None:
    """Returns the name (with its subcommand) and the way to merge, if the command goes to every primary."""
    if name in _EVERYWHERE:
        return name, _EVERYWHERE[name]
    if len(args) < 2:
        return None
    word = args[1].decode("utf-8", "replace") if isinstance(args[1], bytes) else str(args[1])
    full = f"{name} {word.upper()}"
    return (full, _EVERYWHERE[full]) if full in _EVERYWHERE else None
