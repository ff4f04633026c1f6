"""Presence against a model: whatever devices, workers and time do, the roster is what the model says."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from test_presence import age
from wires import open_patient

from valtier import Clock
from valtier.embedded import EmbeddedValkey
from valtier.presence import Device, Presence

LIFE_S, LEASE_S, DEBOUNCE_S = 90, 60, 20
WORKERS = ("w0", "w1")


class Machine(RuleBasedStateMachine):
    """Two workers and one room. Time goes by making what lies in Valkey older."""

    valkey: EmbeddedValkey

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 0.0
        self.deadlines: dict[str, float] = {}  # by member
        self.owners: dict[str, str] = {}
        self.leases: dict[str, float] = {}
        self.devices: dict[tuple[str, str], Device] = {}  # by worker and member

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    @initialize()
    def begin(self) -> None:
        self.valkey.call("FLUSHALL")
        clock = Clock(monotonic=lambda: self.now)

        async def opened(name: str) -> Presence:
            self.wires.append(opening := open_patient(self.valkey.url))
            wire = await opening.__aenter__()
            presence = Presence(
                wire, ttl=LIFE_S / 2.25, lease=LEASE_S, debounce=DEBOUNCE_S, worker=name, clock=clock
            )
            await presence.start()
            return presence

        self.wires: list[Any] = []
        self.workers = {name: self.run(opened(name)) for name in WORKERS}

    def teardown(self) -> None:
        async def close() -> None:
            for presence in self.workers.values():
                await presence.stop()
            for wire in self.wires:
                await wire.__aexit__(None, None, None)

        self.run(close())
        self.runner.close()

    def sweep(self) -> None:
        dead = {worker for worker, until in self.leases.items() if until <= self.now}
        for worker in dead:
            del self.leases[worker]
        for member in list(self.deadlines):
            if self.deadlines[member] <= self.now or self.owners[member] in dead:
                del self.deadlines[member], self.owners[member]
        if not self.deadlines:
            self.leases.clear()

    def entered(self, worker: str, member: str) -> None:
        self.leases[worker] = self.now + LEASE_S
        self.deadlines[member] = self.now + LIFE_S
        self.owners[member] = worker
        self.sweep()

    @rule(worker=st.sampled_from(WORKERS), user=st.sampled_from("ab"), name=st.sampled_from("xy"))
    def connect(self, worker: str, user: str, name: str) -> None:
        device = self.run(self.workers[worker].connect(user, name, rooms=["r"]))
        self.devices[worker, device.member] = device
        self.entered(worker, device.member)

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        if not self.devices:
            return
        worker, member = data.draw(st.sampled_from(sorted(self.devices)))
        device = self.devices[worker, member]
        alive = bool(device.rooms)
        self.run(device.beat())
        if alive:
            self.entered(worker, member)

    @rule(data=st.data(), at_once=st.booleans())
    def close_device(self, data: st.DataObject, at_once: bool) -> None:
        if not self.devices:
            return
        worker, member = data.draw(st.sampled_from(sorted(self.devices)))
        self.run(self.devices.pop((worker, member)).close(at_once=at_once))
        if self.owners.get(member) == worker:
            if at_once:
                del self.deadlines[member], self.owners[member]
            else:
                self.deadlines[member] = min(self.deadlines[member], self.now + DEBOUNCE_S)
                self.owners[member] = ""
        self.sweep()

    @rule(worker=st.sampled_from(WORKERS))
    def renew(self, worker: str) -> None:
        presence = self.workers[worker]
        assert presence._rooms is not None
        self.run(presence._tick(presence._rooms))
        silent = [key for key, device in self.devices.items() if key[0] == worker and not device.rooms]
        for key in silent:
            del self.devices[key]
        mine = [member for its, member in self.devices if its == worker]
        if mine or "r" in presence._lingering:
            held = worker in self.leases
            if held:
                self.leases[worker] = self.now + LEASE_S
            self.sweep()
            if not held:
                for member in mine:
                    self.entered(worker, member)

    @rule(tens=st.integers(1, 7))
    def let_time_go(self, tens: int) -> None:
        self.now += tens * 15
        for key in ("d", "w"):
            self.run(age(self.valkey, f"valtier:p:{{r}}:{key}", tens * 15_000))

    @rule()
    def flush(self) -> None:
        self.valkey.call("FLUSHALL")
        self.deadlines.clear()
        self.owners.clear()
        self.leases.clear()

    @invariant()
    def the_roster_is_true(self) -> None:
        if not hasattr(self, "workers"):
            return
        self.sweep()
        roster = self.run(self.workers["w0"].roster("r"))
        assert roster.known
        assert dict(roster.users) == Counter(member.partition("/")[0] for member in self.deadlines)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_the_roster_is_what_the_model_says(valkey: EmbeddedValkey) -> None:
    class Bound(Machine):
        pass

    Bound.valkey = valkey
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=100,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
