"""The clients of a run, in a process of their own: `python -m bench.realtime.crowd`, driven over standard input.

open    connects clients, all at once or so many at a time
cursors lets each client send its cursor at a rate for some seconds
report  tells what came since the last report
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import defaultdict
from typing import Any

import msgspec
import uvloop

from bench.realtime.link import Link

_SAMPLE = 10


class Crowd:
    """All clients."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.latencies_ns: list[int] = []
        self.count = 0
        self.numbers: dict[tuple[int, str], list[int]] = defaultdict(list)
        """By client and sender, the numbers of the events in the order in which they came."""
        self.arrivals: dict[tuple[int, str], list[int]] = defaultdict(list)
        self.keep_numbers = False

    def take(self, link: Link, packet: bytes, now: int) -> None:
        self.count += 1
        place = packet.find(b'"t":')
        if packet.startswith(b'42["cursors"'):
            if self.count % _SAMPLE == 0:
                cursors = msgspec.json.decode(packet[2:])[1]
                self.latencies_ns += [now - cursor["t"] for cursor in cursors.values()]
            return
        self.latencies_ns.append(now - int(packet[place + 4 : packet.index(b",", place)]))
        if self.keep_numbers:
            event = msgspec.json.decode(packet[2:])[1]
            self.numbers[link.number, event["f"]].append(event["n"])
            self.arrivals[link.number, event["f"]].append(now)

    async def open(
        self, ports: list[int], count: int, room: str, at_once: int, *, numbers: bool = False
    ) -> Any:
        """Connects `count` clients, in turns to each port. Returns how long each took, in ms, and how many failed."""
        self.keep_numbers = numbers
        loop = asyncio.get_running_loop()
        auth = json.dumps({"rooms": [room]} if room else {})
        gate = asyncio.Semaphore(at_once)
        took_ms: list[float] = []

        async def connect(number: int) -> None:
            port = ports[number % len(ports)]
            async with gate:
                begin = time.perf_counter()
                _, link = await loop.create_connection(
                    lambda: Link(number, port, auth, self.take), "127.0.0.1", port
                )
                self.links.append(link)
                await link.connected
                took_ms.append((time.perf_counter() - begin) * 1000)

        done = await asyncio.gather(*[connect(number) for number in range(count)], return_exceptions=True)
        return {"took_ms": took_ms, "failed": sum(isinstance(one, BaseException) for one in done)}

    async def cursors(self, room: str, hz: float, seconds: float) -> int:
        """Lets every client send its cursor. Returns how many cursors were sent."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        sent = 0

        async def move(link: Link, offset_s: float) -> None:
            nonlocal sent
            for number in range(int(seconds * hz)):
                await asyncio.sleep(max(0.0, begin + offset_s + number / hz - loop.time()))
                at = f'{{"t":{time.monotonic_ns()},"x":{number % 1000},"y":{link.number}}}'
                link.send(f'42["cursor","{room}","user-{link.number}",{at}]')
                sent += 1

        await asyncio.gather(
            *[move(link, index / len(self.links) / hz) for index, link in enumerate(self.links)]
        )
        return sent

    def report(self) -> dict[str, Any]:
        found = {
            "latencies_ms": [round(latency / 1e6, 3) for latency in self.latencies_ns],
            "count": self.count,
            "alive": sum(not link.done for link in self.links),
            "numbers": [[*key, numbers] for key, numbers in self.numbers.items()],
            "arrivals": [[*key, arrivals] for key, arrivals in self.arrivals.items()],
        }
        self.latencies_ns.clear()
        self.count = 0
        return found

    async def run(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            order = json.loads(line)
            result = getattr(self, order.pop("do"))(**order)
            if asyncio.iscoroutine(result):
                result = await result
            sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(Crowd().run())
