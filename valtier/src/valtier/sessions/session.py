"""A session as a request sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from valtier.sessions.state import State

if TYPE_CHECKING:
    from valtier.sessions.sessions import Sessions

T = TypeVar("T")

_UNREAD: Any = object()


class Session(Generic[T]):
    """One session: whose it is, until when, and its data. It shows what was read; writes go to the store at once.

    Hold it for one request. Its methods are those of `Sessions` with this session as the first argument.
    """

    __slots__ = ("_data", "_sessions", "_state", "_token", "ended", "token_hash")

    def __init__(self, sessions: Sessions[T], state: State, token: str, token_hash: bytes) -> None:
        self._sessions = sessions
        self._state = state
        self._token = token
        self._data: Any = _UNREAD
        self.token_hash = token_hash
        """SHA-256 of the token with which it was loaded, or of its new one."""
        self.ended = False
        """Whether it was ended through this object."""

    def __repr__(self) -> str:
        return f"<Session {self._sessions.masked(self._state.name)}>"

    @property
    def subject(self) -> str | None:
        """Whose it is; `None` if nobody has signed in."""
        return self._state.subject

    @property
    def device_id(self) -> str:
        """Names the session in device lists and logs out of it; no secret, and the same for as long as it lives."""
        return self._state.name

    @property
    def token(self) -> str:
        """What belongs into the cookie. Changes when the session is rotated, renewed or confirmed. Never log it."""
        return self._token

    @property
    def data(self) -> T:
        """The fields: of the declared type, else a dict. Changing it changes nothing; use `set`."""
        if self._data is _UNREAD:
            self._data = self._sessions.fields.decode(self._state.fields)
        data: T = self._data
        return data

    def get(self, name: str, default: Any = None) -> Any:
        """Returns a field, or the default if it is not set."""
        data: Any = self.data
        return data.get(name, default) if type(data) is dict else getattr(data, name, default)

    @property
    def remembered(self) -> bool:
        """Whether the user asked to be remembered."""
        return self._state.remembered

    @property
    def created(self) -> datetime:
        return self._wall(self._state.created)

    @property
    def last_seen(self) -> datetime:
        """When it was noted last that it is in use: at most once in `touch`."""
        return self._wall(self._state.seen)

    @property
    def expires(self) -> datetime:
        """When it ends if it is not used any more."""
        return self._wall(self._state.ends)

    @property
    def expires_s(self) -> float:
        """In how many seconds it reaches its absolute limit."""
        return self._state.ends_at_most - self._sessions.monotonic()

    @property
    def is_sudo(self) -> bool:
        """Whether the user has authenticated recently (sudo mode)."""
        return self._state.sudo_ends > self._sessions.monotonic()

    @property
    def sudo_until(self) -> datetime | None:
        """When sudo mode ends; `None` outside of it."""
        return self._wall(self._state.sudo_ends) if self.is_sudo else None

    def adopt(self, state: State, *, token: str | None = None) -> None:
        """Shows another state, of the same session; for `Sessions`."""
        self._state = state
        self._data = _UNREAD
        if token is not None:
            self._token, self.token_hash = token, state.token_hash

    @property
    def state(self) -> State:
        """What was read; not to be changed."""
        return self._state

    def _wall(self, moment: float) -> datetime:
        return datetime.fromtimestamp(self._sessions.wall_of(moment), UTC)

    # -- changes -------------------------------------------------------------------------------------------

    async def set(self, **fields: object) -> None:
        """Sets fields, and leaves others as they are. As `Sessions.write`."""
        await self._sessions.write(self, fields)

    async def remove(self, *names: str) -> None:
        """Removes fields. As `Sessions.write`."""
        await self._sessions.write(self, {}, removes=names)

    async def rotate(self, *, connection: Any = None) -> None:
        """Gives it a new token and ends the old one at once. As `Sessions.rotate`."""
        await self._sessions.rotate(self, connection=connection)

    async def confirm(self, *, connection: Any = None) -> None:
        """The user has just authenticated again: a new token, and sudo mode. As `Sessions.confirm`."""
        await self._sessions.confirm(self, connection=connection)

    async def destroy(self, *, connection: Any = None) -> None:
        """Ends it. As `Sessions.destroy`."""
        await self._sessions.destroy(self, connection=connection)
