"""Big keys: what takes most of the memory under a prefix, found by and by. A few keys are looked at for each frame."""

from __future__ import annotations

import asyncio

from valtier.errors import NoPermissionError, ReplyError
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
        """Why nothing can be told: SCAN, DBSIZE and MEMORY USAGE have to be permitted."""
        self._pattern = f"{prefix}:*"
        self._cursors: dict[str, bytes] = {}
        self._sizes: dict[str, dict[bytes, int]] = {}  # by server, then by name
        self._looked_at = 0
        self._keys = 0

    @property
    def biggest(self) -> list[tuple[str, int]]:
        """Names and bytes, the biggest first."""
        sizes = _biggest({name: size for each in self._sizes.values() for name, size in each.items()})
        return [(name.decode("utf-8", "backslashreplace"), size) for name, size in sizes.items()]

    @property
    def seen(self) -> float:
        """The share of the servers' keys that were looked at; 1 after the first time round."""
        return min(1.0, self._looked_at / self._keys) if self._keys else 1.0

    async def step(self, links: list[Link]) -> None:
        """Looks at some more keys of each server, and once more at those that it knows. Two round trips.

        Raises:
            ValkeyError: a server can't be asked.
        """
        self._keys = 0
        try:
            for link in links:
                await self._step(link)
        except NoPermissionError as exc:
            self.refused = f"allow +scan, +dbsize and +memory|usage: {exc}"
        else:
            self.refused = ""

    async def _step(self, link: Link) -> None:
        where = str(link.endpoint)
        (cursor, found), keys = await asyncio.gather(
            link.send("SCAN", self._cursors.get(where, b"0"), "MATCH", self._pattern, "COUNT", _COUNT),
            link.send("DBSIZE"),
        )
        self._cursors[where] = cursor
        self._looked_at += _COUNT
        self._keys += keys
        names = {*found, *self._sizes.get(where, ())}
        sizes = await asyncio.gather(*(_size(link, name) for name in names))
        told = {name: size for name, size in zip(names, sizes, strict=True) if size is not None}
        self._sizes[where] = _biggest(told)


async def _size(link: Link, name: bytes) -> int | None:
    """Returns a key's bytes; nothing if it is gone, or its slot has moved."""
    try:
        size: int | None = await link.send("MEMORY", "USAGE", name, "SAMPLES", _SAMPLES)
    except NoPermissionError:
        raise
    except ReplyError:
        return None
    return size


def _biggest(sizes: dict[bytes, int]) -> dict[bytes, int]:
    return dict(sorted(sizes.items(), key=lambda each: (-each[1], each[0]))[:_MOST])
