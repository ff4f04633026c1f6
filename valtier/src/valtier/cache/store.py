"""The store: what the cache says to Valkey. Names, leases and the versions of tags; no policy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from valtier.cache.entry import is_marker, new_marker, new_version
from valtier.cache.flight import Versions
from valtier.wire import Script, Valkey, scan

log = logging.getLogger("valtier")

CHUNK = 1000  # names in one UNLINK
_TAG_TTL_MS = 7 * 24 * 3600 * 1000
_DEAD_PREFIX = 256  # so many bytes hold the header of a dead entry, or enough of a corrupt one

_TAKE_LEASE = Script.load(__package__, "take_lease.lua")
_FILL = Script.load(__package__, "fill.lua")


def entry_suffix(key: str) -> str:
    """Returns the part of an entry's name that is the same on every server."""
    return f"c:{key}"


def tag_suffix(tag: str) -> str:
    """Returns the part of a tag's name that is the same on every server."""
    return f"t:{tag}"


class Store:
    """The entries and tags of one prefix on one Valkey. Every method raises `ValkeyError` where Valkey fails.

    Every name holds the run id of the server process: entries that a server brings back from disk, or a replica from
    before its promotion, are not found.
    """

    def __init__(self, valkey: Valkey, prefix: str, *, lease_ms: int) -> None:
        self.valkey = valkey
        self.lease_ms = lease_ms
        self._prefix = prefix
        self._names = f"{prefix}:0:"  # changes with each connection, before anybody may use it
        valkey.on_ready(self._follow_server)

    async def _follow_server(self, valkey: Valkey) -> None:
        if valkey.server.run_id is None:
            log.warning("INFO is not permitted: after a restart of Valkey from disk, old entries may be seen")
        self._names = f"{self._prefix}:{(valkey.server.run_id or '0')[:12]}:"

    @property
    def available(self) -> bool:
        return self.valkey.available

    def entry_name(self, key: str) -> str:
        return f"{self._names}c:{key}"

    def tag_name(self, tag: str) -> str:
        return f"{self._names}t:{tag}"

    async def look(self, key: str, tags: Sequence[str] = ()) -> tuple[bytes | None, Versions]:
        """Returns what lies under `key`, and the versions of the tags. One round trip."""
        if not tags:
            return await self.valkey.call("GET", self.entry_name(key)), ()
        raw, *versions = await self.valkey.call("MGET", self.entry_name(key), *map(self.tag_name, tags))
        return raw, tuple(versions)

    async def tag_versions(self, tags: Sequence[str]) -> Versions:
        """Returns the versions of the tags, `None` for those that have none. One round trip."""
        return tuple(await self.valkey.call("MGET", *map(self.tag_name, tags))) if tags else ()

    async def complete_versions(self, tags: Sequence[str], known: Versions) -> tuple[bytes, ...]:
        """Gives a version to each tag that had none. One round trip if there are such."""
        missing = [tag for tag, version in zip(tags, known, strict=True) if version is None]
        created = dict(zip(missing, await asyncio.gather(*map(self._create_version, missing)), strict=True))
        return tuple(version or created[tag] for tag, version in zip(tags, known, strict=True))

    async def _create_version(self, tag: str) -> bytes:
        version = new_version()
        existing: bytes | None = await self.valkey.call(
            "SET", self.tag_name(tag), version, "NX", "GET", "PX", _TAG_TTL_MS
        )
        return version if existing is None else existing

    async def take_lease(self, key: str, seen: bytes | None) -> tuple[bytes, bytes | None]:
        """Takes the lease to fill `key`, where `seen` is what lay there (nothing, or a dead entry).

        Returns the marker under which whoever holds the lease fills, and `None` if that is the caller; else what is
        stored instead. One round trip.
        """
        if seen is not None and is_marker(seen):
            return seen, seen
        marker = new_marker()
        dead = b"" if seen is None else seen[:_DEAD_PREFIX]
        stored: bytes | None = await _TAKE_LEASE.run(
            self.valkey, (self.entry_name(key),), (marker, self.lease_ms, dead)
        )
        return (marker if stored is None else stored), stored

    async def fill(self, key: str, marker: bytes, data: bytes, ttl_ms: int) -> bool:
        """Stores `data` if the lease still stands, or gives it back if `data` is empty. One round trip."""
        return bool(await _FILL.run(self.valkey, (self.entry_name(key),), (marker, data, ttl_ms)))

    async def put(self, key: str, data: bytes, ttl_ms: int) -> None:
        """Stores `data`, whatever is there. One round trip."""
        await self.valkey.call("SET", self.entry_name(key), data, "PX", ttl_ms)

    async def unlink(self, suffixes: Sequence[str]) -> int:
        """Removes entries and tags by their suffixes; returns how many there were. One round trip."""
        count: int = await self.valkey.call("UNLINK", *(self._names + suffix for suffix in suffixes))
        return count

    async def sweep(self) -> None:
        """Removes every entry and tag. One round trip or two for each thousand keys of the server."""
        found: list[bytes] = []
        async for name in scan(self.valkey, match=f"{self._names}*", count=CHUNK):
            found.append(name)
            if len(found) >= CHUNK:
                await self.valkey.unlink(*found)
                found.clear()
        if found:
            await self.valkey.unlink(*found)
