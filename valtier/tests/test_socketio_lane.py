"""A worker's events are appended once and in order, sent again where they were lost, and missed ones are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from valtier import Tier
from valtier.embedded import EmbeddedValkey
from valtier.socketio import ValkeyManager
from valtier.socketio.lane import Lane, LaneOptions
from valtier.socketio.messages import Control, encode
from valtier.socketio.recovery import State
from valtier.testing import eventually

OPTIONS = LaneOptions(max_events=1000, max_bytes=1 << 20, max_entries=1000, history_s=60)


@asynccontextmanager
async def lane(server: EmbeddedValkey, host: str = "0a") -> AsyncIterator[Lane]:
    async with Tier.from_url(server.url, local_bytes=0, deadline=1.0) as tier:
        made = Lane(tier.valkey, "s:{b}", host, OPTIONS)
        made.start()
        try:
            yield made
        finally:
            await made.stop()


def entries(server: EmbeddedValkey) -> list[tuple[str, int, bool]]:
    """Sender, number, and whether it was sent again, of each entry."""
    found: Any = server.call("XRANGE", "s:{b}", "-", "+")
    return [(fields[1].decode(), int(fields[3]), len(fields) > 6) for _, fields in found]


def message(number: int) -> Control:
    return Control("enter", "/", str(number), "r")


async def test_a_batch_that_is_sent_again_is_appended_once(valkey: EmbeddedValkey) -> None:
    async with lane(valkey) as made:
        for number in range(5):
            made.put(message(number))
        await eventually(lambda: made.waiting == 0)
        again = list(made._tail)[2:]
        made._waiting.extend(again)  # as if the reply had been lost
        made.put(message(5))
        await eventually(lambda: made.waiting == 0)
    assert entries(valkey) == [("0a", number, False) for number in range(1, 7)]


async def test_what_a_server_has_lost_is_sent_again_in_order_before_what_is_new(
    valkey: EmbeddedValkey,
) -> None:
    async with lane(valkey) as made:
        for number in range(5):
            made.put(message(number))
        await eventually(lambda: made.waiting == 0)
        valkey.flush()
        made.put(message(5))
        await eventually(lambda: len(entries(valkey)) == 6)
        assert entries(valkey) == [*(("0a", number, True) for number in range(1, 6)), ("0a", 6, False)]
        assert made.resent == 5


async def test_a_server_that_lost_the_end_only_gets_the_end(valkey: EmbeddedValkey) -> None:
    async with lane(valkey) as made:
        for number in range(5):
            made.put(message(number))
        await eventually(lambda: made.waiting == 0)
        last: Any = valkey.call("XREVRANGE", "s:{b}", "+", "-", "COUNT", 2)
        valkey.call("XDEL", "s:{b}", *[name.decode() for name, _ in last])
        valkey.call("SET", "s:{b}:n:0a", 3)  # as a replica that had not got the rest
        made.put(message(5))
        await eventually(lambda: len(entries(valkey)) == 6)
        assert entries(valkey)[3:] == [("0a", 4, True), ("0a", 5, True), ("0a", 6, False)]


async def test_the_stream_is_trimmed(valkey: EmbeddedValkey) -> None:
    async with lane(valkey) as made:
        for _ in range(5):
            for number in range(900):
                made.put(message(number))
            await eventually(lambda: made.waiting == 0)
    assert 1000 <= len(entries(valkey)) < 1300
    assert valkey.call("PTTL", "s:{b}:n:0a") > 0


async def test_events_that_were_trimmed_unread_are_told_as_a_gap(own_valkey: EmbeddedValkey) -> None:
    gaps: list[int] = []
    async with (
        Tier.from_url(own_valkey.url, local_bytes=0, deadline=1.0) as tier,
        ValkeyManager(tier, max_entries=1000, beat="500ms") as one,
        ValkeyManager(tier, max_entries=1000, beat="500ms", on_gap=gaps.append) as two,
    ):
        await one.emit("said", 0, room="r")
        await eventually(lambda: two.snapshot().workers == 2)
        bus: Any = two._bus
        reader = bus._tracks[0].reader
        reader._task.cancel()  # it reads nothing for a while
        await asyncio.wait([reader._task])
        for _ in range(5):
            for number in range(900):
                await one.emit("said", number, room="r")
            await eventually(lambda: one.snapshot().outbox == 0)
        reader._task = None
        reader.start(lambda host, number: None)
        await eventually(lambda: gaps)
        assert two.snapshot().gaps == sum(gaps) > 0
        assert one.snapshot().gaps == 0


async def test_a_stream_that_begins_anew_with_older_ids_is_read_from_its_beginning(
    own_valkey: EmbeddedValkey,
) -> None:
    async with (
        Tier.from_url(own_valkey.url, local_bytes=0, deadline=1.0) as tier,
        ValkeyManager(tier, beat="1h") as one,
    ):
        await one.emit("said", 1, room="r")
        await eventually(lambda: one.snapshot().received >= 2)
        heard: list[Any] = []
        bus: Any = one._bus
        bus._on_message = lambda message, host: heard.append((host, message.sid))
        stream = bus.streams[0]
        own_valkey.call("DEL", stream)
        payload = encode(message(7))
        await tier.valkey.call("XADD", stream, "5-1", "h", "0b", "s", "1", "m", payload)
        await eventually(lambda: one.snapshot().rewinds == 1)
        await tier.valkey.call("XADD", stream, "5-2", "h", "0b", "s", "2", "m", payload)
        await eventually(lambda: heard == [("0b", "7")])


async def test_a_client_is_taken_over_only_when_this_worker_has_come_as_far(valkey: EmbeddedValkey) -> None:
    async with (
        Tier.from_url(valkey.url, local_bytes=0, deadline=1.0) as tier,
        ValkeyManager(tier) as manager,
    ):
        resumption = manager.resumption
        assert resumption is not None
        await manager.emit("said", 0, room="r")
        seconds, _ = valkey.call("TIME")
        ahead = f"{(int(seconds) + 1) * 1000}-0"  # as told by a worker that reads faster
        pid = resumption.state.new_pid("s" * 20)
        await resumption.state.write(State("s" * 20, pid, "/", "", "0a", ahead))
        claim = asyncio.create_task(resumption.claim(pid, ahead, "/", ""))

        async def taken_over() -> bool:
            await manager.emit("said", 1, room="r")
            return claim.done()

        await eventually(taken_over)
        claimed = claim.result()
        assert claimed is not None
        assert resumption.offset() >= ahead
        assert await resumption.claim(f"{pid}x", ahead, "/", "") is None


async def test_a_flush_is_true_when_the_server_has_it_all_and_false_while_it_is_away(
    own_valkey: EmbeddedValkey,
) -> None:
    async with lane(own_valkey) as made:
        assert await made.flushed()
        for number in range(600):
            made.put(message(number))
        assert await made.flushed()
        assert len(entries(own_valkey)) == 600
        own_valkey.kill()
        made.put(message(600))
        assert not await made.flushed()
        own_valkey.start()
        await eventually(lambda: made.waiting == 0)
        assert await made.flushed()


async def test_a_pulse_that_comes_late_is_no_sign_of_deafness(own_valkey: EmbeddedValkey) -> None:
    """It is late because Valkey is: this worker's clients were served meanwhile, and the pulse is passed over like an event."""
    async with (
        Tier.from_url(own_valkey.url, local_bytes=0, deadline=20.0) as tier,
        ValkeyManager(tier, beat="2s", patience="20ms") as manager,
    ):
        bus: Any = manager._bus
        await eventually(lambda: bus.lag_s is not None and bus._beats == [None])
        before = bus.lag_s
        own_valkey.freeze()
        try:
            await eventually(lambda: bus._beats != [None] and not bus._tracks[0].lane.unseen)
        finally:
            own_valkey.thaw()
        await eventually(lambda: bus._beats == [None])
        assert bus.lag_s != before
        assert bus.deaf == 0


