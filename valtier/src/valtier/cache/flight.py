"""Single-flight: reads that want the same missing entry share one load.

A read may share a load only if the result is at least as new as the read itself. Two ways to know that:

* the load began after the read did (both are numbered by one counter of the process);
* Valkey, asked after the read began, still held what the load is to replace (the marker of its lease, or the entry that
  it renews), and the tags the versions that the load started from. An invalidation removes what lies there, or the
  version, so none was acknowledged since.

Without Valkey nobody can know the second; there a read that comes while a load runs shares the next one, which begins when
that has ended. A local invalidation detaches what runs: the next one begins at once.

The load runs in a task of its own: a reader that is cancelled stops to wait, and neither the load nor the other
readers notice.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from valtier.cache.codec import Body
from valtier.cache.store import Versions
from valtier.errors import LoadCancelledError

NOT_YET = sys.maxsize
"""The number of a load that has not begun: whoever comes until then may share it."""


class PatienceError(Exception):
    """A reader does not wait any longer."""


class Flight:
    """One running load. Guarded by the event loop."""

    __slots__ = ("began", "blind", "expected", "future", "tags", "versions")

    def __init__(self, began: int, tags: tuple[str, ...], *, blind: bool) -> None:
        self.began = began
        self.tags = tags
        self.blind = blind  # runs without Valkey
        self.expected = (
            b""  # how that begins which lies in Valkey while the load runs, ours or another process's
        )
        self.versions: Versions = ()
        self.future: asyncio.Future[Body] | None = None

    def may_be_shared_by(self, began: int, seen: bytes | None, versions: Versions) -> bool:
        """Whether a read that began as number `began`, and then saw this in Valkey, may take the result."""
        if self.began > began:
            return True
        if not self.expected or seen is None or versions != self.versions:
            return False
        return seen.startswith(self.expected)

    async def result(self, patience_s: float | None = None) -> Body:
        """Waits for the load. Raises what the loader raised.

        Raises:
            PatienceError: it takes longer than `patience_s`. It goes on.
            LoadCancelledError: it was cancelled.
        """
        future = self.future
        if future is None:
            raise RuntimeError("the flight was not started")
        try:
            if patience_s is None:
                return await asyncio.shield(future)
            limit = asyncio.timeout(patience_s)
            try:
                async with limit:
                    return await asyncio.shield(future)
            except TimeoutError:
                if limit.expired():
                    raise PatienceError from None
                raise
        except asyncio.CancelledError:
            if future.cancelled() and not _is_cancelled():
                raise LoadCancelledError("the load was cancelled while others waited for it") from None
            raise


def _is_cancelled() -> bool:
    """Whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Flights:
    """The running loads, the newest of each key. Guarded by the event loop."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight] = {}
        self._refused: dict[str, Flight] = {}  # those that got no lease
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, key: str) -> Flight | None:
        return self._by_key.get(key)

    def start(self, key: str, flight: Flight, load: Coroutine[Any, Any, Body]) -> None:
        """Makes `flight` the newest of its key, and runs its load."""
        task = asyncio.get_running_loop().create_task(load, name=f"valtier-load {key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.announce(key, flight, task)

    def announce(self, key: str, flight: Flight, future: asyncio.Future[Body]) -> None:
        """Makes `flight` the newest of its key, and `future` its result."""
        flight.future = future
        self._by_key[key] = flight

        def landed(future: asyncio.Future[Body]) -> None:
            if self._by_key.get(key) is flight:
                del self._by_key[key]
            if not future.cancelled():
                future.exception()  # the readers raise it; if all were cancelled nobody is left to

        future.add_done_callback(landed)

    def refused(self, key: str) -> Flight | None:
        """Returns the newest load of a key that got no lease."""
        return self._refused.get(key)

    def note_refused(self, key: str, flight: Flight) -> None:
        """Notes that a running load gets no lease: the next that gets none either can share it, or follows it."""
        self._refused[key] = flight

        def landed(_: asyncio.Future[Body]) -> None:
            if self._refused.get(key) is flight:
                del self._refused[key]

        if flight.future is not None:
            flight.future.add_done_callback(landed)

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Runs what belongs to several flights, or to none."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def detach(self, keys: Sequence[str], tags: Sequence[str]) -> None:
        """Forgets the blind loads that an invalidation outdates: later reads start their own."""
        for flights in (self._by_key, self._refused):
            for key in keys:
                flights.pop(key, None)
            if tags and flights:
                outdated = set(tags)
                for key in [key for key, flight in flights.items() if not outdated.isdisjoint(flight.tags)]:
                    del flights[key]

    def detach_all(self) -> None:
        """Forgets every load: later reads start their own."""
        self._by_key.clear()
        self._refused.clear()

    async def stop(self) -> None:
        """Cancels every load and waits for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
