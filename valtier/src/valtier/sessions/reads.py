"""Reads: what is sent to Valkey for a session, and what comes of it.

A read is a plain HGETALL, which costs Valkey a fraction of what a script does. What lies there are moments of the server's
clock, so the server's TIME is asked in the same write, once for all reads of a turn of the event loop. Only where there is
no session, and a copy is to be stored, does a script follow, which takes the lease.

In a cluster the server that holds the session has to tell the time, and TIME has no key by which it would get there: a
script reads both.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from valtier.errors import ReplyError
from valtier.sessions.state import State, parse_hash
from valtier.wire import Argument, Script, Valkey

TIME: tuple[Argument, ...] = ("TIME",)
"""What tells the server's time. Tests put another command in its place, which returns ms."""
LEASE_MS = 5000

Keep = Callable[[State], None]


class Reading(ABC):
    """A read that has been sent."""

    __slots__ = ("_keep", "_reply", "_state", "asked", "lease", "name")

    def __init__(self, name: str, asked: float, lease: str, keep: Keep | None) -> None:
        self.name = name
        self.asked = asked
        self.lease = lease
        self._keep = keep
        self._state: State | None = None
        self._reply: asyncio.Future[Any]

    @abstractmethod
    async def outcome(self) -> tuple[State | None, bool]:
        """Returns the session, and whether the lease was taken. One round trip; two where there is no session.

        Raises:
            ValkeyError: Valkey gave no answer.
        """

    def _read(self, fields: Any, offset: float) -> None:
        self._state = state = parse_hash(self.name, mapping_of(fields), self.asked, offset)
        if state is not None and self._keep is not None:
            self._keep(state)


class Turn:
    """The server's time as it was asked in one turn of the event loop."""

    __slots__ = ("_asked", "_reply", "offset")

    def __init__(self, valkey: Valkey, command: tuple[Argument, ...], asked: float) -> None:
        """Sends it. Raises ValkeyError."""
        self.offset: float | None = None
        """What added to the server's seconds makes them moments of this process, or a little less."""
        self._asked = asked
        self._reply = valkey.call_tracked(*command, sink=self._sink)
        self._reply.add_done_callback(retrieve)

    def _sink(self, told: Any) -> None:
        now_s = int(told[0]) + int(told[1]) / 1e6 if type(told) is list else int(told) / 1000
        self.offset = self._asked - now_s

    async def find(self) -> float:
        """Returns the offset. Raises ValkeyError."""
        told = await self._reply
        if self.offset is None:  # nothing is tracked
            self._sink(told)
        return self.offset or 0.0


class PlainReading(Reading):
    """HGETALL, with the time of its turn."""

    __slots__ = ("_take_lease", "_turn")

    def __init__(
        self,
        valkey: Valkey,
        turn: Turn,
        key: str,
        name: str,
        asked: float,
        lease: str,
        keep: Keep | None,
        take_lease: Callable[[str, str], Awaitable[Any]],
    ) -> None:
        """Sends it. Raises ValkeyError."""
        super().__init__(name, asked, lease, keep)
        self._turn = turn
        self._take_lease = take_lease
        self._reply = valkey.call_tracked("HGETALL", key, sink=self._sink)
        self._reply.add_done_callback(retrieve)  # nobody may wait for it: the request was refused meanwhile

    def _sink(self, fields: Any) -> None:
        offset = self._turn.offset
        if fields and offset is not None:
            self._read(fields, offset)

    async def outcome(self) -> tuple[State | None, bool]:
        fields = await self._reply
        if fields:
            if self._state is None:  # nothing is tracked, or it is none
                self._keep = None
                self._read(fields, await self._turn.find())
            return self._state, False
        if not self.lease:
            return None, False
        reply = await self._take_lease(self.name, self.lease)
        if type(reply) is list:  # somebody has stored one meanwhile
            self._keep = None
            self._read(reply[1], self.asked - reply[0] / 1000)
        return self._state, reply == 1


class ScriptReading(Reading):
    """`load.lua`."""

    __slots__ = ("_args", "_script", "_valkey")

    def __init__(
        self, valkey: Valkey, script: Script, key: str, name: str, asked: float, lease: str, keep: Keep | None
    ) -> None:
        """Sends it. Raises ValkeyError."""
        super().__init__(name, asked, lease, keep)
        self._valkey = valkey
        self._script = script
        self._args = (1, key, lease, LEASE_MS)
        self._reply = self._send("EVALSHA", script.sha)
        self._reply.add_done_callback(retrieve)

    def _send(self, command: str, script: str) -> asyncio.Future[Any]:
        return self._valkey.call_tracked(command, script, *self._args, sink=self._sink)

    def _sink(self, reply: Any) -> None:
        if type(reply) is list:
            self._read(reply[1], self.asked - reply[0] / 1000)

    async def outcome(self) -> tuple[State | None, bool]:
        try:
            reply = await self._reply
        except ReplyError as exc:
            if exc.code != "NOSCRIPT":
                raise
            reply = await self._send("EVAL", self._script.source)
        if self._state is None and type(reply) is list:  # nothing is tracked
            self._keep = None
            self._sink(reply)
        return self._state, reply == 1


def mapping_of(fields: Any) -> Mapping[bytes, Any]:
    """Returns what HGETALL told: a dict with RESP3, with RESP2 and from scripts a list."""
    if type(fields) is dict:
        return fields
    pairs = iter(fields)
    return dict(zip(pairs, pairs, strict=True))


def retrieve(reply: asyncio.Future[Any]) -> None:
    """Nobody is to be warned of an error for which nobody waits."""
    if not reply.cancelled():
        reply.exception()