async def test_a_worker_that_starts_learns_at_once_who_is_here(valkey: EmbeddedValkey) -> None:
    async with (
        Tier.from_url(valkey.url, local_bytes=0, deadline=1.0) as tier,
        ValkeyManager(tier, beat="1h") as one,
        ValkeyManager(tier, beat="1h") as two,
    ):
        one.initialize()
        await eventually(lambda: one.snapshot().received >= 1)
        two.initialize()
        await eventually(lambda: one.snapshot().workers == two.snapshot().workers == 2)


async def test_a_worker_that_stalled_does_not_take_the_others_for_dead(valkey: EmbeddedValkey) -> None:
    """Silence is counted in own beats that came back: four of them, and none while nothing is heard."""
    async with (
        Tier.from_url(valkey.url, local_bytes=0, deadline=1.0) as tier,
        ValkeyManager(tier, beat="50ms") as one,
    ):
        one.initialize()
        bus: Any = one._bus
        await eventually(lambda: one.snapshot().received >= 1)
        bus.workers["0b"] = 0
        time.sleep(0.5)  # noqa: ASYNC251 - the loop stands still for ten beats
        assert "0b" in bus.live_workers()
        before = one.snapshot().received
        await eventually(lambda: "0b" not in bus.live_workers())
        assert one.snapshot().received - before >= 4
