"""Entries: how a value lies in Valkey.

An entry is a header, the names and versions of its tags, and the body::

    format     1 byte   2; a lease's marker has 0 here
    codec      1 byte   0 bytes as they are, 1 msgpack, 2 JSON; plus 128 if compressed
    names      2 bytes  length of the tags' names, joined by line feeds
    id         8 bytes  random: no two entries have the same header
    created    8 bytes  ms since 1970
    fresh      8 bytes  ms since 1970: fresh until then
    stale      8 bytes  ms since 1970: of use until then
    cost       4 bytes  how long the load took, in 0.1 ms
               …        the names, then one version of 8 bytes for each
               …        the body

The versions are those that the tags had before the value was loaded. An entry whose tags have other versions now, or
none, is dead.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence

from valtier.cache.codec import Body, CorruptEntryError, is_codec
from valtier.errors import ConfigurationError

__all__ = [
    "CorruptEntryError",
    "Entry",
    "decode_entry",
    "is_marker",
    "is_outdated",
    "new_marker",
    "new_version",
]

_FORMAT = 2
_MARKER = 0
ENTRY_MARK = bytes((_FORMAT,))
"""How every entry begins, and no marker."""
_HEADER = struct.Struct(">BBH8sQQQI")
HEADER_SIZE = _HEADER.size
MARKER_SIZE = 17
VERSION_SIZE = 8
_MAX_NAMES = 2**16 - 1
_MAX_COST = 2**32 - 1
_COST_UNIT_S = 1e-4


class Entry:
    """A stored value with its times and the tags it depends on. Times are in seconds since 1970."""

    __slots__ = ("body", "cost_s", "created", "fresh_until", "head", "stale_until", "tags", "versions")

    def __init__(
        self,
        body: Body,
        tags: tuple[str, ...] = (),
        versions: tuple[bytes, ...] = (),
        *,
        created: float = 0.0,
        fresh_until: float = 0.0,
        stale_until: float = 0.0,
        cost_s: float = 0.0,
        head: bytes = b"",
    ) -> None:
        self.body = body
        self.tags = tags
        self.versions = versions
        self.created = created
        self.fresh_until = fresh_until
        self.stale_until = stale_until
        self.cost_s = cost_s
        self.head = head  # as it lies in Valkey: by it a refresh knows that the entry is still the same

    def encode(self) -> bytes:
        """Returns the bytes to store, under a new id.

        Raises:
            ConfigurationError: the tags' names are too long together.
        """
        names = "\n".join(self.tags).encode()
        if len(names) > _MAX_NAMES:
            raise ConfigurationError(f"an entry's tags have {_MAX_NAMES} bytes at most, these {len(names)}")
        head = _HEADER.pack(
            _FORMAT,
            self.body.codec,
            len(names),
            os.urandom(8),
            _ms(self.created),
            _ms(self.fresh_until),
            _ms(self.stale_until),
            min(_MAX_COST, max(0, int(self.cost_s / _COST_UNIT_S))),
        )
        return b"".join((head, names, *self.versions, self.body.data))

    def alive(self, versions: Sequence[bytes | None]) -> bool:
        """Whether the entry's tags still have the versions with which it was loaded."""
        return self.versions == tuple(versions)


def _ms(time_s: float) -> int:
    return min(2**63, max(0, int(time_s * 1000)))


def decode_entry(raw: bytes) -> Entry:
    """Parses what Valkey holds.

    Raises:
        CorruptEntryError: it is cut short, or of another format.
    """
    if len(raw) < HEADER_SIZE or raw[0] != _FORMAT or not is_codec(raw[1]):
        raise CorruptEntryError("not an entry of this version")
    _, codec, size, _, created, fresh, stale, cost = _HEADER.unpack_from(raw)
    tags: tuple[str, ...] = ()
    versions: tuple[bytes, ...] = ()
    start = HEADER_SIZE
    if size:
        names_end = HEADER_SIZE + size
        try:
            tags = tuple(raw[HEADER_SIZE:names_end].decode().split("\n"))
        except UnicodeDecodeError as exc:
            raise CorruptEntryError("the tag names are no text") from exc
        start = names_end + VERSION_SIZE * len(tags)
        if len(raw) < start:
            raise CorruptEntryError("cut short")
        versions = tuple(raw[i : i + VERSION_SIZE] for i in range(names_end, start, VERSION_SIZE))
    return Entry(
        Body(codec, raw[start:]),
        tags,
        versions,
        created=created / 1000,
        fresh_until=fresh / 1000,
        stale_until=stale / 1000,
        cost_s=cost * _COST_UNIT_S,
        head=raw[:HEADER_SIZE],
    )


def new_marker(versions: Sequence[bytes] = ()) -> bytes:
    """Returns a lease's marker, which nobody else has, for a load that starts from these versions of the tags."""
    return bytes((_MARKER,)) + os.urandom(8) + _digest(versions)


def is_outdated(marker: bytes, versions: Sequence[bytes]) -> bool:
    """Whether what is loaded under a marker will be dead, because the tags have these versions now."""
    return marker[-8:] != _digest(versions)


def _digest(versions: Sequence[bytes]) -> bytes:
    return hashlib.blake2b(b"".join(versions), digest_size=8).digest()


def is_marker(raw: bytes) -> bool:
    return len(raw) == MARKER_SIZE and raw[0] == _MARKER


def new_version() -> bytes:
    """Returns a tag's version: random, so that an evicted tag never gets an old version back."""
    return os.urandom(VERSION_SIZE)
