"""A process that renames a project and is killed between its commit and its invalidation: see test_outbox_faults.

Arguments: the URLs of PostgreSQL and Valkey, and how to write: in a `transaction`, or with a `bare` invalidation.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import asyncpg

from valtier import Tier


async def main(database_url: str, valkey_url: str, how: str) -> None:
    async with Tier.from_url(valkey_url) as tier:

        async def die(*_: Any, **__: Any) -> bool:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("a dead process goes on")

        tier.cache.deliver = tier.cache.invalidate = die  # type: ignore[method-assign,assignment]
        connection = await asyncpg.connect(database_url)
        async with tier.outbox(database_url, listen=False) as outbox:
            if how == "transaction":
                async with outbox.transaction(connection) as invalidate:
                    await connection.execute("UPDATE projects SET title = 'New' WHERE id = 7")
                    invalidate(tags=["project:7"])
            else:
                async with connection.transaction():
                    await connection.execute("UPDATE projects SET title = 'New' WHERE id = 7")
                    await outbox.invalidate(connection, tags=["project:7"])
                await die()


asyncio.run(main(*sys.argv[1:]))
