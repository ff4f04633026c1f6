"""Big keys: what takes most of the memory under a prefix, found by and by. A few keys are looked at for each frame."""

from __future__ import annotations

import asyncio

from valtier.errors import ReplyError
from valtier.wire import Link

_COUNT = 500
"""The server looks at about so many keys in a step, and is asked the size of those that are ours: about a millisecond."""
_MOST = 20
_SAMPLES = 5
"""Of a hash, a set or a stream so many elements are measured."""


class BigKeys:
    """The biggest keys that were met. Guarded by one event loop."""

    def __init__(self, prefix: str) -> None:
        self.refused = ""
        """Why nothing can be told: SCAN and MEMORY USAGE have to be permitted."""
        self._pattern = f"{prefix}:*"
        self._cursors: dict[str, bytes] = {}
        self._sizes: dict[bytes, int] = {}
        self._looked_at = 0
        self._keys = 0

    @property
    def biggest(self) -> list[tuple[str, int]]:
        """Names and bytes, the biggest first; a size is that of when the key was met last."""
        return [(name.decode("utf-8", "backslashreplace"), size) for name, size in self._ordered()]

    @property
    def seen(self) -> float:
        """The share of the servers' keys that were looked at; 1 after the first time round."""
        return min(1.0, self._looked_at / self._keys) if self._keys else 1.0

    async def step(self, links: list[Link]) -> None:
        """Looks at some more keys of each server. Two round trips.

        Raises:
            ValkeyError: a server can't be asked.
        """
        self._keys = 0
        for link in links:
            try:
                await self._step(link)
            except ReplyError as exc:
                self.refused = f"allow +scan, +dbsize and +memory|usage: {exc}"
                return
        self.refused = ""

    async def _step(self, link: Link) -> None:
        where = str(link.endpoint)
        (cursor, names), keys = await asyncio.gather(
            link.send("SCAN", self._cursors.get(where, b"0"), "MATCH", self._pattern, "COUNT", _COUNT),
            link.send("DBSIZE"),
        )
        self._cursors[where] = cursor
        self._looked_at += _COUNT
        self._keys += keys
        sizes = await asyncio.gather(
            *(link.send("MEMORY", "USAGE", name, "SAMPLES", _SAMPLES) for name in names)
        )
        for name, size in zip(names, sizes, strict=True):
            if size is None:  # it went meanwhile
                self._sizes.pop(name, None)
            else:
                self._sizes[name] = size
        self._sizes = dict(self._ordered())

    def _ordered(self) -> list[tuple[bytes, int]]:
        return sorted(self._sizes.items(), key=lambda each: (-each[1], each[0]))[:_MOST]
