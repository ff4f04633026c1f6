"""The store: what sessions say to Valkey. Names and scripts; no policy.

A session is one hash, `prefix:s:{tag}:name`; what stands for it durably, a copy, is `prefix:s:{tag}:reign:name`. The reign
is that of the server: its run id, and if it was promoted, when. What a server brings back from disk, a replica from before
its promotion, or a primary from before it was one the last time, is not found. A user's index is `prefix:s:{tag}:u:…`. The tag is the name's beginning and the same for all sessions of a user.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

from valtier import keys
from valtier.sessions.reads import LEASE_MS, TIME, PlainReading, Reading, ScriptReading, Turn
from valtier.sessions.state import FIELD, State, chunks
from valtier.sessions.token import NAME_LENGTH, tag_of
from valtier.wire import Argument, Script, Topology, Valkey, reign_of, short_run_id

_LOAD = "load.lua"
_SCRIPTS = ("create.lua", "touch.lua", "write.lua", "rotate.lua", "kill.lua", "prune.lua")

COMMANDS = (
    "EVALSHA", "EVAL", "HGETALL", "HSET", "HGET", "HMGET", "HDEL", "DEL", "UNLINK", "PTTL", "PEXPIRE", "TIME", "ZADD",
    "ZREM", "ZRANGE", "ZREMRANGEBYSCORE", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "CLIENT|TRACKING",
)  # fmt: skip
"""The commands that sessions need, besides those of the wire's handshake."""


def acl(prefix: str) -> tuple[str, ...]:
    """Returns the rules that an ACL user needs for sessions: key and channel patterns, and commands."""
    head = f"{keys.check_prefix(prefix)}:s:"
    return (f"~{head}*", f"&{head}*", *(f"+{command.lower()}" for command in COMMANDS))


