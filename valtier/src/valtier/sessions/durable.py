"""Durable sessions: PostgreSQL is the truth, Valkey holds copies, this process keeps some of them for a moment.

Design
    *A change* is one statement in PostgreSQL; a trigger notes in the same transaction that the copy is stale (and NOTIFYs).
    Then the copy is removed from Valkey, which tells every process that keeps it. Who is cut off, or dies in between, leaves
    the note, and every worker looks for notes at intervals: it removes the copy and then the note.

    *A copy* is stored under a lease that was taken before PostgreSQL was read. A removal takes the lease along, so that what
    was read before a change is never stored after it. Names of copies carry the reign of Valkey's server: after a
    restart, a failover or a second one back, nothing old is found.

    *Valkey is believed* only after a look for notes that began when the connection stood, and succeeded. While a note can't
    be delivered, its session is read from PostgreSQL, and one that has ended is refused; so a logout that was committed
    while Valkey was away holds when it is back, also in a process that was not told.

    *What it can't do.* A process that reaches Valkey and not PostgreSQL goes on with what is copied; it hears of an end by
    Valkey, if whoever ended the session reaches that, and else not before the copy's own end (`copy`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from valtier.clock import Clock
from valtier.errors import ValkeyError
from valtier.sessions.ends import Ends
from valtier.sessions.errors import SessionUnavailableError
from valtier.sessions.local import Local
from valtier.sessions.postgres import Database
from valtier.sessions.reads import Reading
from valtier.sessions.state import State
from valtier.sessions.stats import SessionStats
from valtier.sessions.store import Store
from valtier.sessions.touches import Touches
from valtier.wire import Valkey

log = logging.getLogger("valtier")

_BATCH = 5000
_TIDY_EVERY_S = 60.0
_TIDY_ROWS = 1000


class Durable:
    """PostgreSQL with copies in Valkey. Guarded by one event loop."""

    def __init__(
        self,
        database: Database,
        store: Store | None,
        local: Local,
        ends: Ends,
        stats: SessionStats,
        clock: Clock,
        *,
        copy_s: float,
        look_every_s: float,
    ) -> None:
        self._database = database
        self._store = store
        self._local = local
        self._ends = ends
        self._stats = stats
        self._monotonic = clock.monotonic
        self._copy_s = copy_s
        self._look_every_s = look_every_s
        self._trusted = False  # whether what Valkey says is known to be no older than the notes
        self._stale: set[str] = set()  # names whose copy is not believed
        self._seen = 0  # the number of the last note that was heeded
        self._connections = 0  # how many connections to Valkey there have been
        self._wake = asyncio.Event()
        self._looker: asyncio.Task[None] | None = None
        self._loads: dict[str, asyncio.Task[State | None]] = {}
        self._touches = Touches(self._touch)
        if store is not None:
            store.valkey.on_ready(self._on_ready)

    async def _on_ready(self, _: Valkey) -> None:
        self._connections += 1
        self._trusted = False
        self._wake.set()

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        with contextlib.suppress(SessionUnavailableError):
            await self._database.check()
            await self.look()
        if self._looker is None:
            self._looker = asyncio.get_running_loop().create_task(self._run(), name="valtier-sessions")

    async def stop(self) -> None:
        tasks = [task for task in (self._looker, *self._loads.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._touches.stop()
        await self._database.close()

    async def _run(self) -> None:
        tidy_at = self._monotonic() + _TIDY_EVERY_S * random.random()
        while True:
            # Workers that began together shall not look together. (Python 3.11's `wait_for` can lose a cancellation.)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_every_s * random.uniform(0.8, 1.0)):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.look()
                if self._monotonic() >= tidy_at:
                    tidy_at = self._monotonic() + _TIDY_EVERY_S
                    await self._database.tidy(self._copy_s * 2, _TIDY_ROWS)
            except SessionUnavailableError:
                self._stats.durable_outages += 1
            except Exception:  # whatever it is, the next look may go well
                log.exception("A look for ended sessions failed")

    def health(self) -> dict[str, int | bool]:
        if self._store is None:
            return {"undelivered": len(self._stale)}
        believes = self._trusted and self._store.valkey.available
        return {"believes_valkey": believes, "undelivered": len(self._stale)}

    # -- notes ---------------------------------------------------------------------------------------------

    def _on_notification(self, ended: bool, name: str) -> None:
        if ended:
            self._local.end((name,))
            self._ends.tell(name)
        else:
            self._local.settle((name,))

    async def look(self) -> None:
        """Looks for notes and delivers them. Raises SessionUnavailableError without PostgreSQL."""
        connections, before = self._connections, set(self._stale)
        if await self._database.listen(self._on_notification):
            self._local.clear()  # what was notified before is not known
        reaches = self._store is not None and self._store.valkey.available
        if reaches:
            await self._look_at_reigns()
        while True:
            # All of them if they can be delivered, else those that are new.
            notes = await self._database.look(0 if reaches else self._seen, _BATCH)
            names = self._obey(notes)
            if not reaches:
                self._trusted = False
                break
            if names and not await self._deliver(notes, names):
                self._trusted = False
                return
            before |= names
            if len(notes) < _BATCH:
                self._stale -= before
                if connections == self._connections:
                    self._trusted = True
                break

    async def _look_at_reigns(self) -> None:
        """A server may be demoted and promoted without a word to its clients."""
        with contextlib.suppress(ValkeyError):
            if self._store is not None and await self._store.look_at_reigns():
                self._local.clear()

    def _obey(self, notes: Sequence[tuple[int, str, bool]]) -> set[str]:
        """Heeds notes in this process, and returns the names in them."""
        ended = {name for _, name, has_ended in notes if has_ended}
        names = {name for _, name, _ in notes}
        if notes:
            self._seen = notes[-1][0]
        self._stale |= names if self._store is not None else set()
        self._local.settle(names - ended)
        self._local.end(ended)
        for name in ended:
            self._ends.tell(name)
        return names

    async def _deliver(self, notes: Sequence[tuple[int, str, bool]], names: set[str]) -> bool:
        try:
            if self._store is not None:
                await self._store.forget(names)
        except ValkeyError:
            return False
        await self._database.forget(number for number, _, _ in notes)
        self._stats.delivered += len(notes)
        return True

    # -- reading -------------------------------------------------------------------------------------------

    def _believed(self, name: str) -> Store | None:
        store = self._store
        if store is None:
            return None
        if not store.valkey.available:
            if self._trusted:
                self._trusted = False
                self._wake.set()
            return None
        return store if self._trusted and name not in self._stale else None

    def begin(self, name: str) -> Reading | None:
        store = self._believed(name)
        if store is None:
            return None
        moment = self._local.moment()
        try:
            return store.begin(
                name,
                self._monotonic(),
                lease=secrets.token_hex(8),
                keep=lambda state: self._local.keep(state, moment),
            )
        except ValkeyError:
            self._stats.outages += 1
            return None

    async def load(self, name: str, reading: Reading | None = None) -> State | None:
        lease = ""
        reading = reading or self.begin(name)
        if reading is not None:
            try:
                state, leased = await reading.outcome()
            except ValkeyError:
                self._stats.outages += 1
            else:
                self._stats.valkey_reads += 1
                # The answer may have come from before a note was seen: it is not believed any more then.
                if state is not None and self._trusted and name not in self._stale:
                    return state
                lease = reading.lease if leased else ""
        return await self._load_durably(name, lease)

    async def _load_durably(self, name: str, lease: str) -> State | None:
        """Reads PostgreSQL, once for all who ask at the same time with no lease of their own."""
        if lease:
            return await self._read(name, lease)
        running = self._loads.get(name)
        if running is None:
            running = asyncio.get_running_loop().create_task(self._read(name, ""))
            self._loads[name] = running
            running.add_done_callback(lambda task: self._loaded(name, task))
        return await asyncio.shield(running)

    def _loaded(self, name: str, task: asyncio.Task[State | None]) -> None:
        self._loads.pop(name, None)
        if not task.cancelled():
            task.exception()

    async def _read(self, name: str, lease: str) -> State | None:
        state: State | None = None
        try:
            state = await self._database.load(name, self._monotonic())
            self._stats.durable_reads += 1
        except SessionUnavailableError:
            self._stats.durable_outages += 1
            raise
        finally:
            if self._store is not None and lease:
                try:
                    await (self._copy(self._store, state, lease) if state else self._store.forget((name,)))
                except ValkeyError:  # then the lease ends by itself
                    self._stats.outages += 1
        return state

    async def _copy(self, store: Store, state: State, lease: str) -> None:
        now = self._monotonic()
        await store.create(
            state,
            idle_s=state.idle_s,
            absolute_s=state.ends_at_most - now,
            sudo_s=max(0.0, state.sudo_ends - now),
            lease=lease,
            copy_s=self._copy_s,
            now=now,
        )

    async def sessions_of(self, subject: str) -> list[State]:
        return await self._database.sessions_of(subject, self._monotonic())

    # -- writing -------------------------------------------------------------------------------------------

    async def create(
        self, state: State, *, idle_s: float, absolute_s: float, sudo_s: float, replaces: State | None, connection: Any
    ) -> None:  # fmt: skip
        old = None if replaces is None else replaces.name
        await self._database.create(
            state, idle_s=idle_s, absolute_s=absolute_s, sudo_s=sudo_s, replaces=old, connection=connection
        )
        if old is not None:
            await self._ended([old], "p", connection)

    async def write(
        self, state: State, token_hash: bytes, sets: Mapping[str, bytes], removes: Sequence[str], max_bytes: int,
        connection: Any,
    ) -> tuple[bool, bool]:  # fmt: skip
        outcome = await self._database.write(state.name, token_hash, sets, removes, max_bytes, connection)
        await self._changed(state.name, connection)
        return outcome

    async def touch(self, name: str, interval_s: float) -> bool:
        return await self._touches.add(name, interval_s)

    async def _touch(self, names: list[str], interval_s: float) -> list[str]:
        touched = await self._database.touch(names, interval_s)
        await asyncio.gather(*map(self._touch_copy, touched))
        self._local.settle(touched)
        return touched

    async def _touch_copy(self, name: str) -> None:
        if (store := self._believed(name)) is not None:
            with contextlib.suppress(ValkeyError):  # then its copy ends earlier
                await store.touch(name, 0)

    async def rotate(
        self, state: State, new: bytes, *, grace_s: float, nonce: bytes, sudo_s: float, connection: Any
    ) -> tuple[bool, bool]:  # fmt: skip
        outcome = await self._database.rotate(
            state.name, state.token_hash, new, grace_s=grace_s, nonce=nonce, sudo_s=sudo_s, connection=connection
        )  # fmt: skip
        await self._changed(state.name, connection)
        return outcome

    async def end(self, state: State, why: str, connection: Any) -> bool:
        ended = await self._database.end([state.name], connection)
        await self._ended([state.name], why, connection)
        return bool(ended)

    async def end_one(self, subject: str, name: str, why: str, connection: Any) -> bool:
        ended = await self._database.end_one(subject, name, connection)
        await self._ended(ended, why, connection)
        return bool(ended)

    async def end_all(self, subject: str, but: Sequence[str], why: str, connection: Any) -> list[str]:
        ended = await self._database.end_all(subject, but, connection)
        await self._ended(ended, why, connection)
        return ended

    async def _changed(self, name: str, connection: Any) -> None:
        """Removes a copy; within a transaction of the caller's the note does it after the commit."""
        if connection is not None:
            return
        self._local.settle((name,))
        if self._store is not None:
            try:
                await self._store.forget((name,))
            except ValkeyError:
                self._owe(name)
        self._local.settle((name,))

    async def _ended(self, names: Sequence[str], why: str, connection: Any) -> None:
        """Tells everybody; within a transaction of the caller's the note does it after the commit."""
        if not names or connection is not None:
            return
        self._local.end(names)
        for name in names:
            self._ends.tell(name, why)
        if self._store is not None:
            try:
                await asyncio.gather(self._store.forget(names), self._store.publish(names, why))
            except ValkeyError:
                self._owe(*names)

    def _owe(self, *names: str) -> None:
        """The note in PostgreSQL delivers it; until then this process does not believe the copy."""
        self._stats.outages += 1
        self._stale.update(names)
        self._wake.set()
