"""Key specifications: which arguments of a command are its keys. Pure.

A specification says where to begin (at an index, or after a word) and what to take from there (a range, or as many as
a count says). Source: "Command key specifications" of the Valkey documentation; `COMMAND INFO` answers in these terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Argument = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Where one group of keys stands among the arguments; the command's name is argument 0."""

    begin: int
    """The index of the first key; with `word`, where the search for it begins (negative: from the end, backwards)."""
    word: str | None = None
    """The keys begin behind this word."""
    last: int = 0
    """The last key: so many arguments behind the first; -1 is the last argument, -2 the one before."""
    step: int = 1
    limit: int = 0
    """With `last` = -1: only the first part of the arguments in `limit` equal parts."""
    counted: bool = False
    """At `begin` stands the number of keys; they follow it."""

    def positions(self, args: Sequence[Argument]) -> range:
        """Returns where the keys stand; empty where the arguments do not fit, for the server to complain about."""
        begin = self.begin if self.word is None else _behind(self.word, args, self.begin)
        if begin <= 0 or begin >= len(args):
            return range(0)
        if self.counted:
            count = _integer(args[begin])
            return range(begin + 1, min(begin + 1 + count * self.step, len(args)), self.step)
        if self.last >= 0:
            end = begin + self.last
        elif self.limit > 1:
            end = begin + (len(args) - begin) // self.limit - 1
        else:
            end = len(args) + self.last
        return range(begin, min(end + 1, len(args)), self.step)


@dataclass(frozen=True, slots=True)
class Command:
    """What routing has to know of a command."""

    specs: tuple[KeySpec, ...] = ()
    read: bool = False
    """Whether it only reads, so that a replica may answer."""

    def key_positions(self, args: Sequence[Argument]) -> list[int]:
        """Returns where the keys stand among the arguments, the command's name included."""
        return [position for spec in self.specs for position in spec.positions(args)]


def parse_command_info(entry: Any) -> dict[str, Command]:
    """Reads one entry of the reply to `COMMAND INFO`: the command, or its subcommands as `NAME SUB`.

    Specifications that the server itself calls unknown or incomplete are left out. What can't be read gives nothing.
    """
    if not isinstance(entry, list) or len(entry) < 6 or not isinstance(entry[0], bytes):
        return {}
    flags, positions = entry[2], entry[3:6]
    if not isinstance(flags, list | set | frozenset) or not all(type(number) is int for number in positions):
        return {}
    subcommands = entry[9] if len(entry) > 9 and isinstance(entry[9], list) else []
    found = {name: command for sub in subcommands for name, command in parse_command_info(sub).items()}
    name = _text(entry[0]).upper().replace("|", " ")
    read = "readonly" in map(_text, flags)
    if len(entry) > 8 and isinstance(entry[8], list) and entry[8]:
        specs = tuple(spec for item in entry[8] if (spec := _parse_spec(_as_dict(item))) is not None)
    else:
        specs = _legacy(*positions)
    return found or {name: Command(specs, read)}


def _parse_spec(fields: dict[str, Any]) -> KeySpec | None:
    if "incomplete" in map(_text, fields.get("flags", ())):
        return None
    begin, find = _as_dict(fields.get("begin_search")), _as_dict(fields.get("find_keys"))
    where, what = _as_dict(begin.get("spec")), _as_dict(find.get("spec"))
    try:
        if _text(begin["type"]) == "keyword":
            start, word = int(where["startfrom"]), _text(where["keyword"]).upper()
        else:
            start, word = int(where["index"]), None
        if _text(find["type"]) == "keynum":
            if int(what["firstkey"]) != int(what["keynumidx"]) + 1:
                return None
            return KeySpec(start + int(what["keynumidx"]), word, step=int(what["keystep"]) or 1, counted=True)
        last, step, limit = int(what["lastkey"]), int(what["keystep"]) or 1, int(what["limit"])
        return KeySpec(start, word, last=last, step=step, limit=limit)
    except (KeyError, ValueError, TypeError):  # of a kind that the server calls unknown
        return None


def _legacy(first: Any, last: Any, step: Any) -> tuple[KeySpec, ...]:
    """Reads the older form: first key, last key, step."""
    if not (
        isinstance(first, int) and isinstance(last, int) and isinstance(step, int) and first > 0 and step > 0
    ):
        return ()
    return (KeySpec(first, last=last - first if last >= 0 else last, step=step),)


def _as_dict(reply: Any) -> dict[str, Any]:
    """Reads a map, which RESP2 gives as a flat list."""
    if isinstance(reply, dict):
        return {_text(name): value for name, value in reply.items()}
    if isinstance(reply, list):
        return {_text(name): value for name, value in zip(reply[::2], reply[1::2], strict=False)}
    return {}


def _behind(word: str, args: Sequence[Argument], start: int) -> int:
    """Returns the index behind `word`, or 0 if it is not there."""
    places = range(start, len(args)) if start >= 0 else range(len(args) + start, 0, -1)
    return next((place + 1 for place in places if _text(args[place]).upper() == word), 0)


def _integer(argument: Argument) -> int:
    try:
        return max(0, int(argument))
    except ValueError:
        return 0


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
