"""Mail: what has to be written is queued with the change that it tells of; a courier writes and sends it.

A request only adds a row, whatever address it names, so that neither its answer nor its time tells whether there is such
an account. The row says what to write; tokens and codes are made when the letter is, and stand nowhere but in it.

Mail is sent at least once: a courier that dies between sending and noting it has its letter sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fluxstudio.db.pool import Connection, Pool
from fluxstudio.mail import queries
from fluxstudio.mail.letter import Letter
from fluxstudio.mail.smtp import RefusedError, Send, UndeliveredError
from fluxstudio.problems import is_database_away

log = logging.getLogger("fluxstudio")

POLL_S = 2.0
"""How long a mail that another process queued may wait for a courier."""
LEASE_S = 60.0
_BATCH = 10
_DELAYS_S = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800)
"""After each failure; after the last one a mail is given up, a day after it was queued."""


@dataclass(frozen=True, slots=True)
class Order:
    """A mail that has to be written."""

    kind: str
    recipient: str
    details: Mapping[str, object]


Write = Callable[[Order], Awaitable[Letter | None]]
"""Writes what was ordered. None: nothing is to be sent after all."""


class Post:
    """Queues mail. Guarded by the event loop."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.queued = asyncio.Event()
        """That there may be work for the courier of this process."""

    async def add(
        self, connection: Connection, kind: str, recipient: str, details: Mapping[str, object] | None = None
    ) -> None:
        """Queues a mail within the transaction of `connection`; call `hurry` after it."""
        await queries.insert_mail(connection, kind, recipient, details or {})

    async def queue(self, kind: str, recipient: str, details: Mapping[str, object] | None = None) -> None:
        """Queues a mail by itself."""
        async with self._pool.acquire() as connection:
            await queries.insert_mail(connection, kind, recipient, details or {})
        self.hurry()

    def hurry(self) -> None:
        """Lets the courier look at once."""
        self.queued.set()


class Courier:
    """Writes and sends what is queued: one task in each worker; they share the queue without waiting for each other."""

    def __init__(self, pool: Pool, post: Post, write: Write, send: Send) -> None:
        self._pool = pool
        self._post = post
        self._write = write
        self._send = send
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="mail")

    async def stop(self) -> None:
        """Ends it; what it was sending is sent again by another."""
        self._stopping = True
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.5)  # what is under way may swallow a cancellation

    async def work(self) -> int:
        """Sends what is due now. Returns how many mails were taken."""
        async with self._pool.acquire() as connection:
            rows = await queries.lease_due(connection, _BATCH, LEASE_S)
        for row in rows:
            order = Order(row["kind"], row["recipient"], json.loads(row["details"]))
            await self._deliver(row["id"], order, row["attempts"])
        return len(rows)

    async def _run(self) -> None:
        while not self._stopping:
            self._post.queued.clear()
            try:
                while await self.work() and not self._stopping:
                    pass
            except Exception as exc:
                if not is_database_away(exc):
                    log.exception("Mail could not be worked on")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._post.queued.wait()

    async def _deliver(self, mail_id: int, order: Order, attempts: int) -> None:
        try:
            letter = await self._write(order)
            if letter is not None:
                await self._send(letter)
        except RefusedError as exc:
            await self._give_up(mail_id, order, str(exc))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the mail is not lost
            if not isinstance(exc, UndeliveredError):
                log.warning(
                    "A mail of kind %s could not be written: %s: %s", order.kind, type(exc).__name__, exc
                )
            if attempts > len(_DELAYS_S):
                await self._give_up(mail_id, order, str(exc))
                return
            async with self._pool.acquire() as connection:
                await queries.postpone_mail(connection, mail_id, _DELAYS_S[attempts - 1], str(exc)[:500])
        else:
            async with self._pool.acquire() as connection:
                await queries.delete_mail(connection, mail_id)

    async def _give_up(self, mail_id: int, order: Order, why: str) -> None:
        log.warning("A mail of kind %s was given up: %s", order.kind, why)
        async with self._pool.acquire() as connection:
            await queries.fail_mail(connection, mail_id, why[:500])
