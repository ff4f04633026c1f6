"""Topics: what can be subscribed to, and a connection on which subscriptions are confirmed in step with commands.

Design
    Confirmations of SUBSCRIBE and its kin come as pushes (RESP3) or arrays (RESP2), refusals as errors. Each command
    names one topic, so each gets exactly one answer, and the connection's queue of futures stays in step: a
    confirmation takes the oldest future if that asked for it. What nobody asked for and is no message (a slot has moved
    away) is told as a push. Anything out of step drops the connection, which costs a gap and never a wrong belief.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from valtier.errors import ProtocolError
from valtier.wire.connection import Connection, Reply

CHANNEL, PATTERN, SHARD = b"message", b"pmessage", b"smessage"
"""The kinds of topics, named as their messages are."""

VERBS = {CHANNEL: b"subscribe", PATTERN: b"psubscribe", SHARD: b"ssubscribe"}
UNDO = {CHANNEL: b"unsubscribe", PATTERN: b"punsubscribe", SHARD: b"sunsubscribe"}
_ANSWERS = frozenset((*VERBS.values(), *UNDO.values()))


class Topic(NamedTuple):
    """A channel, a pattern or a sharded channel."""

    kind: bytes
    name: bytes


class Ask(asyncio.Future[Reply]):
    """A command about one topic; its confirmation is acted upon at once, in socket order."""

    def __init__(self, verb: bytes, topic: Topic, on_result: Callable[[Ask], None]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.verb = verb
        self.topic = topic
        self._on_result = on_result

    def set_result(self, result: Reply) -> None:
        super().set_result(result)
        self._on_result(self)


class FeedConnection(Connection):
    """A connection on which the confirmations of subscriptions count as replies, in RESP3 and RESP2."""

    def _is_push(self, reply: Reply) -> bool:
        if not isinstance(reply, list) or not reply or not isinstance(reply[0], bytes):
            return super()._is_push(reply)
        self._unfinished = 0  # a whole reply came
        if reply[0] in _ANSWERS:
            oldest = self._pending[0] if self._pending else None
            if isinstance(oldest, Ask) and (oldest.verb, oldest.topic.name) == (reply[0], reply[1]):
                return False
            if reply[0] != b"sunsubscribe":
                raise ProtocolError(f"unexpected {reply[0].decode()}")
        elif reply[0] not in VERBS:  # PONG, or the reply to HELLO, of RESP2
            return super()._is_push(reply)
        self._telemetry.pushes += 1
        if self._on_push is not None:
            self._on_push(reply)
        return True
