"""The load generator: so many connections, each of which sends its next request when it has the last answer whole.

It is a process of its own, as lean as Python allows: one `Protocol` for each connection, and of an answer only the status,
the length and the end are looked at. `python -m bench.http.loadgen` reads a `Job` from its input.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop

from bench.common.processes import own_output
from bench.http.measures import Job, Seen

_LENGTH = b"content-length: "
_LENGTH_OF_NGINX = b"Content-Length: "
_MOST_LATENCIES = 2_000_000


class Load:
    """A load under way."""

    def __init__(self, job: Job) -> None:
        self.job = job
        lines = "".join(f"{name}: {value}\r\n" for name, value in job.headers)
        self.request = f"GET {job.path} HTTP/1.1\r\nhost: 127.0.0.1:{job.port}\r\n{lines}\r\n".encode()
        self.status = b"HTTP/1.1 %d" % job.status
        self.running = True
        self.counting = False
        self.count = 0
        self.errors = 0
        self.first = b""
        self.latencies: list[float] = []

    async def play(self) -> Seen:
        loop = asyncio.get_running_loop()
        job = self.job
        for _ in range(job.connections):
            await loop.create_connection(lambda: Lane(self), "127.0.0.1", job.port)
        await asyncio.sleep(job.warm_up_s)
        self.counting = True
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(job.seconds)
        self.counting = False
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        self.running = False
        self.latencies.sort()
        return Seen(
            requests=self.count,
            seconds=took,
            errors=self.errors,
            p50_us=self._quantile(0.5),
            p99_us=self._quantile(0.99),
            load_cpu_s=cpu,
            first=self.first.decode("latin-1"),
        )

    def _quantile(self, share: float) -> float:
        latencies = self.latencies
        return 1e6 * latencies[min(len(latencies) - 1, int(share * len(latencies)))] if latencies else 0.0


class Lane(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._missing = 0  # bytes of the answer that are still to come
        self._head = b""
        self._sent_at = 0.0
        self._write: Callable[[bytes], None] = lambda _: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.WriteTransport", transport).write
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._load.running:
            self._load.errors += 1

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._write(self._load.request)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            data = self._head + data if self._head else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            self._head = b""
            self._check(data, end)
        if self._missing <= 0:
            self._missing = 0
            self._note()
            self._send()

    def _check(self, data: bytes, end: int) -> None:
        load = self._load
        if load.job.status == 304:
            length = 0
        else:
            at = data.find(_LENGTH, 0, end)
            if at < 0:
                at = data.find(_LENGTH_OF_NGINX, 0, end)
            length = int(data[at + len(_LENGTH) : data.find(b"\r\n", at)]) if at >= 0 else -1
        self._missing = end + 4 + length - len(data)
        load.first = data[:end] if not load.counting else load.first
        if length != load.job.length or not data.startswith(load.status):
            load.errors += 1
            load.first = data[:end]

    def _note(self) -> None:
        load = self._load
        if load.counting:
            load.count += 1
            if len(load.latencies) < _MOST_LATENCIES:
                load.latencies.append(time.perf_counter() - self._sent_at)


def main() -> None:
    """Plays the job that comes in, and writes what was seen."""
    with own_output() as output:
        job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
        output.write(msgspec.json.encode(uvloop.run(Load(job).play())))


if __name__ == "__main__":
    main()
