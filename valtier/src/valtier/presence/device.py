"""A device: a browser's tab or an app, connected to this worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from valtier.presence.room import encode

if TYPE_CHECKING:
    from valtier.presence.presence import Presence


class Device:
    """A connection of a user's device to this worker. Made by `Presence.connect`; not used after `close`."""

    __slots__ = ("_presence", "gone_at", "member", "name", "rooms", "user")

    def __init__(self, presence: Presence, user: str, name: str, member: str) -> None:
        self.user = user
        self.name = name
        self.member = member
        self.rooms: set[str] = set()  # encoded
        self._presence = presence
        self.gone_at = 0.0

    async def join(self, room: str) -> None:
        """Enters a room. Cheap to repeat; one round trip. While Valkey is away it is remembered and told later."""
        await self._presence.enter(self, [encode(room, what="room")])

    async def leave(self, room: str) -> None:
        """Leaves a room; others are told after the debounce, unless the user is back by then. One round trip."""
        await self._presence.leave(self, [encode(room, what="room")], self._presence.debounce_ms)

    async def beat(self) -> None:
        """Tells that the device lives: at least every `ttl`. One round trip for all its rooms, which leave together."""
        await self._presence.enter(self, self.rooms)

    async def close(self, *, at_once: bool = False) -> None:
        """Leaves everywhere, after the debounce or `at_once`. One round trip. Closing twice is nothing.

        Where the device has another connection, it stays.
        """
        await self._presence.leave(self, list(self.rooms), 0 if at_once else self._presence.debounce_ms)
