"""What callers do, as data: drawn by Hypothesis in the property test, and by a seeded generator in the soak."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass

BLOB_SIZES = (1, 100, 5_000, 60_000, 200_000)
OWNERS = 16
"""So many different sets of blobs are there to be read."""


class Kind(enum.StrEnum):
    """The ways to use the client."""

    ECHO = "echo"
    GET = "get"
    COUNT = "count"  # INCR
    MARK = "mark"  # a script that counts and marks
    MANY = "call_many"
    PIPELINE = "pipeline"
    REGISTER = "register"  # SET and GET, declared idempotent: they may run more than once


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that a caller does."""

    kind: Kind
    size: int = 0
    """An index into `BLOB_SIZES`, or how many commands go together, less one."""
    patience_s: float | None = None
    """So long the caller waits before it gives up; `None`: as long as it takes."""
    by_task: bool = False
    """Whether it gives up by cancelling a task of its own, or by `asyncio.timeout`."""


def random_plan(draw: random.Random) -> Iterator[Op]:
    """Draws for ever."""
    kinds = tuple(Kind)
    while True:
        yield Op(
            kind=draw.choice(kinds),
            size=draw.choice((0, 0, 1, 1, 2, 3, 4, 20)),
            patience_s=draw.choice((None, None, None, 0.0, 0.001, 0.02)),
            by_task=draw.random() < 0.5,
        )


def blob_key(owner: int, size: int) -> str:
    return f"soak:blob:{owner}:{size}"


def blob(owner: int, size: int) -> bytes:
    """Returns what the key of the same numbers holds; no other key holds it."""
    return (b"%xb%d" % (owner, size) * (BLOB_SIZES[size] // 3 + 1))[: BLOB_SIZES[size]]
