"""The canary: where Valkey's messages are swallowed and all else goes through, it is noticed within its interval.

A proxy takes RESP3 pushes out of the stream, as a middlebox that does not know them would.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from valtier import Tier
from valtier.embedded import EmbeddedValkey
from valtier.testing import eventually


def frame_end(data: bytes, at: int = 0) -> int | None:
    """Returns where the RESP3 value ends that begins there; `None` if it is not whole."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, rest, end = data[at : at + 1], data[at + 1 : line], line + 2
    if kind in b"$=!":
        size = int(rest)
        end = end if size < 0 else end + size + 2
        return end if end <= len(data) else None
    if kind in b"*~>%|":
        for _ in range(max(0, int(rest)) * (2 if kind in b"%|" else 1)):
            following = frame_end(data, end)
            if following is None:
                return None
            end = following
    return end


class Deafening:
    """A proxy that swallows pushes while it is told to. Guarded by the event loop."""

    def __init__(self, target_url: str) -> None:
        self._url = urlsplit(target_url)
        self.swallows = False
        self.swallowed = 0
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        credentials = self._url.netloc.rpartition("@")[0]
        yield f"redis://{credentials}@127.0.0.1:{port}"
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        self._tasks.append(asyncio.create_task(self._carry(reader, up_writer)))
        self._tasks.append(asyncio.create_task(self._filter(up_reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.close()

    async def _filter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        try:
            while more := await reader.read(65536):
                data += more
                while (end := frame_end(data)) is not None:
                    frame, data = data[:end], data[end:]
                    if frame[:1] == b">" and self.swallows:
                        self.swallowed += 1
                    else:
                        writer.write(frame)
        finally:
            writer.close()


async def test_when_messages_are_swallowed_everything_kept_is_dropped_within_the_interval(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    interval_s = 1.0
    version = 1

    async def load() -> int:
        return version

    async def get(tier: Tier) -> int:
        return await tier.cache.get_or_set("row:1", 600, load)

    proxy = Deafening(valkey.url)
    async with (
        proxy.serving() as url,
        Tier.from_url(url, deadline=5, canary=interval_s) as deaf,
        Tier.from_url(valkey.url, deadline=5) as other,
    ):
        assert await get(deaf) == 1
        await eventually(lambda: deaf.cache.local["entries"] == 1)
        assert deaf.cache.local["canary_failures"] == 0

        proxy.swallows = True
        version = 2
        await other.cache.invalidate("row:1")
        began = time.monotonic()
        assert await get(deaf) == 1  # it was told, and can't know

        async def dropped() -> bool:
            return await get(deaf) == 2

        await eventually(dropped, 30)
        assert time.monotonic() - began < 3 * interval_s  # one, and what a busy machine takes
        assert proxy.swallowed
        assert deaf.cache.local["canary_failures"] >= 1
        assert deaf.cache.local["entries"] == 0
        assert "does not tell this process what has changed" in caplog.text

        for version in range(3, 6):
            await other.cache.invalidate("row:1")
            assert await get(deaf) == version  # nothing is kept: at once

        proxy.swallows = False
        await eventually(lambda: "Redis tells again what has changed" in caplog.text, 30)
        await get(deaf)

        async def kept() -> bool:
            await get(deaf)
            return deaf.cache.local["entries"] == 1

        await eventually(kept)


async def test_while_messages_arrive_it_drops_nothing(valkey: EmbeddedValkey) -> None:
    async with Tier.from_url(valkey.url, deadline=5, canary=0.1) as tier:
        canary = tier.cache._engine.canary
        assert canary is not None

        async def load() -> int:
            return 1

        await tier.cache.get_or_set("row:1", 600, load)
        await eventually(lambda: tier.cache.local["entries"] == 1)
        drops = tier.cache.local["drops"]
        assert [await canary.sing() for _ in range(20)] == [True] * 20
        assert tier.cache.local == tier.cache.local | {"entries": 1, "drops": drops, "canary_failures": 0}


async def test_it_tells_the_clock_of_valkey_and_not_of_this_process(valkey: EmbeddedValkey) -> None:
    """Processes with clocks of their own agree about what is fresh."""
    from valtier import Cache, Clock

    async with Tier.from_url(valkey.url, deadline=5) as tier:
        ahead = Cache(tier.valkey, clock=Clock(wall=lambda: time.time() + 3600), canary=0.2)
        await ahead.start()
        engine = ahead._engine
        await eventually(lambda: abs(engine.wall() - time.time()) < 60)

        async def load() -> int:
            return 1

        await ahead.get_or_set("row:1", 600, load)
        assert await tier.cache.get("row:1") == 1
        await ahead.stop()
