"""A process that races others for one session: see test_sessions_races.

Arguments: the URL of Valkey, the URL of PostgreSQL or `-`, a token, what to do, how many at once, and its own number. It
says `ready`, waits for a line, does it, and says what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from valtier import Session, SessionEndedError, Sessions, Tier


async def _load(sessions: Sessions[Any], token: str) -> Session[Any]:
    session = await sessions.load(token)
    if session is None:
        raise SessionEndedError("gone")
    return session


async def _do(sessions: Sessions[Any], session: Session[Any], what: str, field: str) -> str:
    before = session.token
    if what == "renew":
        await sessions.renew(session)
        return session.token
    if what == "confirm":
        await session.confirm()
        return "confirmed" if session.token != before else "same"
    if what == "write":
        await session.set(**{field: field})
        return "written"
    if what == "destroy":
        return "destroyed" if await sessions.destroy(session) else "too late"
    raise ValueError(what)


async def main(valkey_url: str, database_url: str, token: str, what: str, count: str, number: str) -> None:
    durable = None if database_url == "-" else database_url
    async with (
        Tier.from_url(valkey_url, deadline=20.0) as tier,
        tier.sessions(durable=durable, durable_deadline=20, local_bytes=0) as sessions,
    ):
        held = [await _load(sessions, token) for _ in range(int(count))]
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)

        def step(at: int) -> Callable[[], Awaitable[str]]:
            kind = what if what != "mixed" else ("write", "renew", "confirm", "destroy")[at % 4]
            if what == "mixed" and kind == "destroy" and (number != "0" or at < int(count) // 2):
                kind = "write"
            return lambda: _do(sessions, held[at], kind, f"f{number}x{at}")

        async def run(at: int) -> str:
            try:
                return await step(at)()
            except SessionEndedError:
                return "ended"

        outcomes = Counter(await asyncio.gather(*map(run, range(int(count)))))
        print(json.dumps(outcomes), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
