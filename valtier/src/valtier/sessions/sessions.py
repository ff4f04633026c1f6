"""Sessions: who is signed in, and what is remembered of them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from valtier.clock import Clock
from valtier.errors import ConfigurationError
from valtier.sessions import token as tokens
from valtier.sessions.backend import Backend
from valtier.sessions.cookie import SessionCookie
from valtier.sessions.ends import Ends, Listener, Watch
from valtier.sessions.errors import SessionTooLargeError, SessionUnavailableError
from valtier.sessions.fields import Fields
from valtier.sessions.limits import SessionLimits
from valtier.sessions.local import Local
from valtier.sessions.reading import Lookup, Reader
from valtier.sessions.session import Session
from valtier.sessions.state import State
from valtier.sessions.stats import SessionStats
from valtier.sessions.subjects import Device, device_of, shown, somebody, subject_text
from valtier.sessions.turning import Turning, ended

T = TypeVar("T")
log = logging.getLogger("valtier")

_MOST_TOUCHES = 1000


class Sessions(Generic[T]):
    """The sessions of an application. Guarded by one event loop; made by `Tier.sessions`, used within `async with`.

    Every method that talks to a store raises `SessionUnavailableError` where nobody can tell, or where a change is not
    certain: answer 503, never "signed out". A change with `connection=` (asyncpg's, in the caller's transaction; durable
    sessions only) commits with it, is heard by every worker right after, and raises asyncpg's own errors.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        local: Local,
        ends: Ends,
        fields: Fields,
        limits: SessionLimits,
        cookie: SessionCookie,
        stats: SessionStats,
        clock: Clock,
    ) -> None:
        self.fields = fields
        self.limits = limits
        self.cookie = cookie
        self.stats = stats
        self.monotonic = clock.monotonic
        self._backend = backend
        self._local = local
        self._ends = ends
        self._clock = clock
        self._reader: Reader[T] = Reader(
            backend,
            local,
            stats,
            clock.monotonic,
            lambda state, token, hash_: Session(self, state, token, hash_),
        )
        self._turning = Turning(backend, self._reader, limits, stats, clock.monotonic)
        self._salt = secrets.token_bytes(16)
        self._touches: dict[str, asyncio.Task[None]] = {}

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begins. Neither Valkey nor PostgreSQL has to be there.

        Raises:
            ConfigurationError: PostgreSQL has no such table, or its URL can't be used.
        """
        try:
            await self._backend.start()
            self._ends.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends what runs in the background. Close it before the tier."""
        touches = list(self._touches.values())
        for touch in touches:
            touch.cancel()
        await asyncio.gather(*touches, return_exceptions=True)
        await self._ends.stop()
        await self._backend.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- reading -------------------------------------------------------------------------------------------

    def peek(self, token: str | bytes | None) -> Session[T] | None:
        """Returns the session if this process knows it by heart; `None` says nothing. No round trip, no waiting."""
        return self._reader.peek(token)

    async def load(self, token: str | bytes | None) -> Session[T] | None:
        """Returns the session that a token opens; `None` if it opens none: malformed, unknown, ended or expired.

        No round trip where this process keeps the session (a few µs); else one to Valkey; where sessions
        are durable, one to PostgreSQL if Valkey does not have it or is away, after at most one deadline. Changes nothing in a session.

        Raises:
            SessionUnavailableError: nobody can tell.
        """
        return await self._reader.begin(token).session()

    def begin_load(self, token: str | bytes | None) -> Lookup[T]:
        """Begins `load`: what has to be sent is sent at once. `await lookup.session()` follows, or nothing."""
        return self._reader.begin(token)

    # -- life of a session ---------------------------------------------------------------------------------

    async def create(
        self,
        subject: str | int | None,
        *,
        remember: bool = False,
        data: Mapping[str, object] | None = None,
        replaces: Session[T] | None = None,
        user_agent: str = "",
        address: str = "",
        connection: Any = None,
    ) -> Session[T]:
        """Makes a session for somebody who has just authenticated; it begins in sudo mode.

        Args:
            subject: who: an id of the user's, of at most 256 characters; `None` for a visitor who has not signed in.
            remember: for `remember` (at most 30 days) instead of `idle` and `absolute`.
            data: the first fields.
            replaces: the session that the request came with: it ends, so that no id from before a sign-in lives on.
            user_agent, address: shown in the list of devices.
            connection: a connection within a transaction of the caller's.

        Raises:
            ConfigurationError: the subject or a field can't be used.
            SessionTooLargeError: the fields exceed `max_bytes`.
        """
        who = subject_text(subject)
        encoded = self.fields.encode(data or {})
        if sum(len(name.encode()) + len(value) for name, value in encoded.items()) > self.limits.max_bytes:
            raise self._too_large()
        agent, address = shown(user_agent, address)
        token = tokens.new_token(who)
        idle_s, absolute_s = self.limits.lifetimes(remember=remember)
        sudo_s = 0.0 if who is None else self.limits.sudo_s
        now = self.monotonic()
        state = State(
            name=token[: tokens.NAME_LENGTH],
            token_hash=tokens.hash_token(token.encode()),
            subject=who,
            created=now,
            seen=now,
            issued=now,
            ends=now + min(idle_s, absolute_s),
            ends_at_most=now + absolute_s,
            sudo_ends=now + sudo_s,
            idle_s=idle_s,
            remembered=remember,
            user_agent=agent,
            address=address,
            fields=encoded,
            asked=now,
        )
        await self._backend.create(
            state, idle_s=idle_s, absolute_s=absolute_s, sudo_s=sudo_s,
            replaces=None if replaces is None else replaces.state, connection=connection,
        )  # fmt: skip
        if replaces is not None:
            replaces.ended = True
        self.stats.created += 1
        return Session(self, state, token, state.token_hash)

    async def write(
        self, session: Session[T], fields: Mapping[str, object], *, removes: Iterable[str] = (), connection: Any = None
    ) -> None:  # fmt: skip
        """Sets and removes fields in one atomic step, each on its own: what others set in between survives.

        Raises:
            SessionEndedError: the session has ended, or was rotated since it was loaded; nothing was written.
            SessionTooLargeError: the data would exceed `max_bytes`; nothing was written.
            ConfigurationError: a field or a value can't be used.
        """
        encoded = self.fields.encode(fields)
        gone = self.fields.check_all(removes)
        if both := set(gone) & set(encoded):
            raise ConfigurationError(f"the session field {min(both)!r} is set and removed at once")
        if not encoded and not gone:
            return
        changed, found = await self._backend.write(
            session.state, session.token_hash, encoded, gone, self.limits.max_bytes, connection
        )
        if not changed:
            raise self._too_large() if found else ended()
        self.stats.written += 1
        merged = {name: value for name, value in session.state.fields.items() if name not in gone} | encoded
        session.adopt(replace(session.state, fields=merged))

    def touch_soon(self, session: Session[T]) -> None:
        """Notes in the background that the session is in use, if that was not noted within `touch`."""
        name = session.device_id
        if (
            self.monotonic() - session.state.seen < self.limits.touch_s
            or name in self._touches
            or len(self._touches) >= _MOST_TOUCHES
        ):
            return

        async def touch() -> None:
            try:
                await self.touch(session)
            except SessionUnavailableError as exc:
                log.info("A session in use was not noted: %s", exc)

        task = asyncio.get_running_loop().create_task(touch(), name="valtier-session-touch")
        self._touches[name] = task
        task.add_done_callback(lambda _: self._touches.pop(name, None))

    async def touch(self, session: Session[T]) -> bool:
        """Notes that the session is in use, at most once in `touch`. Returns whether it did; an ended one stays ended."""
        if self.monotonic() - session.state.seen < self.limits.touch_s:
            return False
        touched = await self._backend.touch(session.device_id, self.limits.touch_s)
        self.stats.touched += touched
        return touched

    async def rotate(self, session: Session[T], *, connection: Any = None) -> None:
        """Gives the session a new token; the old one ends at once. For a change of privileges.

        Raises:
            SessionEndedError: it has ended, or another request has rotated it.
        """
        await self._turning.rotate(session, sudo_s=-1.0, connection=connection)

    async def confirm(self, session: Session[T], *, connection: Any = None) -> None:
        """Notes that the user has just authenticated again: a new token, and sudo mode for `sudo`.

        Raises:
            SessionEndedError: it has ended, or another request has rotated it.
        """
        await self._turning.rotate(session, sudo_s=self.limits.sudo_s, connection=connection)

    def renewal_is_due(self, session: Session[T]) -> bool:
        """Whether the token is older than `renew`."""
        renew_s = self.limits.renew_s
        return renew_s is not None and self.monotonic() - session.state.issued >= renew_s

    async def renew(self, session: Session[T]) -> None:
        """Gives the session a new token because of its age; for `grace` the old one stands for it, with one successor.

        Requests that run at the same time all get the same new token.

        Raises:
            SessionEndedError: it has ended, or was rotated for another reason.
        """
        await self._turning.renew(session)

    async def destroy(self, session: Session[T], *, connection: Any = None) -> bool:
        """Ends the session, for every worker at once. Returns whether it lived."""
        session.ended = True
        ended = await self._backend.end(session.state, "o", connection)
        self.stats.ended += ended
        return ended

    async def destroy_all(
        self, subject: str | int, *, except_: Session[T] | None = None, connection: Any = None
    ) -> int:
        """Ends a user's sessions, but `except_`: for a disabled account, or a changed factor. Returns how many lived."""
        but = [] if except_ is None else [except_.device_id]
        ended = await self._backend.end_all(somebody(subject), but, "r", connection)
        self.stats.ended += len(ended)
        return len(ended)

    # -- devices -------------------------------------------------------------------------------------------

    async def devices(self, subject: str | int, *, current: Session[T] | None = None) -> list[Device]:
        """Returns a user's sessions, those seen last first. Two round trips to Valkey, or one to PostgreSQL."""
        states = await self._backend.sessions_of(somebody(subject))
        here = None if current is None else current.device_id
        states.sort(key=lambda state: -state.seen)
        return [device_of(state, here=here, date=self._date) for state in states]

    async def revoke(self, subject: str | int, device_id: str, *, connection: Any = None) -> bool:
        """Ends one of a user's sessions by the id of its device. Returns whether the user had such a one."""
        who = somebody(subject)
        if not tokens.is_name(device_id):
            return False
        ended = await self._backend.end_one(who, device_id, "r", connection)
        self.stats.ended += ended
        return ended

    # -- ends ----------------------------------------------------------------------------------------------

    def on_end(self, listener: Listener) -> Callable[[], None]:
        """Registers who is told of every end that this worker hears of: a function or a coroutine function.

        Ends by sign-out, revocation and replacement are heard on every worker; an expiry only where it is watched.
        Returns what unregisters it.
        """
        return self._ends.on_end(listener)

    def watch(self, session: Session[T], listener: Listener) -> Watch:
        """Registers who is told, once, when this session ends, also by expiry: to close its sockets.

        Stop it when the socket is closed. While nobody can tell whether the session lives, nothing is told.
        """
        return self._ends.watch(session.state, listener)

    # -- helpers -------------------------------------------------------------------------------------------

    def wall_of(self, moment: float) -> float:
        """Returns a moment of the monotonic clock in seconds since 1970."""
        return self._clock.wall() + moment - self.monotonic()

    def health(self) -> dict[str, int | bool]:
        """Returns what an operator wants to know: what was counted, what is kept here, whether Valkey is believed."""
        counted = {name: value for name, value in asdict(self.stats).items() if value}
        return {"kept_here": len(self._local.states), **self._backend.health(), **counted}

    def masked(self, name: str) -> str:
        """Returns what a log may show of a session: a salted hash of its name."""
        return tokens.masked(name, self._salt)

    def _date(self, moment: float) -> datetime:
        return datetime.fromtimestamp(self.wall_of(moment), UTC)

    def _too_large(self) -> SessionTooLargeError:
        return SessionTooLargeError(
            f"a session holds at most {self.limits.max_bytes} bytes of data; nothing was written"
        )
