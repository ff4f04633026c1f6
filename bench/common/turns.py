"""How subjects take turns, and how a load keeps so many operations in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

Tell = Callable[[str], None]
"""Is told what the run is doing now."""
K = TypeVar("K")


def rotated(subjects: Sequence[K], by: int) -> tuple[K, ...]:
    """All of them in their order, beginning with another one in each round: noise hits all alike."""
    by %= len(subjects)
    return (*subjects[by:], *subjects[:by])


async def in_flight(ask: Callable[[K], Awaitable[object]], keys: Iterable[K], count: int) -> None:
    """Asks for each key, by so many callers, each of whom asks for the next when it has the last answer."""
    left = iter(keys)

    async def worker() -> None:
        for key in left:
            await ask(key)

    await asyncio.gather(*(worker() for _ in range(count)))
