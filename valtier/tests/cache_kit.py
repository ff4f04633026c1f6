"""Help for tests of the cache: a row of the origin whose load a test can hold up, and the parts behind a tier."""

from __future__ import annotations

import asyncio

from valtier import Tier
from valtier.cache.mirror import Mirror
from valtier.cache.store import Store


class Row:
    """A row of the origin, with a loader that reads it and may then be held up, as a slow query is."""

    def __init__(self) -> None:
        self.version = 1
        self.loads = 0
        self.read = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def hold(self) -> None:
        self.gate.clear()
        self.read.clear()

    async def load(self) -> int:
        self.loads += 1
        version = self.version
        self.read.set()
        await self.gate.wait()
        return version


def store_of(tier: Tier) -> Store:
    store = tier.cache._engine.store
    assert store is not None
    return store


def mirror_of(tier: Tier) -> Mirror:
    return tier.cache._engine.mirror
