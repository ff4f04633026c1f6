"""Presence: the devices of this worker, kept alive in Valkey; rosters, standings and watches over all workers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from valtier.clock import Clock
from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError, ValkeyError
from valtier.presence.device import Device
from valtier.presence.room import OVERALL, SHARDS, Rooms, Terms, encode, overall_room
from valtier.presence.watch import Roster, Standing, Watch
from valtier.wire import Valkey

log = logging.getLogger("valtier")

MaySee = Callable[[str | None, str], bool | Awaitable[bool]]
"""Given the viewer (or `None`) and the user: may the viewer know when the user was last seen?"""

_SEEN_MAX = 100_000
_IN_FLIGHT = 64  # rooms that are renewed at a time


@dataclass(frozen=True, slots=True)
class PresenceStats:
    """What this worker holds and has counted."""

    devices: int
    rooms: int
    deferred: int
    """Entries and leaves that could not be told to Valkey at once; they are told when it is back."""
    unknown: int
    """Questions that were answered with `unknown`."""
    reentered: int
    """How often a room was entered anew: Valkey had lost it, or thought this worker dead."""


class Presence:
    """Users and their devices, by room and overall. Guarded by one event loop.

    A user is online while any device lives. A device lives as long as it beats: it is gone when `missed` beats are
    missing (and a quarter of one, for the road). It also goes with its worker, whose lease runs out within `lease` of its
    last renewal; renewals come every third of that, so after a `kill -9` everybody on it is offline within 4/3 of `lease`.
    A device may have several connections, also to several workers: it leaves with the last of them.
    A leave is told only after `debounce`, and never if the user is back by then. Every deadline is the server's time; no
    worker's clock is compared with another's.

    Cost: a beat is one script per room of the device, sent together; a worker renews its lease with one script per
    room it has anybody in, every third of `lease`. The state of a room is in one slot; presence overall is spread over 16.

    When Valkey is away, questions are answered with *unknown*, never *offline*, and devices go on beating into the
    void; when it is back (also empty) each worker enters what it holds anew. Nothing here raises `ValkeyError`.
    """

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str = "valtier",
        ttl: Duration = 30.0,
        missed: int = 2,
        lease: Duration = 6.0,
        debounce: Duration = 3.0,
        seen_for: Duration = "90d",
        may_see: MaySee | None = None,
        worker: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepares it; nothing runs before `start`.

        Args:
            valkey: the wire; `None` answers *unknown* to everything.
            prefix: what its keys and channels begin with, before `:p:`.
            ttl: how often each device beats.
            missed: how many beats may be missing before it is gone.
            lease: within this time (and a third) the devices of a worker that died are gone.
            debounce: for how long a user who has left is still shown, in case they only reloaded the page.
            seen_for: for how long *last seen* is kept after the last device left.
            may_see: decides, at each question, whether a viewer may know when a user was last seen. Without it nobody
                may, but the user.
            worker: this worker's name, unique in the fleet; random without it.
            clock: for tests.

        Raises:
            ConfigurationError: a duration or a count can't be used.
        """
        if missed < 1:
            raise ConfigurationError("missed has to be at least 1")
        ttl_s = seconds(ttl, name="ttl")
        self.life_s = ttl_s * (missed + 0.25)
        self.lease_s = seconds(lease, name="lease")
        self.debounce_ms = _ms(seconds(debounce, name="debounce"))
        terms = Terms(
            life_ms=_ms(self.life_s),
            lease_ms=_ms(self.lease_s),
            seen_ms=max(_ms(seconds(seen_for, name="seen_for")), _ms(self.life_s) * 2),
            seen_max=_SEEN_MAX,
        )
        self.worker = encode(worker or secrets.token_hex(8), what="worker")
        self._rooms = None if valkey is None else Rooms(valkey, prefix, self.worker, terms)
        self._may_see = may_see
        self._clock = clock or Clock()
        self._here: dict[str, dict[str, Device]] = {}  # room: member: device
        self._doubles: dict[str, list[Device]] = {}  # by member: where a device has several connections here
        self._stale: set[str] = set()  # rooms to enter anew: Valkey has not heard of somebody
        self._goodbyes: dict[str, dict[str, int]] = {}  # room: member: debounce, not yet told
        self._lingering: dict[str, float] = {}  # rooms to sweep until then (monotonic): somebody is leaving
        self._watched: Counter[str] = Counter()  # by watches: they are swept too
        self._deferred = self._unknown = self._reentered = 0
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begins to keep this worker's lease. No round trip."""
        if self._closed:
            raise ConfigurationError("this presence was stopped; make a new one")
        if self._keeper is None and self._rooms is not None:
            self._keeper = asyncio.create_task(self._keep(self._rooms), name="valtier presence")

    async def stop(self, *, hand_over: bool = False) -> None:
        """Stops. Its devices leave now; with `hand_over` they stay for one lease, to come back to another worker."""
        if self._closed:
            return
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        after_ms = _ms(self.lease_s) if hand_over else 0
        for room, members in self._here.items():
            self._goodbyes.setdefault(room, {}).update(dict.fromkeys(members, after_ms))
        self._here.clear()
        self._doubles.clear()
        if self._rooms is not None:
            await self._say_goodbyes(self._rooms, list(self._goodbyes))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- devices -------------------------------------------------------------------------------------------

    async def connect(self, user: str, device: str | None = None, *, rooms: Iterable[str] = ()) -> Device:
        """Lets a device in, overall and in `rooms`. One round trip.

        Args:
            user: whose it is.
            device: its name among the user's, the same again after a reload; random without it.
            rooms: which rooms it enters at once.

        Raises:
            ConfigurationError: a name is empty or too long, or this presence was not started.
        """
        if self._closed or (self._keeper is None and self._rooms is not None):
            raise ConfigurationError("start the presence first: `async with tier.presence() as presence`")
        name = device or secrets.token_hex(8)
        encoded = encode(user, what="user")
        member = f"{encoded}/{encode(name, what='device')}"
        made = Device(self, user, name, member)
        await self.enter(
            made, [overall_room(encoded), *(encode(room, what="room") for room in rooms)], first=True
        )
        return made

    async def enter(self, device: Device, rooms: Iterable[str], *, first: bool = False) -> None:
        """Lets a device into (encoded) rooms, or beats for it there; for `Device`."""
        if self._closed or (not first and not device.rooms):
            return
        names = list(rooms)
        device.gone_at = self._clock.monotonic() + self.life_s
        for room in names:
            if (held := self._here.setdefault(room, {}).setdefault(device.member, device)) is not device:
                doubles = self._doubles.setdefault(device.member, [held])
                if device not in doubles:
                    doubles.append(device)
            device.rooms.add(room)
            self._goodbyes.get(room, {}).pop(device.member, None)
        if self._rooms is None:
            return
        outcomes = await asyncio.gather(
            *(self._rooms.enter(room, [device.member]) for room in names), return_exceptions=True
        )
        for room, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, ValkeyError):
                self._stale.add(room)
                self._deferred += 1
            elif isinstance(outcome, BaseException):
                raise outcome

    async def leave(self, device: Device, rooms: Iterable[str], after_ms: int) -> None:
        """Lets a device out of (encoded) rooms after a while; for `Device`."""
        told = self._let_go(device, rooms, after_ms)
        if self._rooms is not None and told:
            await self._say_goodbyes(self._rooms, told)

    def _let_go(self, device: Device, rooms: Iterable[str], after_ms: int) -> list[str]:
        """Returns the rooms in which no other connection of the device is left here: goodbyes wait to be said there."""
        told = []
        doubles = self._doubles.get(device.member, [])
        for room in rooms:
            device.rooms.discard(room)
            here = self._here.get(room, {})
            if here.get(device.member) is not device:
                continue
            heir = next((double for double in doubles if room in double.rooms), None)
            if heir is not None:
                here[device.member] = heir
                continue
            del here[device.member]
            if not here:
                del self._here[room]
            self._goodbyes.setdefault(room, {})[device.member] = after_ms
            told.append(room)
        if device in doubles and not device.rooms:
            doubles.remove(device)
            if len(doubles) == 1:
                del self._doubles[device.member]
        return told

    async def _say_goodbyes(self, store: Rooms, rooms: Iterable[str]) -> None:
        async def say(room: str) -> None:
            waiting = self._goodbyes.pop(room, {})
            for after_ms in set(waiting.values()):
                members = [member for member, its in waiting.items() if its == after_ms]
                try:
                    await store.leave(room, members, after_ms)
                except ValkeyError:
                    self._deferred += len(members)
                    if not self._closed:
                        self._goodbyes.setdefault(room, {}).update(dict.fromkeys(members, after_ms))
                else:
                    until = self._clock.monotonic() + after_ms / 1000 + self.lease_s
                    self._lingering[room] = max(until, self._lingering.get(room, 0.0))

        await asyncio.gather(*map(say, rooms))

    # -- questions -----------------------------------------------------------------------------------------

    async def roster(self, room: str) -> Roster:
        """Returns who is in a room; `known` is false while Valkey is away. One round trip."""
        encoded = encode(room, what="room")
        if self._rooms is not None:
            try:
                version, users = await self._rooms.roster(encoded)
            except ValkeyError:
                pass
            else:
                return Roster(known=True, users=users, room=room, version=version)
        self._unknown += 1
        return Roster(known=False, room=room)

    async def online(self) -> Roster:
        """Returns who is here overall; `known` is false if a part of it is not. One round trip, 16 commands."""
        parts: list[tuple[int, dict[str, int]]] = []
        if self._rooms is not None:
            try:
                parts = await asyncio.gather(
                    *(self._rooms.roster(f"{OVERALL}{shard}") for shard in range(SHARDS))
                )
            except ValkeyError:
                parts = []
        if not parts:
            self._unknown += 1
            return Roster(known=False)
        return Roster(known=True, users={user: count for _, users in parts for user, count in users.items()})

    async def standing(self, user: str, *, viewer: str | None = None) -> Standing:
        """Returns whether a user is here overall and, for viewers who may see it, when they were last. One round trip."""
        encoded = encode(user, what="user")
        if self._rooms is None:
            self._unknown += 1
            return Standing("unknown")
        try:
            devices, seen = await self._rooms.standing(overall_room(encoded), encoded)
        except ValkeyError:
            self._unknown += 1
            return Standing("unknown")
        if devices:
            return Standing("online", devices)
        if seen is not None and not await self._allowed(viewer, user):
            seen = None
        return Standing("offline", 0, seen)

    async def _allowed(self, viewer: str | None, user: str) -> bool:
        if viewer == user:
            return True
        if self._may_see is None:
            return False
        allowed = self._may_see(viewer, user)
        return await allowed if inspect.isawaitable(allowed) else allowed

    def watch(self, *rooms: str, max_queue: int = 10_000) -> Watch:
        """Returns a watch over rooms, for `async with` and then `async for`; over everybody, if none is named.

        Raises:
            ConfigurationError: there is no Valkey to watch (`USE_REDIS` is false), or a room's name can't be used.
        """
        if self._rooms is None:
            raise ConfigurationError("USE_REDIS is false: there is nothing to watch")
        names = {encode(room, what="room"): room for room in rooms}
        names = names or {f"{OVERALL}{shard}": "" for shard in range(SHARDS)}
        return Watch(self._rooms, names, self._watched, max_queue=max_queue)

    def stats(self) -> PresenceStats:
        """Returns what this worker holds and has counted. No round trip."""
        devices = {member for members in self._here.values() for member in members}
        return PresenceStats(len(devices), len(self._here), self._deferred, self._unknown, self._reentered)

    # -- keeping -------------------------------------------------------------------------------------------

    async def _keep(self, store: Rooms) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 3)
            try:
                await self._tick(store)
            except Exception:
                log.exception("Presence: keeping the rooms failed; it goes on")

    async def _tick(self, store: Rooms) -> None:
        now = self._clock.monotonic()
        self._forget_silent(now)
        self._lingering = {room: until for room, until in self._lingering.items() if until > now}
        await self._say_goodbyes(store, list(self._goodbyes))
        rooms = [*{*self._here, *self._lingering, *+self._watched}]
        for start in range(0, len(rooms), _IN_FLIGHT):
            await asyncio.gather(*(self._renew(store, room) for room in rooms[start : start + _IN_FLIGHT]))

    def _forget_silent(self, now: float) -> None:
        """Drops connections without a beat: after Valkey lost all they must not come back. Those of other workers stay."""
        silent = {device for here in self._here.values() for device in here.values() if device.gone_at <= now}
        silent.update(device for some in self._doubles.values() for device in some if device.gone_at <= now)
        for device in silent:
            self._let_go(device, list(device.rooms), self.debounce_ms)

    async def _renew(self, store: Rooms, room: str) -> None:
        try:
            held = await store.renew(room)
            members = list(self._here.get(room, ()))
            if members and (not held or room in self._stale):
                self._stale.discard(room)
                self._reentered += not held
                try:
                    await store.enter(room, members)
                except ValkeyError:
                    self._stale.add(room)
                    raise
        except ValkeyError:
            return  # the next round comes soon


def _ms(duration_s: float) -> int:
    return max(1, round(duration_s * 1000))
