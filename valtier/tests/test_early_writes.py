"""Much that is sent in one turn of the loop leaves before its end, and every reply finds its caller."""

from __future__ import annotations

import asyncio

from wires import CALM, open_calm

from valtier.embedded import EmbeddedValkey


async def test_what_is_sent_in_one_turn_leaves_before_its_end(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url, CALM) as wire:
        before = wire.telemetry.total().commands
        few = [wire.call("ECHO", str(number)) for number in range(63)]
        assert wire.telemetry.total().commands == before, "few wait for the end of the turn"
        more = [wire.call("ECHO", str(number), idempotent=number % 2 == 0) for number in range(63, 300)]
        assert wire.telemetry.total().commands - before >= 256
        assert await asyncio.gather(*few, *more) == [b"%d" % number for number in range(300)]


async def test_whoever_has_sent_much_may_have_it_written_at_once(valkey: EmbeddedValkey) -> None:
    async with open_calm(valkey.url, CALM) as wire:
        before = wire.telemetry.total().commands
        sent = [wire.call("ECHO", "a"), wire.call("ECHO", "b")]
        wire.hasten()
        assert wire.telemetry.total().commands - before == 2
        sent.append(wire.call("ECHO", "c"))
        assert await asyncio.gather(*sent) == [b"a", b"b", b"c"]
