"""Never stale by a race: random readers and writers in three processes, and nobody sees what was invalidated before.

Three tiers over one Valkey stand for three processes. Two keep nothing, so an invalidation counts for them at once; the third
keeps what it reads, and is held to its own invalidations.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from drivers import identity
from helping import Client, get, scope

from valtier import Tier
from valtier.asgi import Receive, Scope, Send
from valtier.embedded import EmbeddedValkey
from valtier.http import ResponseCache

ROWS = 4
STEPS = 250


class Rows:
    """An application over rows: what it answers was read a while before it is sent."""

    def __init__(self, seed: int) -> None:
        self.versions = [0] * ROWS
        self.random = random.Random(seed)
        self.reads = 0

    async def __call__(self, request: Scope, receive: Receive, send: Send) -> None:
        row = int(request["path"].rpartition("/")[2])
        if request["method"] == "POST":
            self.versions[row] += 1
        else:
            self.reads += 1
        body = b"%d" % self.versions[row]
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(self.random.random() * 0.002)
        control = (b"public, max-age=60", b"private, max-age=60", b"public, max-age=60", b"max-age=60")[row]
        fields = [(b"cache-control", control), (b"cache-tag", b"row:%d, rows" % row)]
        if row == 2:
            fields.append((b"vary", b"accept-language"))
        if row == 0:
            fields.append((b"cache-groups", b'"g"'))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})


@pytest_asyncio.fixture
async def tiers(valkey: EmbeddedValkey) -> AsyncIterator[list[Tier]]:
    async with (
        Tier.from_url(valkey.url, deadline=10, local_bytes=0) as one,
        Tier.from_url(valkey.url, deadline=10, local_bytes=0) as two,
        Tier.from_url(valkey.url, deadline=10) as three,
    ):
        yield [one, two, three]


@pytest.mark.parametrize("seed", range(4))
async def test_nobody_sees_what_was_invalidated_before(tiers: list[Tier], seed: int) -> None:
    rows = Rows(seed)
    caches = [ResponseCache(rows, tier, identity=identity, pass_ttl=0.05) for tier in tiers]
    floors: defaultdict[int, list[int]] = defaultdict(lambda: [0] * ROWS)  # of each process, of each row
    seen: Counter[str] = Counter()
    dice = random.Random(1000 + seed)

    async def write() -> None:
        process, row = dice.randrange(3), dice.randrange(ROWS)
        cache, how = caches[process], dice.randrange(4)
        if how == 0:
            await Client(cache, scope(f"/row/{row}", method="POST")).run()
            version = rows.versions[row]
        else:
            rows.versions[row] += 1
            version = rows.versions[row]
            if how == 1:
                await cache.purge(f"http://site.test/row/{row}")
            elif how == 2:
                await tiers[process].cache.invalidate_tags(f"row:{row}")
            else:
                await cache.purge(tag=f"row:{row}")
        if how == 0:
            return  # another write may have come between: what this one promises is told by the others
        for other in {process, 0, 1}:
            floors[other][row] = max(floors[other][row], version)

    async def read() -> None:
        process, row = dice.randrange(3), dice.randrange(ROWS)
        floor = floors[process][row]
        fields = {"accept_language": dice.choice(["en", "de"]), "x_identity": dice.choice(["ann", "bob"])}
        client = await get(caches[process], f"/row/{row}", **fields)
        assert int(client.body) >= floor, (process, row, client.cache_status)
        seen["hit" if client.is_hit else "collapsed" if "collapsed" in client.cache_status else "asked"] += 1

    async def run() -> None:
        for _ in range(STEPS):
            await (write() if dice.random() < 0.1 else read())
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.002)

    await asyncio.gather(*(run() for _ in range(12)))
    for cache in caches:
        await cache.settle()
    assert seen["hit"] > 100, seen
    assert rows.reads < sum(seen.values()) / 2, (rows.reads, seen)
