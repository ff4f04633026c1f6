"""A room in Valkey: its names and its scripts. Atomic, by the server's clock; no policy."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import cast
from urllib.parse import quote, unquote

from valtier.errors import ConfigurationError
from valtier.keys import MAX_KEY_LENGTH
from valtier.wire import Script, Valkey

COMMANDS = (
    *("evalsha", "eval", "time", "exists", "del", "get", "set", "incrby", "pexpire"),
    *("zadd", "zrem", "zscore", "zrangebyscore", "zremrangebyscore", "zremrangebyrank"),
    *("hget", "hset", "hdel", "hincrby", "hgetall", "spublish", "ssubscribe", "sunsubscribe"),
)
"""What a restricted user has to be allowed, on keys and channels that begin with `prefix:p:`."""


def acl(prefix: str) -> tuple[str, ...]:
    """Returns the rules that an ACL user needs for presence: patterns of keys and channels, and commands."""
    return (f"~{prefix}:p:*", f"&{prefix}:p:*", *(f"+{name}" for name in COMMANDS))


BATCH = 500  # devices in one script: about 2 ms of the server's time
OVERALL = "*"
SHARDS = 16
"""Everybody's presence overall is spread over this many rooms, and so over the nodes of a cluster."""

_MAX_NAME = 200


def _script(name: str) -> Script:
    folder = resources.files(__package__)
    return Script((folder / "prelude.lua").read_text("utf-8") + (folder / name).read_text("utf-8"))


_ENTER = _script("enter.lua")
_LEAVE = _script("leave.lua")
_RENEW = _script("renew.lua")
_ROSTER = _script("roster.lua")
_STANDING = _script("standing.lua")


@dataclass(frozen=True, slots=True)
class Terms:
    """How long what lasts, in milliseconds."""

    life_ms: int
    lease_ms: int
    seen_ms: int
    seen_max: int


def encode(name: str, *, what: str) -> str:
    """Returns a user's, a device's or a room's name as a part of a key.

    Raises:
        ConfigurationError: it is empty, or longer than 200 characters when encoded.
    """
    if type(name) is not str or not name:
        raise ConfigurationError(f"a {what} is named by text that is not empty, not by {name!r}")
    encoded = quote(name, safe=":@", errors="surrogatepass")
    if len(encoded) > _MAX_NAME:
        raise ConfigurationError(f"the name of a {what} has at most {_MAX_NAME} characters: hash long ones")
    return encoded


def decode(name: bytes) -> str:
    return unquote(name.decode(), errors="surrogatepass")


def overall_room(user: str) -> str:
    """Returns the room in which this (encoded) user's presence overall is kept."""
    return f"{OVERALL}{zlib.crc32(user.encode()) % SHARDS}"


class Rooms:
    """The rooms of one prefix on one Valkey. Every method is one round trip and raises `ValkeyError`."""

    def __init__(self, valkey: Valkey, prefix: str, worker: str, terms: Terms) -> None:
        self.valkey = valkey
        self._prefix = prefix
        self._worker = worker
        self._terms = terms
        check = f"{prefix}:p:{{{'x' * _MAX_NAME}}}:d"
        if len(check) > MAX_KEY_LENGTH:
            raise ConfigurationError("the prefix is too long")

    def channel(self, room: str) -> str:
        return f"{self._prefix}:p:{{{room}}}"

    async def enter(self, room: str, members: Sequence[str]) -> int:
        """Lets devices in, or prolongs their stay. Returns how many are new."""
        return sum(
            [await self._run(_ENTER, room, self._terms.life_ms, *batch) for batch in _batches(members)]
        )

    async def leave(self, room: str, members: Sequence[str], after_ms: int) -> int:
        """Lets devices of this worker go after a while. Returns how many do."""
        return sum([await self._run(_LEAVE, room, after_ms, *batch) for batch in _batches(members)])

    async def renew(self, room: str) -> bool:
        """Prolongs this worker's lease; tells whether it still had one. Removes whoever is gone."""
        return bool(await self._run(_RENEW, room))

    async def roster(self, room: str) -> tuple[int, dict[str, int]]:
        """Returns the version of what it tells, and each user with the number of devices."""
        version, *pairs = cast("list[bytes]", await self._call(_ROSTER, room))
        users = {decode(user): int(count) for user, count in zip(pairs[::2], pairs[1::2], strict=True)}
        return int(version), users

    async def standing(self, room: str, user: str) -> tuple[int, float | None]:
        """Returns how many devices an (encoded) user has, and when the last one left (Unix time in seconds)."""
        count, seen = cast("tuple[int, bytes | float]", await self._call(_STANDING, room, user))
        return count, None if seen == b"" else float(seen) / 1000

    async def _run(self, script: Script, room: str, *more: str | int) -> int:
        return cast("int", await self._call(script, room, *more))

    async def _call(self, script: Script, room: str, *more: str | int) -> object:
        head = f"{self._prefix}:p:{{{room}}}:"
        keys = (head + "d", head + "o", head + "w", head + "u", head + "s", head + "v")
        terms = self._terms
        args = (self._worker, self.channel(room), terms.lease_ms, terms.seen_ms, terms.seen_max, *more)
        return await script.run(self.valkey, keys, args)


def _batches(members: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(members), BATCH):
        yield members[start : start + BATCH]
