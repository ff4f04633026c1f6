"""The store: what the cache says to Valkey. Names, leases and the versions of tags; no policy.

A name is `prefix:reign:{c:key}` for an entry, `…{c:key}l` for the lease to refresh it, `…{t:tag}` for a tag. The reign is
that of the server which holds it: its run id, and if it was promoted, when. What a server brings back from disk, a replica
from before its promotion, or a primary from before it was one the last time, is not found. In a cluster each name has the
reign of its own slot's primary (never something made of all of them, of which two processes may know different ones), and
the braces make the slot depend on key or tag alone.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Iterable, Sequence

from valtier.cache.entry import ENTRY_MARK, HEADER_SIZE, new_marker, new_version
from valtier.errors import UnavailableError
from valtier.wire import Script, Topology, Valkey, reign_of, scan, short_run_id

log = logging.getLogger("valtier")

Versions = tuple[bytes | None, ...]

CHUNK = 1000  # names in one UNLINK
TAG_TTL_MS = 7 * 24 * 3600 * 1000
_TRIES = 5

_TAKE_LEASE = Script.load(__package__, "take_lease.lua")
_FILL = Script.load(__package__, "fill.lua")
_EXTEND = Script.load(__package__, "extend.lua")
_REMOVE = Script.load(__package__, "remove.lua")


def entry_suffix(key: str) -> str:
    """Returns the part of an entry's name that is the same on every server."""
    return f"c:{key}"


def tag_suffix(tag: str) -> str:
    """Returns the part of a tag's name that is the same on every server."""
    return f"t:{tag}"


_GUARDS = 16
_GUARD_MARK = "t: "


def guard_of(tag: str) -> str:
    """Returns the guard of a tag: a tag that is invalidated with it, and with one in sixteen others.

    Whoever learns only after a load what its result depends on compares the guards before and after: where a guard has
    not changed, none of its tags was invalidated meanwhile. No tag of a caller's is named so: it has a space.
    """
    return f" {zlib.crc32(tag.encode()) % _GUARDS}"


GUARDS = tuple(f" {number}" for number in range(_GUARDS))


