"""StatsD: this worker's report as datagrams, at intervals; with tags, as Datadog's agent reads them.

    counters    `valtier.cache.misses:3|c|#namespace:user`: what was added since the last interval
    levels      `valtier.local.bytes:1024|g`
    latencies   `valtier.valkey.round_trip_seconds.p95:0.00016|g`: of the interval, right to within a factor of √2

Without tags their values stand in the name, before its last part: `valtier.cache.user.misses`. Datagrams may be lost; nobody
waits for one, and nothing is kept for later.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import parse_qsl, urlsplit

from valtier.durations import Duration, seconds
from valtier.errors import ConfigurationError
from valtier.telemetry import Histogram
from valtier.vitals.report import Number, WorkerReport
from valtier.vitals.vitals import Vitals

log = logging.getLogger("valtier")

_DATAGRAM = 1432
"""Bytes that go through an Ethernet in one piece."""
_UNCLEAN = re.compile(r"[^A-Za-z0-9_/{}.-]+")
_SECTION_LABELS = {"limits": "limit", "codes": "purpose"}

Kind = Literal["c", "g"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a report: a counter (`c`), or a level (`g`)."""

    name: str
    kind: Kind
    value: Number
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsdOptions:
    """Where and how datagrams go."""

    host: str = "127.0.0.1"
    port: int = 8125
    prefix: str = "valtier"
    tags: bool = False
    """Whether the agent reads tags, as Datadog's does."""

    @classmethod
    def parse(cls, url: str) -> StatsdOptions:
        """Reads `statsd://host:port?prefix=shop`, or `datadog://…` for tags.

        Raises:
            ConfigurationError: it can't be used.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 8125
            options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        except ValueError as exc:
            raise ConfigurationError(f"a StatsD URL is statsd://host:8125, not {url!r}: {exc}") from exc
        if parts.scheme not in ("statsd", "datadog") or not parts.hostname or options.keys() - {"prefix"}:
            raise ConfigurationError(
                f"a StatsD URL is statsd://host:8125 or datadog://host:8125, with ?prefix= at most; not {url!r}"
            )
        return cls(
            host=parts.hostname,
            port=port,
            prefix=_clean(options.get("prefix", "valtier")),
            tags=parts.scheme == "datadog",
        )


class Statsd:
    """Sends a worker's report at intervals. Guarded by one event loop; open it with `async with`, or `start` and `stop`."""

    def __init__(
        self, vitals: Vitals, options: StatsdOptions | None = None, *, every: Duration = 10.0
    ) -> None:
        """Makes it; nothing is opened yet.

        Raises:
            ConfigurationError: the interval can't be used.
        """
        self.sent = 0
        """Datagrams."""
        self.lost = 0
        """Those that this machine did not take."""
        self._vitals = vitals
        self._options = options or StatsdOptions()
        self._every_s = seconds(every, name="every")
        self._before: WorkerReport | None = None
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._told = False

    async def start(self) -> None:
        """Begins. A host that can't be found is logged, and looked for again at each interval."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="valtier-statsd")

    async def stop(self) -> None:
        """Sends what was counted since the last interval, and ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            await self.send()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def send(self) -> None:
        """Sends what has changed since it was called last. Never raises for the network's sake."""
        report = self._vitals.report()
        lines = encode(measures(report, self._before), self._options)
        self._before = report
        try:
            sender = self._socket or await self._open()
        except OSError as exc:
            self._tell(exc)
            return
        for datagram in pack(lines):
            try:
                sender.send(datagram)
                self.sent += 1
            except OSError as exc:  # nobody listens, or the buffer is full
                self.lost += 1
                self._tell(exc)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.send()

    async def _open(self) -> socket.socket:
        options = self._options
        found = await asyncio.get_running_loop().getaddrinfo(
            options.host, options.port, type=socket.SOCK_DGRAM
        )
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.connect(address)
        except OSError:
            made.close()
            raise
        self._socket = made
        return made

    def _tell(self, exc: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("StatsD at %s:%d gets nothing: %s", self._options.host, self._options.port, exc)


def measures(report: WorkerReport, before: WorkerReport | None = None) -> Iterator[Measure]:
    """Returns the levels of a report, and what its counters have grown by since `before`. Pure."""
    earlier = {} if before is None else {(m.name, m.tags): m.value for m in _all(before) if m.kind == "c"}
    for measure in _all(report):
        if measure.kind == "g":
            yield measure
        elif grown := measure.value - earlier.get((measure.name, measure.tags), 0):
            yield Measure(measure.name, "c", grown, measure.tags)
    yield from _latencies(report, before)


def _all(report: WorkerReport) -> Iterator[Measure]:
    for namespace, counters in report.cache.items():
        for name, value in counters.items():
            yield Measure(f"cache.{name}", "c", value, (("namespace", namespace),))
    local_levels = report.levels.get("local", ())
    for name, value in report.local.items():
        yield Measure(f"local.{name}", "g" if name in local_levels else "c", value)
    for section, numbers in report.sections.items():
        levels = report.levels.get(section, ())
        label = _SECTION_LABELS.get(section, "of")
        for key, number in numbers.items():
            of, _, name = key.rpartition(".")
            if not isinstance(number, str):
                tags = ((label, of),) if of else ()
                yield Measure(f"{section}.{name}", "g" if name in levels else "c", number, tags)
    for link in report.wire:
        place = (("server", link.server), ("purpose", link.purpose))
        for name, value in link.counters.items():
            yield Measure(f"valkey.{name}", "c", value, place)
        yield Measure("valkey.in_flight", "g", link.in_flight, place)
        yield Measure("valkey.ready", "g", int(link.status == "ready"), place)
        yield Measure("valkey.breaker_open", "g", int(link.breaker != "closed"), place)


def _latencies(report: WorkerReport, before: WorkerReport | None) -> Iterator[Measure]:
    earlier = {} if before is None else {(link.server, link.purpose): link for link in before.wire}
    for link in report.wire:
        counts, place = link.histogram().counts, (link.server, link.purpose)
        if place in earlier:
            known = earlier[place].histogram().counts
            counts = [max(0, now - then) for now, then in zip(counts, known, strict=True)]
        interval = Histogram(counts)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            if (value := interval.quantile_s(share)) is not None:
                tags = (("server", link.server), ("purpose", link.purpose))
                yield Measure(f"valkey.round_trip_seconds.{name}", "g", value, tags)


def encode(found: Iterator[Measure] | Sequence[Measure], options: StatsdOptions) -> Iterator[bytes]:
    """Returns a line for each measure. Pure."""
    for measure in found:
        value = f"{measure.value:.9g}" if isinstance(measure.value, float) else str(measure.value)
        if options.tags:
            tags = ",".join(f"{name}:{_clean(text)}" for name, text in measure.tags)
            line = f"{options.prefix}.{measure.name}:{value}|{measure.kind}" + (f"|#{tags}" if tags else "")
        else:
            front, _, last = measure.name.rpartition(".")
            middle = [_clean(text).replace(".", "_") for _, text in measure.tags]
            line = ".".join((options.prefix, front, *middle, last)) + f":{value}|{measure.kind}"
        yield line.encode()


def pack(lines: Iterator[bytes] | Sequence[bytes], most: int = _DATAGRAM) -> Iterator[bytes]:
    """Returns datagrams of whole lines; a line that is longer than one is left out. Pure."""
    waiting: list[bytes] = []
    size = -1
    for line in lines:
        if len(line) > most:
            continue
        if waiting and size + 1 + len(line) > most:
            yield b"\n".join(waiting)
            waiting, size = [], -1
        waiting.append(line)
        size += 1 + len(line)
    if waiting:
        yield b"\n".join(waiting)


def _clean(text: str) -> str:
    """Returns text without what means something in a line: colons, bars, commas, spaces, line breaks, …"""
    return _UNCLEAN.sub("_", text)[:200] or "_"
