"""A worker that lets some devices into a room and waits to be killed."""

import asyncio
import sys

from wires import open_url

from valtier.presence import Presence


async def main(url: str, count: int) -> None:
    async with open_url(url) as wire, Presence(wire, lease="900ms") as presence:
        for n in range(count):
            await presence.connect(f"victim{n}", rooms=["r"])
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
