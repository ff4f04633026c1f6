"""One of several processes whose readers all want the same cold key: see test_cache_stampede.

Arguments: Valkey's URL, the origin's port, how many readers, how many of them give up, the lease in seconds. It begins when
a line comes, says `waiting` when every reader waits, and at the end what they got, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter

import uvloop

from valtier import Tier
from valtier.testing import eventually


async def main(url: str, port: int, readers: int, quitters: int, lease_s: float) -> None:
    async def load() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{os.getpid()}\n".encode())
        value = await reader.readline()
        writer.close()
        return value.decode().strip()

    async with Tier.from_url(url, deadline=5, connect_timeout=10, lease=lease_s) as tier:
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        reads = [asyncio.create_task(tier.cache.get_or_set("cold:1", 600, load)) for _ in range(readers)]
        await eventually(
            lambda: "cold" in tier.cache.stats() and tier.cache.stats()["cold"].misses == readers, 60
        )
        for read in reads[:quitters]:  # the very first among them
            read.cancel()
        print("waiting", flush=True)  # noqa: T201
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        told = Counter(
            outcome if isinstance(outcome, str) else type(outcome).__name__ for outcome in outcomes
        )
        print(json.dumps({**told, "loads": tier.cache.stats()["cold"].loads}), flush=True)  # noqa: T201


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
