"""What waits for one client: order, the three classes, bounds; frames leave at once when nothing waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from valtier.socketio.fanout import Fanout
from valtier.socketio.frames import Frame
from valtier.socketio.messages import Emit
from valtier.socketio.outlet import Flusher, Outlet
from valtier.socketio.rooms import Member


class Wire:
    """A WebSocket whose sends end when the test says so."""

    def __init__(self, *, coroutines: bool = False) -> None:
        self.sent: list[Any] = []
        self.pending: list[asyncio.Future[None]] = []
        self._coroutines = coroutines

    def send(self, message: dict[str, Any]) -> Any:
        self.sent.append(message.get("text", message.get("bytes")))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        return self._wait(future) if self._coroutines else future

    async def _wait(self, future: asyncio.Future[None]) -> None:
        await future

    async def finish(self, count: int = 1) -> None:
        for _ in range(count):
            for _ in range(10):
                if not self.pending:
                    await asyncio.sleep(0.005)
            self.pending.pop(0).set_result(None)
            await asyncio.sleep(0.005)  # the flusher comes every millisecond


def outlet(overflows: list[bool] | None = None, *, max_frames: int = 10, max_bytes: int = 1000) -> Outlet:
    return Outlet(
        flusher=Flusher(),
        max_frames=max_frames,
        max_bytes=max_bytes,
        on_overflow=lambda: (overflows if overflows is not None else []).append(True),
    )


@pytest.mark.parametrize("coroutines", [False, True])
async def test_frames_leave_one_at_a_time_in_order_with_their_attachments(*, coroutines: bool) -> None:
    wire, queue = Wire(coroutines=coroutines), outlet()
    queue.push(Frame("first"))
    queue.attach(wire.send)
    queue.push(Frame("second", (b"1", b"2")))
    queue.push(Frame("third"))
    await asyncio.sleep(0)
    assert wire.sent == ["first"]
    await wire.finish(5)
    assert wire.sent == ["first", "second", b"1", b"2", "third"]
    assert queue.idle
    assert queue.size == 0


@pytest.mark.parametrize("coroutines", [False, True])
async def test_a_volatile_frame_leaves_only_when_nothing_waits(*, coroutines: bool) -> None:
    wire, queue = Wire(coroutines=coroutines), outlet()
    assert not queue.push_volatile(Frame("too early"))
    queue.attach(wire.send)
    assert queue.push_volatile(Frame("first"))
    assert not queue.push_volatile(Frame("dropped"))
    await wire.finish()
    assert queue.push_volatile(Frame("second"))
    await wire.finish()
    assert wire.sent == ["first", "second"]


@pytest.mark.parametrize("coroutines", [False, True])
async def test_of_frames_with_one_key_only_the_latest_waits(*, coroutines: bool) -> None:
    wire, queue = Wire(coroutines=coroutines), outlet()
    queue.attach(wire.send)
    queue.push(Frame("busy"))
    for number in range(100):
        queue.push_latest("a", Frame(f"a{number}"))
        queue.push_latest("b", Frame(f"b{number}"))
    queue.push(Frame("reliable"))
    assert len(queue) == 3
    await wire.finish(4)
    assert wire.sent == ["busy", "reliable", "a99", "b99"]


async def test_keys_that_wait_are_bounded() -> None:
    wire, queue = Wire(), outlet()
    queue.attach(wire.send)
    queue.push(Frame("busy"))
    for number in range(3000):
        queue.push_latest(str(number), Frame("x"))
    assert len(queue) == 1000
    assert queue.size == 1000


@pytest.mark.parametrize(("max_frames", "max_bytes"), [(3, 10_000), (1000, 30)])
async def test_who_lets_too_much_wait_overflows_once_and_is_sent_nothing_more(
    max_frames: int, max_bytes: int
) -> None:
    overflows: list[bool] = []
    wire, queue = Wire(), outlet(overflows, max_frames=max_frames, max_bytes=max_bytes)
    queue.attach(wire.send)
    for number in range(20):
        queue.push(Frame(f"{number:010d}"))
    await wire.finish()
    assert overflows == [True]
    assert wire.sent == ["0000000000"]
    assert queue.size == 0


async def test_polls_take_what_waits_as_one_payload() -> None:
    queue = outlet()
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    queue.push(Frame("4a", (b"\1\2\3\4",)))
    await waiting
    queue.push(Frame("4b"))
    assert queue.take(1000) == ["4a", "bAQIDBA==", "4b"]
    assert queue.take(1000) == []
    assert not queue.push_volatile(Frame("4nobody polls"))
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    assert queue.push_volatile(Frame("4c"))
    await waiting
    assert queue.take(1000) == ["4c"]


async def test_a_send_that_fails_ends_the_queue() -> None:
    wire, queue = Wire(coroutines=True), outlet()
    queue.attach(wire.send)
    queue.push(Frame("first"))
    queue.push(Frame("second"))
    await asyncio.sleep(0)
    wire.pending.pop().set_exception(OSError("gone"))
    await eventually_closed(queue)
    queue.push(Frame("third"))
    assert wire.sent == ["first"]
    assert len(queue) == 0


async def eventually_closed(queue: Outlet) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    assert queue.idle


async def test_who_is_sent_something_large_is_no_slow_reader() -> None:
    overflows: list[bool] = []
    wire, queue = Wire(), outlet(overflows, max_bytes=100)
    queue.attach(wire.send)
    queue.push(Frame("small"))
    queue.push(Frame("x" * 5000))
    queue.push(Frame("small"))
    assert not overflows
    await wire.finish(3)
    assert wire.sent == ["small", "x" * 5000, "small"]
    assert queue.size == 0
    queue.push(Frame("small"))
    for _ in range(3):
        queue.push(Frame("x" * 5000))
    assert overflows == [True]


async def test_an_event_that_waited_while_others_passed_does_not_lead_the_clients_offset_back() -> None:
    """The official client takes any text at the end of an event for its offset, whenever the event comes."""
    wire, queue = Wire(), outlet()
    queue.attach(wire.send)
    member = Member("/", "s", "e", queue)
    member.offsets = True
    fanout = Fanout()
    queue.push(Frame("busy"))
    fanout.ephemeral(Emit("/", None, [], "2", '["hint","text"]', latest="k"), {"s": member})
    for offset in ("5-1", "5-2"):
        fanout.reliable(Emit("/", None, [], "2", '["said","text"]'), {"s": member}, offset)
    await wire.finish(4)
    ends = [json.loads(text[2:])[-1] for text in wire.sent[1:]]
    assert ends == ["5-1", "5-2", None]
