"""Ticks: coalesced rooms, for cursors and the like: one message per room and tick, the latest payload of each key.

A change goes to the other workers within half a tick, and to clients at the next tick of their worker.
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
        loop = asyncio.get_running_loop()
        if self._delivering is None:
            self._delivering = loop.call_later(self._tick_s, self._deliver_all)
        if self._publish is not None:
            self._there.setdefault(where, {})[key] = payload
            if self._publishing is None:
                self._publishing = loop.call_later(self._tick_s / 2, self._publish_all)

    def hear(self, tick: Tick) -> None:
        """Takes another worker's changes."""
        entries = self._here.setdefault((tick.namespace, tick.room, tick.event), {})
        if len(entries) < _MAX_KEYS:
            entries.update(tick.entries)
        if self._delivering is None:
            self._delivering = asyncio.get_running_loop().call_later(self._tick_s, self._deliver_all)

    def stop(self) -> None:
        for timer in (self._delivering, self._publishing):
            if timer is not None:
                timer.cancel()

    def _deliver_all(self) -> None:
        self._delivering = None
        here, self._here = self._here, {}
        for where, entries in here.items():
            self._deliver(Tick(*where, entries))

    def _publish_all(self) -> None:
        self._publishing = None
        there, self._there = self._there, {}
        if self._publish is not None:
            for where, entries in there.items():
                self._publish(Tick(*where, entries))