class Store:
    """The sessions of one prefix on one Valkey. Every method raises `ValkeyError` where Valkey fails."""

    def __init__(
        self,
        valkey: Valkey,
        prefix: str,
        *,
        copies: bool,
        load: Callable[[str], str] | None = None,
        time: tuple[Argument, ...] = TIME,
    ) -> None:
        """`copies` says whether what lies there stands for something durable.

        `load` may change a script's source, `time` is what asks for the server's time.
        """
        self.valkey = valkey
        self.channel = f"{prefix}:s:ended"
        self._head = f"{prefix}:s:{{"
        self._copies = copies
        self._clustered = valkey.address.topology is Topology.CLUSTER
        self._run = ""  # of copies: changes with each reign, before anybody may use a new connection
        self._reigns: dict[str | None, str] = {}  # of each primary, by its run id
        self._scripts = {name: Script(_read(name, load)) for name in (_LOAD, *_SCRIPTS)}
        self._time = time
        self._turn: Turn | None = None
        if copies:
            valkey.on_ready(self._follow_server)
            self._run = self._run_of(valkey.server.run_id)

    async def _follow_server(self, _: Valkey) -> None:
        await self.look_at_reigns()

    async def look_at_reigns(self) -> bool:
        """Asks each primary about its reign; returns whether one that was known is over. One round trip."""
        links = [link for link in self.valkey.nodes() if link.connection is not None]
        before, told = self._reigns, dict(await asyncio.gather(*map(reign_of, links)))
        self._reigns = told
        if links:
            self._run = self._run_of(self.valkey.server.run_id)
        return any(before.get(run_id, reign) != reign for run_id, reign in told.items())

    def _run_of(self, run_id: str | None) -> str:
        """Returns the part of a copy's name that changes with a reign; where that is unknown nothing is shared."""
        if run_id is None:
            return secrets.token_hex(6) + ":"
        return (self._reigns.get(run_id) or short_run_id(run_id)) + ":"

    # -- names ---------------------------------------------------------------------------------------------

    def key(self, name: str) -> str:
        """Returns the key of a session."""
        run, tag = self._run, name[:4]
        if self._copies and self._clustered:
            run = self._run_of(self.valkey.link_for(f"{{{tag}}}").server.run_id)
        return f"{self._head}{tag}}}:{run}{name}"

    def index(self, subject: str) -> str:
        """Returns the key of a user's index; the user is hashed."""
        digest = base64.urlsafe_b64encode(sha256(subject.encode("utf-8", "surrogatepass")).digest()).decode()
        return f"{self._head}{tag_of(subject)}}}:u:{digest[:22]}"

    def name_of(self, key: bytes) -> str | None:
        """Returns the name of the session with this key, if it can be one of ours."""
        if not key.startswith(self._head.encode()):
            return None
        return key[-NAME_LENGTH:].decode("ascii", "replace")

    # -- reading -------------------------------------------------------------------------------------------

    def begin(
        self, name: str, asked: float, *, lease: str = "", keep: Callable[[State], None] | None = None
    ) -> Reading:
        """Sends the read of a session at once, in the same write as whatever else is sent in this turn of the loop.

        `keep` is given the state in socket order, where Valkey will tell if it changes. With a `lease` it is taken where
        there is no session, to store a copy.
        """
        if self._clustered:
            return ScriptReading(self.valkey, self._scripts[_LOAD], self.key(name), name, asked, lease, keep)
        turn = self._turn
        if turn is None:
            turn = self._turn = Turn(self.valkey, self._time, asked)
            asyncio.get_running_loop().call_soon(self._end_turn)
        return PlainReading(self.valkey, turn, self.key(name), name, asked, lease, keep, self._take_lease)

    def _end_turn(self) -> None:
        self._turn = None

    async def _take_lease(self, name: str, lease: str) -> Any:
        return await self._run_script(_LOAD, (self.key(name),), (lease, LEASE_MS))

    async def load(self, name: str, asked: float) -> State | None:
        """Reads a session. One round trip."""
        state, _ = await self.begin(name, asked).outcome()
        return state

    async def names(self, subject: str) -> list[str]:
        """Returns the names in a user's index; some may have ended. One round trip."""
        found = await self._run_script("prune.lua", (self.index(subject),), ())
        return [name.decode("ascii", "replace") for name in found]

    async def load_many(self, names: Sequence[str], asked: float) -> list[State | None]:
        """Reads sessions. One round trip."""
        return await asyncio.gather(*(self.load(name, asked) for name in names))

    # -- writing -------------------------------------------------------------------------------------------

    async def create(
        self, state: State, *, idle_s: float, absolute_s: float, sudo_s: float, lease: str = "", copy_s: float = 0.0,
        now: float,
    ) -> bool:  # fmt: skip
        """Stores a session, or with a `lease` a copy, if that still stands. Returns whether it did. One round trip."""
        keys_ = [self.key(state.name)]
        if state.subject is not None and not self._copies:
            keys_.append(self.index(state.subject))
        more: list[Argument] = ["h", state.token_hash]
        if state.subject is not None:
            more += ["s", state.subject]
        if state.remembered:
            more += ["m", 1]
        if state.old_hash and state.old_ends > now:
            more += ["p", state.old_hash, "pn", state.old_nonce]
        for part, value in chunks(state.user_agent):
            more += [part, value]
        if state.address:
            more += ["a", state.address.encode("utf-8", "replace")]
        for name, value in state.fields.items():
            more += [FIELD + name.encode(), value]
        times = (
            _ms(idle_s), _ms(absolute_s), _ms(now - state.created), _ms(now - state.seen), _ms(now - state.issued),
            _ms(sudo_s), _ms(max(0.0, state.old_ends - now)), _ms(copy_s),
        )  # fmt: skip
        args = (state.name, lease, *times, *more)
        return bool(await self._run_script("create.lua", tuple(keys_), args))

    async def touch(self, name: str, interval_s: float) -> int:
        """Notes that a session is in use: 1; 0 if that was noted lately, -1 without one. One round trip."""
        return int(await self._run_script("touch.lua", (self.key(name),), (_ms(interval_s),)))

    async def write(
        self, name: str, token_hash: bytes, sets: dict[str, bytes], removes: Sequence[str], max_bytes: int
    ) -> int:
        """Sets and removes fields: 1; -1 without a session, -2 if the data would be too large. One round trip."""
        args: list[Argument] = [token_hash, max_bytes, len(sets)]
        for field, value in sets.items():
            args += [FIELD + field.encode(), value]
        args += [FIELD + field.encode() for field in removes]
        return int(await self._run_script("write.lua", (self.key(name),), tuple(args)))

    async def rotate(
        self, name: str, old: bytes, new: bytes, *, grace_s: float, nonce: bytes, sudo_s: float
    ) -> int:
        """Gives a session another token: 1; 0 if the old one is not its own, -1 without one. One round trip."""
        args = (old, new, _ms(grace_s), nonce, _ms(sudo_s) if sudo_s >= 0 else -1)
        return int(await self._run_script("rotate.lua", (self.key(name),), args))

    async def kill(self, index: str, names: Sequence[str], why: str) -> list[str]:
        """Ends sessions of one user. Returns the names of those that there were. One round trip."""
        keys_ = (index, *map(self.key, names))
        ended = await self._run_script("kill.lua", keys_, (self.channel, why, *names))
        return [name.decode() for name in ended]

    async def forget(self, names: Iterable[str]) -> None:
        """Removes copies, and the leases to store one. One round trip."""
        if keys_ := [self.key(name) for name in names]:
            await self.valkey.call("UNLINK", *keys_, idempotent=True)

    async def publish(self, names: Iterable[str], why: str) -> None:
        """Tells everybody who listens that these have ended. One round trip for all."""
        await asyncio.gather(*[self.valkey.call("PUBLISH", self.channel, why + name) for name in names])

    async def _run_script(self, script: str, keys_: tuple[str, ...], args: tuple[Argument, ...]) -> Any:
        return await self._scripts[script].run(self.valkey, keys_, args)


def _read(name: str, change: Callable[[str], str] | None) -> str:
    from importlib import resources

    source = resources.files(__package__).joinpath(name).read_text("utf-8")
    return source if change is None else change(source)


def _ms(duration_s: float) -> int:
    return max(0, round(duration_s * 1000))
