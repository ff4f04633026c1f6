"""The keys that are read and written, and how a version is put into a cached value."""

from __future__ import annotations

from dataclasses import dataclass

_VERSION_BITS = 32
NO_VERSION = (1 << _VERSION_BITS) - 1
"""Stands for a value that is not this key's at all."""


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the origin, and the entry that caches it."""

    number: int
    name: str
    local: bool
    """Whether it may be kept in the memory of the processes that read it."""
    tags: tuple[str, ...]


def make_keys(count: int, tag_count: int) -> list[Key]:
    """Makes keys of both classes in turn; a quarter of them depend on no tag, the others on one each."""
    return [
        Key(
            number,
            f"local:{number}" if number % 2 else f"strict:{number}",
            local=number % 2 == 1,
            tags=() if number % 8 < 2 else (f"tag:{number // 2 % tag_count}",),
        )
        for number in range(count)
    ]


def pack(key: int, version: int) -> int:
    """Returns what is cached of that version; no other key has it."""
    return key << _VERSION_BITS | version


def unpack(key: int, value: object) -> int:
    """Returns the version in a value, `NO_VERSION` if it is none of this key's."""
    if not isinstance(value, int) or value >> _VERSION_BITS != key:
        return NO_VERSION
    return value & NO_VERSION
