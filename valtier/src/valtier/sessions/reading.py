"""Reading: from what a client sent to the session that it opens, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from valtier.sessions import token as tokens
from valtier.sessions.backend import Backend
from valtier.sessions.local import Local
from valtier.sessions.reads import Reading
from valtier.sessions.session import Session
from valtier.sessions.state import State, matches
from valtier.sessions.stats import SessionStats

T = TypeVar("T")


class Lookup(Generic[T]):
    """A load that has begun."""

    __slots__ = ("_name", "_raw", "_reader", "_reading", "_state")

    def __init__(
        self,
        reader: Reader[T],
        raw: bytes | None,
        *,
        state: State | None = None,
        name: str = "",
        reading: Reading | None = None,
    ) -> None:
        self._reader = reader
        self._raw = raw
        self._state = state
        self._name = name
        self._reading = reading

    async def session(self) -> Session[T] | None:
        """Returns what `Sessions.load` says, and raises as it does. To be awaited once."""
        if self._raw is None:
            return None
        if self._state is not None:
            return self._reader.open(self._state, self._raw)
        return await self._reader.finish(self._raw, self._name, self._reading)


class Reader(Generic[T]):
    """Loads sessions: from this process's memory, else from where they live. Guarded by one event loop."""

    def __init__(
        self,
        backend: Backend,
        local: Local,
        stats: SessionStats,
        monotonic: Callable[[], float],
        make: Callable[[State, str, bytes], Session[T]],
    ) -> None:
        self._backend = backend
        self._local = local
        self._stats = stats
        self._monotonic = monotonic
        self._make = make

    def peek(self, token: str | bytes | None) -> Session[T] | None:
        """Returns the session if this process knows it by heart."""
        raw = tokens.parse(token)
        state = None if raw is None else self._local.get(raw[: tokens.NAME_LENGTH].decode())
        if raw is None or state is None:
            return None
        token_hash = tokens.hash_token(raw)
        if matches(state, token_hash, self._monotonic()) is not True:
            return None
        self._stats.local_reads += 1
        return self._make(state, raw.decode(), token_hash)

    def begin(self, token: str | bytes | None) -> Lookup[T]:
        """Begins a load: what has to be sent is sent at once."""
        raw = tokens.parse(token)
        if raw is None:
            self._stats.malformed += bool(token)
            return Lookup(self, None)
        name = raw[: tokens.NAME_LENGTH].decode()
        state = self._local.get(name)
        if state is not None:
            self._stats.local_reads += 1
            return Lookup(self, raw, state=state)
        if self._local.has_ended(name):
            self._stats.unknown += 1
            return Lookup(self, None)
        return Lookup(self, raw, name=name, reading=self._backend.begin(name))

    async def finish(self, raw: bytes, name: str, reading: Reading | None) -> Session[T] | None:
        """Ends a load that has to ask a store."""
        state = await self._backend.load(name, reading)
        # While the store was asked the session may have ended, and this process may know.
        if state is None or self._local.has_ended(name):
            self._stats.unknown += 1
            return None
        return self.open(state, raw)

    async def again(self, session: Session[T]) -> Session[T] | None:
        """Returns the session as its token opens it now, whatever this process has kept."""
        state = await self._backend.load(session.device_id)
        return None if state is None else self.open(state, session.token.encode())

    def open(self, state: State, raw: bytes) -> Session[T] | None:
        """Returns the session if the token opens it."""
        now = self._monotonic()
        if now >= state.ends:
            self._stats.unknown += 1
            return None
        token_hash = tokens.hash_token(raw)
        opens = matches(state, token_hash, now)
        if opens:
            return self._make(state, raw.decode(), token_hash)
        if opens is None:
            successor = tokens.successor(raw, state.old_nonce)
            if tokens.hash_token(successor.encode()) == state.token_hash:
                self._stats.renewed_late += 1
                return self._make(state, successor, state.token_hash)
        self._stats.forged += 1
        return None