class Store:
    """The entries and tags of one prefix on one Valkey. Every method raises `ValkeyError` where Valkey fails.

    After a failover or a restart names change. A command that was under way then has asked for, or written to, a name
    that nobody uses any more: whoever reads looks again, whoever removes does it again (`is_current`).
    """

    def __init__(self, valkey: Valkey, prefix: str, *, lease_ms: int) -> None:
        self.valkey = valkey
        self.lease_ms = lease_ms
        self.epoch = 0
        """How often a connection was made."""
        self._prefix = prefix
        self.clustered = valkey.address.topology is Topology.CLUSTER
        self._reigns: dict[str | None, str] = {}  # of each primary, by its run id
        self.head = ""
        self._set_head(valkey.server.run_id)  # changes with each connection, before anybody may use it
        self._head_size = len(self.head)
        valkey.on_ready(self._follow_server)

    async def _follow_server(self, valkey: Valkey) -> None:
        if valkey.server.run_id is None:
            log.warning("INFO is not permitted: after a restart of Valkey from disk, old entries may be seen")
        self.epoch += 1
        await self.look_at_reigns()

    async def look_at_reigns(self) -> bool:
        """Asks each primary about its reign; returns whether one that was known is over. One round trip."""
        links = [link for link in self.valkey.nodes() if link.connection is not None]
        told = await asyncio.gather(*map(reign_of, links))
        before = self._reigns
        self._reigns = dict(told)
        self._set_head(self.valkey.server.run_id)
        return any(before.get(run_id, reign) != reign for run_id, reign in self._reigns.items())

    def _set_head(self, run_id: str | None) -> None:
        head = f"{self._prefix}:{self._reigns.get(run_id) or short_run_id(run_id)}:{{"
        if head != self.head:  # readers compare by identity
            self.head = head

    @property
    def available(self) -> bool:
        return self.valkey.available

    @property
    def outages(self) -> int:
        """A number that grows with the end of each outage, whether or not a connection was lost in it."""
        return self.epoch + sum(link.recoveries for link in self.valkey.nodes())

    # -- names ---------------------------------------------------------------------------------------------

    def name(self, suffix: str) -> str:
        """Returns the name that `suffix` has now.

        Raises:
            UnavailableError: it is not known which server of the cluster would hold it.
        """
        if not self.clustered:
            return f"{self.head}{suffix}}}"
        run_id = self.valkey.link_for(f"{{{suffix}}}").server.run_id
        return f"{self._prefix}:{self._reigns.get(run_id) or short_run_id(run_id)}:{{{suffix}}}"

    def is_current(self, name: str, suffix: str) -> bool:
        """Whether `name` is still the name of `suffix`: if not, a reply about it says nothing."""
        if not self.clustered:
            return name.startswith(self.head)
        try:
            return name == self.name(suffix)
        except UnavailableError:
            return False

    def suffix_of(self, name: bytes) -> str:
        """Returns the suffix of a name that is one of ours, else nothing."""
        inner = name[self._head_size :]
        end = inner.rfind(b"}")
        return inner[:end].decode("utf-8", "replace") if end > 0 else ""

    # -- reading -------------------------------------------------------------------------------------------

    async def look(self, key: str, tags: Sequence[str] = ()) -> tuple[bytes | None, Versions]:
        """Returns what lies under `key`, and the versions of the tags. One round trip."""
        suffixes = [entry_suffix(key), *map(tag_suffix, tags)]
        for _ in range(_TRIES):
            names = list(map(self.name, suffixes))
            if len(names) == 1:
                raw, versions = await self.valkey.call("GET", names[0]), ()
            else:
                raw, *versions = await self.valkey.call("MGET", *names)
            if all(map(self.is_current, names, suffixes)):
                return raw, tuple(versions)
        raise UnavailableError("Valkey's servers change too fast; nothing was read")

    async def tag_versions(self, tags: Sequence[str]) -> Versions:
        """Returns the versions of the tags, `None` for those that have none. One round trip."""
        if not tags:
            return ()
        return tuple(await self.valkey.call("MGET", *(self.name(tag_suffix(tag)) for tag in tags)))

    async def complete_versions(self, tags: Sequence[str], known: Versions) -> tuple[bytes, ...]:
        """Gives a version to each tag that had none. One round trip if there are such."""
        missing = [tag for tag, version in zip(tags, known, strict=True) if version is None]
        if not missing:
            return known  # type: ignore[return-value]
        created = dict(zip(missing, await asyncio.gather(*map(self._create_version, missing)), strict=True))
        return tuple(version or created[tag] for tag, version in zip(tags, known, strict=True))

    async def _create_version(self, tag: str) -> bytes:
        version = new_version()
        existing: bytes | None = await self.valkey.call(
            "SET", self.name(tag_suffix(tag)), version, "NX", "GET", "PX", TAG_TTL_MS
        )
        return version if existing is None else existing

    # -- leases --------------------------------------------------------------------------------------------

    async def take_lease(
        self,
        key: str,
        seen: bytes | None,
        versions: Sequence[bytes] = (),
        *,
        lasts_ms: int | None = None,
    ) -> tuple[bytes, bytes | None]:
        """Takes the lease to fill `key`, where `seen` is what lay there: nothing, or what may be replaced.

        Returns the marker under which whoever holds the lease fills, and `None` if that is the caller; else what is
        stored instead. One round trip.
        """
        marker, lasts_ms = new_marker(versions), lasts_ms or self.lease_ms
        name = self.name(entry_suffix(key))
        stored: bytes | None
        if seen is None:
            stored = await self.valkey.call("SET", name, marker, "NX", "GET", "PX", lasts_ms)
        else:
            stored = await _TAKE_LEASE.run(self.valkey, (name,), (marker, lasts_ms, seen[:HEADER_SIZE]))
        return (marker if stored is None else stored), stored

    async def take_refresh(self, key: str, *, lasts_ms: int | None = None) -> bytes | None:
        """Takes the lease to load an entry anew that stays where it is; `None` if another has it. One round trip."""
        token = new_marker()
        name = self.name(entry_suffix(key)) + "l"
        taken = await self.valkey.call("SET", name, token, "NX", "PX", lasts_ms or self.lease_ms)
        return token if taken is not None else None

    async def extend(self, key: str, token: bytes, *, refresh: bool, lasts_ms: int | None = None) -> bool:
        """Makes a lease last so long from now. Returns whether it still stood. One round trip."""
        name = self.name(entry_suffix(key)) + ("l" if refresh else "")
        return bool(await _EXTEND.run(self.valkey, (name,), (token, lasts_ms or self.lease_ms)))

    async def fill(self, key: str, expected: bytes, data: bytes, ttl_ms: int) -> bool:
        """Stores `data` where what lies there begins with `expected`: a lease's marker, or the head of an entry.

        Empty data remove it: the lease is given back. Returns whether it lay there. One round trip.
        """
        return bool(await _FILL.run(self.valkey, (self.name(entry_suffix(key)),), (expected, data, ttl_ms)))

    async def release_refresh(self, key: str, token: bytes) -> None:
        """Gives the lease to refresh back. One round trip."""
        await _FILL.run(self.valkey, (self.name(entry_suffix(key)) + "l",), (token, b"", 0))

    # -- writing -------------------------------------------------------------------------------------------

    async def put(self, key: str, data: bytes, ttl_ms: int) -> None:
        """Stores `data`, whatever is there. One round trip."""
        suffix = entry_suffix(key)
        for _ in range(_TRIES):
            name = self.name(suffix)
            await self.valkey.call("SET", name, data, "PX", ttl_ms)
            if self.is_current(name, suffix):
                return
        raise UnavailableError("Valkey's servers change too fast; it may not have been stored")

    async def remove(self, key: str) -> bool:
        """Removes what lies under `key`; returns whether it was an entry, not only a lease. One round trip."""
        suffix = entry_suffix(key)
        for _ in range(_TRIES):
            name = self.name(suffix)
            was_entry = bool(await _REMOVE.run(self.valkey, (name,), (ENTRY_MARK,)))
            if self.is_current(name, suffix):
                return was_entry
        raise UnavailableError("Valkey's servers change too fast; it may not have been removed")

    async def unlink(self, suffixes: Iterable[str]) -> int:
        """Removes entries and tags by their suffixes; returns how many there were. One round trip."""
        left = list(suffixes)
        count: int = 0
        guards = [suffix for suffix in left if suffix.startswith(_GUARD_MARK)] if self.clustered else []
        if 0 < len(guards) < len(left):  # on other servers than their tags, which must not go first
            count += await self.unlink(guards)
            left = [suffix for suffix in left if not suffix.startswith(_GUARD_MARK)]
        for _ in range(_TRIES):
            names = list(map(self.name, left))
            count += int(await self.valkey.call("UNLINK", *names, idempotent=True))
            left = [
                suffix for name, suffix in zip(names, left, strict=True) if not self.is_current(name, suffix)
            ]
            if not left:
                return count
        raise UnavailableError("Valkey's servers change too fast; not everything was removed")

    async def sweep(self) -> None:
        """Removes every entry and tag. One round trip or two for each thousand keys of the server."""
        found: list[bytes] = []
        async for name in scan(self.valkey, match=f"{self._prefix}:*", count=CHUNK):
            if not self.suffix_of(name):
                continue
            found.append(name)
            if len(found) >= CHUNK:
                await self.valkey.unlink(*found)
                found.clear()
        if found:
            await self.valkey.unlink(*found)
