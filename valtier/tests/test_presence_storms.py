"""Presence while everybody reloads at once, and on workers whose clocks disagree."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

from test_presence import QUICK, drop_dead, until, users_of
from wires import open_url

from valtier import Clock
from valtier.embedded import EmbeddedValkey
from valtier.presence import Diff, Presence, Roster

_YEAR_S = 365 * 86_400.0


async def test_a_storm_of_reloads_on_any_worker_is_noticed_by_nobody(valkey: EmbeddedValkey) -> None:
    """200 people reload five times each, at once: the new connection comes to any worker, before or after the old one's end."""
    chance = random.Random(4)
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(open_url(valkey.url, deadline="10s")) for _ in range(3)]
        workers = [
            await stack.enter_async_context(Presence(wire, **{**QUICK, "lease": "20s", "debounce": "60s"}))
            for wire in wires
        ]
        names = [f"user{number}" for number in range(200)]
        devices = {name: await workers[0].connect(name, "tab", rooms=["r"]) for name in names}
        everybody = dict.fromkeys(names, 1)
        async with workers[1].watch("r") as watch:
            assert users_of(await anext(watch)) == everybody

            async def reload(name: str) -> None:
                for _ in range(5):
                    old, first = devices[name], chance.random() < 0.5
                    if first:
                        await old.close()
                    devices[name] = await chance.choice(workers).connect(name, "tab", rooms=["r"])
                    if not first:
                        await old.close()

            await asyncio.gather(*map(reload, names))
            assert users_of(await workers[2].roster("r")) == everybody
            await workers[0].connect("last", rooms=["r"])
            heard = await anext(watch)
            assert heard == Diff(frozenset({"last"}), frozenset(), "r"), "somebody's reload was told"
            await asyncio.gather(*(device.close(at_once=True) for device in devices.values()))
            left: set[str] = set()
            while len(left) < len(names):
                change = await anext(watch)
                assert isinstance(change, Diff)
                assert not change.joined
                assert not change.left & left, "somebody has left twice"
                left |= change.left
        assert users_of(await workers[2].roster("r")) == {"last": 1}


async def test_workers_whose_clocks_are_years_apart_agree_on_who_is_here(valkey: EmbeddedValkey) -> None:
    def clock(ahead_s: float) -> Clock:
        return Clock(wall=lambda: time.time() + ahead_s, monotonic=lambda: time.monotonic() + ahead_s)

    async with AsyncExitStack() as stack:
        workers = []
        for ahead_s in (-_YEAR_S, 0.0, _YEAR_S):
            wire = await stack.enter_async_context(open_url(valkey.url, deadline="5s"))
            presence = Presence(wire, **QUICK, clock=clock(ahead_s))
            workers.append(await stack.enter_async_context(presence))
        late, on_time, early = workers
        for name, presence in (("late", late), ("on time", on_time), ("early", early)):
            await presence.connect(name, rooms=["r"])
        everybody = {"late": 1, "on time": 1, "early": 1}
        for presence in workers:
            assert users_of(await presence.roster("r")) == everybody
        async with on_time.watch("r") as watch:
            await drop_dead(early)  # its people go by the server's clock, and nobody else's
            await until(watch, lambda change: isinstance(change, Diff) and change.left == {"early"})
            await drop_dead(late)
            await until(watch, lambda change: isinstance(change, Diff) and change.left == {"late"})
        found = await on_time.roster("r")
        assert found == Roster(known=True, users={"on time": 1}, room="r", version=found.version)
