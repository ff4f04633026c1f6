"""Single-flight: reads that want the same missing entry share one load.

A read may share a load only if the result is at least as new as the read itself. Two ways to know that:

* the load began after the read did (both are numbered by one counter of the process);
* Valkey, asked after the read began, still held the marker of the load's lease, and the tags the versions that the
  load started from. An invalidation removes the marker or the version, so none was acknowledged since.

Without Valkey nobody can know; there reads share whatever load of the key runs, and a local invalidation detaches it.

The load runs in a task of its own: a reader that is cancelled stops to wait, and neither the load nor the other
readers notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from valtier.cache.entry import Body

Versions = tuple[bytes | None, ...]


class Flight:
    """One running load. Guarded by the event loop."""

    __slots__ = ("began", "blind", "marker", "tags", "task", "versions")

    def __init__(self, began: int, tags: tuple[str, ...], *, blind: bool) -> None:
        self.began = began
        self.tags = tags
        self.blind = blind  # runs without Valkey
        self.marker: bytes | None = None  # of the lease under which the load runs, ours or another process's
        self.versions: Versions = ()
        self.task: asyncio.Task[Body] | None = None

    def may_be_shared_by(self, began: int, seen: bytes | None, versions: Versions) -> bool:
        """Whether a read that began as number `began`, and then saw this in Valkey, may take the result."""
        if self.began > began:
            return True
        return seen is not None and seen == self.marker and versions == self.versions

    async def result(self) -> Body:
        """Waits for the load. Raises what the loader raised."""
        if self.task is None:
            raise RuntimeError("the flight was not started")
        return await asyncio.shield(self.task)


class Flights:
    """The running loads, the newest of each key. Guarded by the event loop."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[Body]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, key: str) -> Flight | None:
        return self._by_key.get(key)

    def start(self, key: str, flight: Flight, load: Coroutine[Any, Any, Body]) -> None:
        """Makes `flight` the newest of its key, and runs its load."""
        task = asyncio.get_running_loop().create_task(load, name=f"valtier-load {key}")
        flight.task = task
        self._by_key[key] = flight
        self._tasks.add(task)

        def landed(task: asyncio.Task[Body]) -> None:
            self._tasks.discard(task)
            if self._by_key.get(key) is flight:
                del self._by_key[key]
            if not task.cancelled():
                task.exception()  # the readers raise it; if all were cancelled nobody is left to

        task.add_done_callback(landed)

    def detach(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Forgets the blind loads that an invalidation outdates: later reads start their own."""
        for key in keys:
            self._by_key.pop(key, None)
        if tags:
            outdated = set(tags)
            for key in [key for key, flight in self._by_key.items() if not outdated.isdisjoint(flight.tags)]:
                del self._by_key[key]

    def detach_all(self) -> None:
        """Forgets every load: later reads start their own."""
        self._by_key.clear()

    async def stop(self) -> None:
        """Cancels every load and waits for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
