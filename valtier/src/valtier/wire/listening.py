"""Listening: what a feed tells."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from valtier.errors import ReplyError
from valtier.wire.subscription import Gap
from valtier.wire.topics import Topic


class Listener(Protocol):
    """Who is told, in socket order, while the bytes are being read; must not raise."""

    def message(self, topic: Topic, reply: list[Any]) -> None: ...

    def confirmed(self, topic: Topic) -> None: ...

    def lost(self, topic: Topic, gap: Gap) -> None: ...

    def refused(self, topic: Topic, error: ReplyError) -> None:
        """The feed wants the topic no more. `MOVED` if it has to be asked for at another server."""

    def unsettled(self, topics: Collection[Topic]) -> None:
        """These are not confirmed; told again and again."""
