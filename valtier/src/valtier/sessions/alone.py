"""Sessions in Valkey alone. Where Valkey is away nobody can tell who is signed in; what it evicts or loses is signed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from valtier.clock import Clock
from valtier.errors import ConfigurationError, ValkeyError
from valtier.sessions.errors import SessionUnavailableError
from valtier.sessions.local import Local
from valtier.sessions.reads import Reading
from valtier.sessions.state import State
from valtier.sessions.stats import SessionStats
from valtier.sessions.store import Store


class Alone:
    """Valkey is the truth. Guarded by one event loop."""

    def __init__(self, store: Store, local: Local, stats: SessionStats, clock: Clock) -> None:
        self._store = store
        self._local = local
        self._stats = stats
        self._monotonic = clock.monotonic

    async def start(self) -> None:
        """Nothing runs in the background."""

    async def stop(self) -> None:
        """Nothing runs in the background."""

    def health(self) -> dict[str, int | bool]:
        return {"believes_valkey": self._store.valkey.available}

    def begin(self, name: str) -> Reading | None:
        try:
            return self._send(name)
        except ValkeyError:
            return None

    def _send(self, name: str) -> Reading:
        moment = self._local.moment()
        return self._store.begin(name, self._monotonic(), keep=lambda state: self._local.keep(state, moment))

    async def load(self, name: str, reading: Reading | None = None) -> State | None:
        try:
            state, _ = await (reading or self._send(name)).outcome()
        except ValkeyError as exc:
            raise self._outage(exc) from exc
        self._stats.valkey_reads += 1
        return state

    async def sessions_of(self, subject: str) -> list[State]:
        with self._mapped():
            names = await self._store.names(subject)
            states = await self._store.load_many(names, self._monotonic())
            dead = [name for name, state in zip(names, states, strict=True) if state is None]
            if dead:
                await self._store.kill(self._store.index(subject), dead, "x")
        return [state for state in states if state is not None and state.subject == subject]

    async def create(
        self, state: State, *, idle_s: float, absolute_s: float, sudo_s: float, replaces: State | None, connection: Any
    ) -> None:  # fmt: skip
        _refuse(connection)
        with self._mapped():
            if replaces is not None:  # first: if this fails, nobody keeps an id from before the sign-in
                await self._kill(replaces.subject, [replaces.name], "p")
            await self._store.create(
                state, idle_s=idle_s, absolute_s=absolute_s, sudo_s=sudo_s, now=self._monotonic()
            )

    async def write(
        self, state: State, token_hash: bytes, sets: Mapping[str, bytes], removes: Sequence[str], max_bytes: int,
        connection: Any,
    ) -> tuple[bool, bool]:  # fmt: skip
        _refuse(connection)
        try:
            with self._mapped():
                outcome = await self._store.write(state.name, token_hash, dict(sets), removes, max_bytes)
        finally:
            self._local.settle((state.name,))
        return outcome == 1, outcome != -1

    async def touch(self, name: str, interval_s: float) -> bool:
        try:
            with self._mapped():
                return await self._store.touch(name, interval_s) == 1
        finally:
            self._local.settle((name,))

    async def rotate(
        self, state: State, new: bytes, *, grace_s: float, nonce: bytes, sudo_s: float, connection: Any
    ) -> tuple[bool, bool]:  # fmt: skip
        _refuse(connection)
        try:
            with self._mapped():
                outcome = await self._store.rotate(
                    state.name, state.token_hash, new, grace_s=grace_s, nonce=nonce, sudo_s=sudo_s
                )
        finally:
            self._local.settle((state.name,))
        return outcome == 1, outcome != -1

    async def end(self, state: State, why: str, connection: Any) -> bool:
        _refuse(connection)
        with self._mapped():
            return bool(await self._kill(state.subject, [state.name], why))

    async def end_one(self, subject: str, name: str, why: str, connection: Any) -> bool:
        _refuse(connection)
        with self._mapped():
            if name not in await self._store.names(subject):
                return False
            return bool(await self._kill(subject, [name], why))

    async def end_all(self, subject: str, but: Sequence[str], why: str, connection: Any) -> list[str]:
        _refuse(connection)
        with self._mapped():
            names = [name for name in await self._store.names(subject) if name not in but]
            return await self._kill(subject, names, why) if names else []

    async def _kill(self, subject: str | None, names: Sequence[str], why: str) -> list[str]:
        # Whatever becomes of the command, nobody who asked for an end shall see the session live here.
        self._local.end(names)
        index = self._store.index(subject) if subject is not None else self._store.key(names[0]) + ":u"
        return await self._store.kill(index, names, why)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except ValkeyError as exc:
            raise self._outage(exc) from exc

    def _outage(self, exc: ValkeyError) -> SessionUnavailableError:
        self._stats.outages += 1
        return SessionUnavailableError(f"Valkey gave no answer about sessions: {exc}")


def _refuse(connection: Any) -> None:
    if connection is not None:
        raise ConfigurationError("sessions without durable=… are in no transaction: leave connection=… out")
