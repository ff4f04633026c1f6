"""Ticks: what moves alone goes out at once, and no room gets more messages than there are ticks."""

from __future__ import annotations

import asyncio

import pytest

from valtier.errors import ConfigurationError
from valtier.socketio.messages import Tick
from valtier.socketio.ticks import Ticks
from valtier.testing import eventually

LONG_S = 3600.0


class Ears:
    """What went to clients, and to other workers."""

    def __init__(self, tick_s: float) -> None:
        self.here: list[Tick] = []
        self.there: list[Tick] = []
        self.ticks = Ticks(tick_s, deliver=self.here.append, publish=self.there.append)

    def move(self, key: str, payload: str) -> None:
        self.ticks.change("/", "board:1", "cursors", key, payload)


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_change_after_a_pause_goes_out_at_once_and_the_next_one_waits() -> None:
    ears = Ears(LONG_S)
    ears.move("ada", "1")
    await eventually(lambda: ears.here and ears.there)
    ears.move("ada", "2")
    await some_turns()
    assert [tick.entries for tick in ears.here] == [{"ada": "1"}]
    assert [tick.entries for tick in ears.there] == [{"ada": "1"}]
    ears.ticks.stop()


async def test_what_comes_in_one_turn_goes_out_in_one_message_the_latest_of_each() -> None:
    ears = Ears(LONG_S)
    for payload in ("1", "2"):
        ears.move("ada", payload)
        ears.move("ben", payload)
    await eventually(lambda: ears.here and ears.there)
    assert [tick.entries for tick in ears.here] == [{"ada": "2", "ben": "2"}]
    assert [tick.entries for tick in ears.there] == [{"ada": "2", "ben": "2"}]
    ears.ticks.stop()


async def test_what_another_worker_tells_goes_out_at_once_too() -> None:
    ears = Ears(LONG_S)
    ears.ticks.hear(Tick("/", "board:1", "cursors", {"ada": "1"}))
    await eventually(lambda: ears.here)
    ears.ticks.hear(Tick("/", "board:1", "cursors", {"ada": "2"}))
    await some_turns()
    assert [tick.entries for tick in ears.here] == [{"ada": "1"}]
    assert ears.there == []
    ears.ticks.stop()


async def test_what_waits_goes_out_when_its_tick_has_come() -> None:
    ears = Ears(0.02)
    for payload in range(5):
        ears.move("ada", str(payload))
        await eventually(lambda: not ears.ticks._here)
    assert [tick.entries for tick in ears.here] == [{"ada": str(payload)} for payload in range(5)]
    ears.ticks.stop()


async def test_a_room_with_very_many_keys_is_refused() -> None:
    ears = Ears(LONG_S)
    for key in range(10_000):
        ears.move(str(key), "1")
    with pytest.raises(ConfigurationError):
        ears.move("one more", "1")
    ears.ticks.stop()
