"""Ticks: coalesced rooms, for cursors and the like: one message per room and tick, the latest payload of each key.

A change after a pause goes out at once; one that follows waits until a tick has passed since the last went out: to the
other workers half a tick, to clients a whole one. So a room gets no more messages than there are ticks, and the cursor of
somebody who moves alone is not made to wait for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from valtier.errors import ConfigurationError
from valtier.socketio.messages import Room, Tick

_Where = tuple[str, Room, str]
_MAX_KEYS = 10_000


class Ticks:
    """Collects changes while there are any, and sleeps otherwise. Guarded by the event loop."""

    def __init__(
        self, tick_s: float, *, deliver: Callable[[Tick], None], publish: Callable[[Tick], None] | None
    ) -> None:
        self._tick_s = tick_s
        self._deliver = deliver
        self._publish = publish
        self._here: dict[_Where, dict[str, str]] = {}  # for this worker's clients
        self._there: dict[_Where, dict[str, str]] = {}  # for the other workers
        self._delivering: asyncio.TimerHandle | None = None
        self._publishing: asyncio.TimerHandle | None = None
        self._delivered_at = self._published_at = -tick_s  # by the event loop's clock

    def change(self, namespace: str, room: Room, event: str, key: str, payload: str) -> None:
        """Takes a change of this worker's.

        Raises:
            ConfigurationError: a tick has too many keys in one room.
        """
        where = (namespace, room, event)
        entries = self._here.setdefault(where, {})
        if key not in entries and len(entries) >= _MAX_KEYS:
            raise ConfigurationError(f"more than {_MAX_KEYS} keys changed in the room within one tick")
        entries[key] = payload
        if self._delivering is None:
            self._delivering = self._soon(self._deliver_all, self._delivered_at + self._tick_s)
        if self._publish is not None:
            self._there.setdefault(where, {})[key] = payload
            if self._publishing is None:
                self._publishing = self._soon(self._publish_all, self._published_at + self._tick_s / 2)

    def hear(self, tick: Tick) -> None:
        """Takes another worker's changes."""
        entries = self._here.setdefault((tick.namespace, tick.room, tick.event), {})
        if len(entries) < _MAX_KEYS:
            entries.update(tick.entries)
        if self._delivering is None:
            self._delivering = self._soon(self._deliver_all, self._delivered_at + self._tick_s)

    def stop(self) -> None:
        for timer in (self._delivering, self._publishing):
            if timer is not None:
                timer.cancel()

    @staticmethod
    def _soon(action: Callable[[], None], due: float) -> asyncio.TimerHandle:
        """Has it done when it is due, but not before the loop's next turn: what comes in one read goes out in one."""
        loop = asyncio.get_running_loop()
        return loop.call_at(max(due, loop.time()), action)

    def _deliver_all(self) -> None:
        self._delivering = None
        self._delivered_at = asyncio.get_running_loop().time()
        here, self._here = self._here, {}
        for where, entries in here.items():
            self._deliver(Tick(*where, entries))

    def _publish_all(self) -> None:
        self._publishing = None
        self._published_at = asyncio.get_running_loop().time()
        there, self._there = self._there, {}
        if self._publish is not None:
            for where, entries in there.items():
                self._publish(Tick(*where, entries))
