"""Offsets: how far a client has come, as the text that Socket.IO's clients send back to recover. Pure.

One position for each stream of the bus, `<entry>[+<worker>.<number>]`, separated by commas. An entry is `<ms>-<n>`, an id
in the stream: everything up to it was sent. While Valkey is away a worker serves its own clients ahead of the stream; the
part behind the `+` says up to which of that worker's numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

EntryId = tuple[int, int]

ZERO: EntryId = (0, 0)
_POSITION = re.compile(r"(\d{1,16})-(\d{1,12})(?:\+([0-9a-f]{1,32})\.(\d{1,15}))?", re.ASCII)
_MAX_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody has come in one stream."""

    entry: EntryId
    host: str = ""
    ahead: int = 0

    def __str__(self) -> str:
        text = f"{self.entry[0]}-{self.entry[1]}"
        return f"{text}+{self.host}.{self.ahead}" if self.host else text


def entry_id(text: bytes | str) -> EntryId:
    """Reads the id of an entry."""
    left, _, right = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(left), int(right or 0)


def format_entry(entry: EntryId) -> str:
    return f"{entry[0]}-{entry[1]}"


def format_offset(positions: Iterable[Position]) -> str:
    return ",".join(map(str, positions))


def parse_offset(text: object, streams: int) -> list[Position] | None:
    """Reads what a client sends as its offset; `None` if that is none for a bus of so many streams."""
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        return None
    positions: list[Position] = []
    for word in text.split(","):
        match = _POSITION.fullmatch(word)
        if match is None:
            return None
        left, right, host, ahead = match.groups()
        positions.append(Position((int(left), int(right)), host or "", int(ahead or 0)))
    return positions if len(positions) == streams else None
