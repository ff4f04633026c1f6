"""Vitals: this worker's report, and its publication at intervals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from valtier.durations import Duration, seconds
from valtier.errors import ReplyError, ValkeyError
from valtier.keys import check_prefix
from valtier.telemetry import Telemetry
from valtier.vitals.fleet import MOST, PUBLISH, index_key, report_key
from valtier.vitals.report import LinkReport, Number, WorkerReport
from valtier.vitals.sources import DurationsSource, Source, Sources
from valtier.wire import Valkey

log = logging.getLogger("valtier")

_LIVES = 5
"""A report lives for so many intervals."""
_LEAST_LIFE_S = 1.0
_MOST_NAMESPACES = 200
_MOST_KEYS = 100


class Vitals:
    """What this worker has counted. Handed out as `tier.vitals`. Guarded by one event loop.

    While it is started, the report is published at intervals for `fleet`: one write for each, on the connection for
    commands. While Valkey is away nothing is published, and that is counted.
    """

    def __init__(
        self,
        valkey: Valkey | None,
        *,
        prefix: str = "valtier",
        name: str = "",
        version: str = "",
        every: Duration = 2.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Makes it; `start` begins to publish.

        Args:
            valkey: where to publish; the vitals neither open nor close it.
            prefix: the first part of every name in Valkey.
            name: the application's.
            version: told in the report.
            every: the interval of publication; 0 publishes nothing.
            wall: tells the time.

        Raises:
            ConfigurationError: an argument can't be used.
        """
        self.worker = secrets.token_hex(6)
        self.name = name
        self.published = 0
        self.unpublished = 0
        """Reports that Valkey did not take."""
        self.loop_lag_s = 0.0
        """How much too late this process's event loop woke up last, for its timer: it is busy, or something blocks it."""
        self.cache: Callable[[], dict[str, dict[str, Number]]] = dict
        """Where `WorkerReport.cache` comes from; as the next three, set by whoever has it."""
        self.local: Callable[[], Mapping[str, Number]] = dict
        self.hot: Callable[[], Sequence[tuple[str, int]]] = list
        self.slow: Callable[[], Sequence[tuple[str, float]]] = list
        self._valkey = valkey
        self._prefix = check_prefix(prefix)
        self._version = version
        self._every_s = 0.0 if every == 0 else seconds(every, name="vitals_every")
        self._wall = wall
        self._started_at = wall()
        self._host = socket.gethostname()
        self._sources = Sources()
        self._task: asyncio.Task[None] | None = None
        self._refusal = ""
        self.add("vitals", self._numbers, levels=("loop_lag_s",))

    # -- what is counted -----------------------------------------------------------------------------------

    def add(self, name: str, source: Source, *, levels: Iterable[str] = ()) -> Callable[[], None]:
        """Adds numbers of the application's own to each report, as `report().sections[name]`. Returns what removes them.

        Args:
            name: such as `queue`; several sources may have the same one, and their numbers are added up.
            source: returns a flat dict of numbers (or short texts) from memory, without waiting. A method is held weakly. If
                it raises, its numbers are missing in that report.
            levels: which of the numbers rise and fall; all others only grow.

        Raises:
            ConfigurationError: the name can't be one.
        """
        return self._sources.add(name, source, levels)

    def add_durations(self, name: str, source: DurationsSource) -> Callable[[], None]:
        """Adds a family of durations in buckets, as `report().durations[name]`. Returns what removes it.

        Raises:
            ConfigurationError: the name can't be one.
        """
        return self._sources.add_durations(name, source)

    def report(self) -> WorkerReport:
        """Returns this worker's report, as it is now. No round trip."""
        sources = self._sources
        telemetry = Telemetry() if self._valkey is None else self._valkey.telemetry
        return WorkerReport(
            worker=self.worker,
            name=self.name,
            host=self._host,
            pid=os.getpid(),
            version=self._version,
            started_at=self._started_at,
            taken_at=self._wall(),
            wire=[LinkReport.of(link) for link in telemetry.links],
            cache=_bounded(sources.ask("cache", self.cache, {})),
            local=dict(sources.ask("local", self.local, {})),
            sections=sources.sections(),
            levels=sources.levels()
            | {"local": ["bytes", "entries", "invalidation_lag_s", "max_bytes", "undelivered"]},
            durations=sources.durations(),
            hot=list(sources.ask("hot", self.hot, ()))[:_MOST_KEYS],
            slow=list(sources.ask("slow", self.slow, ()))[:_MOST_KEYS],
        )

    def _numbers(self) -> dict[str, Number]:
        return {
            "loop_lag_s": self.loop_lag_s,
            "published": self.published,
            "unpublished": self.unpublished,
            "source_errors": self._sources.errors,
        }

    # -- publishing ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to publish, if there is an interval and a Valkey. Starting twice changes nothing."""
        if self._task is None and self._every_s and self._valkey is not None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(self._valkey), name="valtier-vitals"
            )

    async def stop(self) -> None:
        """Ends the publication, and takes this worker off the list if Valkey can be reached. Stopping twice is harmless."""
        task, self._task = self._task, None
        if task is None or self._valkey is None:
            return
        task.cancel()
        await asyncio.wait([task])
        with contextlib.suppress(ValkeyError):
            await self._valkey.call_many(
                [
                    ("DEL", report_key(self._prefix, self.worker)),
                    ("ZREM", index_key(self._prefix), self.worker),
                ]
            )

    async def publish(self) -> bool:
        """Publishes the report now; returns whether Valkey took it. One round trip. Never raises for Valkey's sake."""
        if self._valkey is None:
            return False
        if self._valkey.available:
            try:
                await self._write(self._valkey)
            except ValkeyError as exc:
                self._note(exc)
            else:
                self.published += 1
                return True
        self.unpublished += 1
        return False

    async def _run(self, valkey: Valkey) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self.publish()
            before = clock()
            await asyncio.sleep(self._every_s)
            self.loop_lag_s = max(0.0, clock() - before - self._every_s)

    async def _write(self, valkey: Valkey) -> None:
        life_ms = int(max(_LIVES * self._every_s, _LEAST_LIFE_S) * 1000)
        keys = (report_key(self._prefix, self.worker), index_key(self._prefix))
        await PUBLISH.run(valkey, keys, (self.worker, self.report().encode(), life_ms, MOST))

    def _note(self, exc: ValkeyError) -> None:
        """Says once what Valkey refuses: somebody has to look. That it is away, the wire says."""
        if isinstance(exc, ReplyError) and exc.code != self._refusal:
            self._refusal = exc.code
            log.warning("Redis refuses this worker's report, so that others don't see it: %s", exc)


def _bounded(spaces: dict[str, dict[str, Number]]) -> dict[str, dict[str, Number]]:
    """Returns the oldest namespaces by name, and the sum of all that came later as `other`: so each only grows."""
    if len(spaces) <= _MOST_NAMESPACES:
        return spaces
    kept: dict[str, dict[str, Number]] = {}
    for place, (name, counters) in enumerate(spaces.items()):
        into = kept.setdefault(name if place < _MOST_NAMESPACES - 1 else "other", {})
        for counter, value in counters.items():
            into[counter] = into.get(counter, 0) + value
    return kept
