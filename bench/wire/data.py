"""The keys, their values, and for each operation what is asked and what has to come back.

Every key has a value of its own, so that a reply meant for another caller is seen to be wrong.
"""

from __future__ import annotations

from typing import Any

from bench.wire.clients import Call, Opened
from bench.wire.options import KEYS_PER_MGET, VALUE_BYTES, Operation

Case = tuple[tuple[Any, ...], object]
"""The arguments of a call, and the reply that is right."""

_COUNT = 1000
KEYS = [f"bench:wire:{number:04}" for number in range(_COUNT)]
VALUES = [(b"%04d" % number) * (VALUE_BYTES // 4) for number in range(_COUNT)]
WRITTEN = [f"bench:wire:set:{number:04}" for number in range(_COUNT)]


def cases(operation: Operation, client: Opened) -> list[Case]:
    """Returns what to ask, to be gone through again and again."""
    match operation:
        case Operation.GET | Operation.EVALSHA:
            return [((key,), value) for key, value in zip(KEYS, VALUES, strict=True)]
        case Operation.SET:
            return [((key, value), client.stored) for key, value in zip(WRITTEN, VALUES, strict=True)]
        case Operation.MGET:
            starts = range(0, _COUNT, KEYS_PER_MGET)
            return [
                ((KEYS[at : at + KEYS_PER_MGET],), client.many(VALUES[at : at + KEYS_PER_MGET]))
                for at in starts
            ]


def call_of(operation: Operation, client: Opened) -> Call:
    """Returns the client's method for the operation."""
    return {
        Operation.GET: client.get,
        Operation.SET: client.set,
        Operation.MGET: client.mget,
        Operation.EVALSHA: client.evalsha,
    }[operation]


async def fill(client: Opened) -> None:
    """Stores what GET, MGET and the script read."""
    for key, value in zip(KEYS, VALUES, strict=True):
        await client.set(key, value)


async def spoil_written(client: Opened) -> None:
    """Replaces what SET will store by something else."""
    for key in WRITTEN:
        await client.set(key, b"not yet written")


async def count_unwritten(client: Opened, sets: int) -> int:
    """Returns how many of the keys that `sets` SETs have gone through do not hold their value."""
    reached = min(sets, _COUNT)
    stored = await client.mget(WRITTEN[:reached])
    return sum(found != value for found, value in zip(stored, VALUES, strict=False))
