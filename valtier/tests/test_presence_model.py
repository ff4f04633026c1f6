"""Presence against a model: whatever devices, workers and time do, the roster is what the model says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from server_time import ServerTime
from wires import open_patient

from valtier import Clock
from valtier.embedded import EmbeddedValkey
from valtier.presence import Device, Presence
from valtier.wire import Valkey

LIFE_S, LEASE_S, DEBOUNCE_S = 90, 30, 50  # a lease may end before a debounce
WORKERS = st.sampled_from(("w0", "w1"))
DEVICES = st.sampled_from(
    (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"))
)  # few, so that they meet on both workers
SPANS = st.one_of(st.sampled_from((1, 15, LEASE_S, DEBOUNCE_S, LIFE_S)), st.integers(1, 60))

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Connection:
    worker: str
    device: Device
    gone_at: float
    open: bool = True
    in_room: bool = True

    @property
    def member(self) -> str:
        return self.device.member


class Machine(RuleBasedStateMachine):
    """Two workers and one room. Time goes only where a step says so.

    A device may have any number of connections, on both workers: a worker holds it while one of them is in the room,
    and it has left when the last that held it let it go.
    """

    valkey: EmbeddedValkey
    time: ServerTime
    connections = Bundle("connections")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.wires: list[Any] = []
        self.workers: dict[str, Presence] = {}
        self.known: list[Connection] = []
        self.deadlines: dict[str, float] = {}  # by member
        self.holders: dict[str, set[str]] = {}  # by member; none: it is leaving
        self.leases: dict[str, float] = {}  # by worker
        self.seen: dict[str, float] = {}  # by user

    @property
    def now(self) -> float:
        return self.time.now_s

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    # -- the model -----------------------------------------------------------------------------------------

    def remove(self, member: str, at: float) -> None:
        del self.deadlines[member], self.holders[member]
        user = member.partition("/")[0]
        if not any(other.startswith(f"{user}/") for other in self.deadlines):
            self.seen[user] = max(at, self.seen.get(user, 0.0))

    def sweep(self) -> None:
        dead = {worker: until for worker, until in self.leases.items() if until <= self.now}
        for worker in dead:
            del self.leases[worker]
        for member, holders in list(self.holders.items()):
            died = holders & dead.keys()
            holders.difference_update(died)
            if died and not holders:
                self.remove(member, max(dead[worker] for worker in died))
        for member, until in sorted(self.deadlines.items(), key=lambda item: item[1]):
            if until <= self.now:
                self.remove(member, until)
        if not self.deadlines:
            self.leases.clear()

    def holds(self, worker: str, member: str) -> bool:
        """Whether a worker knows of an open connection of this device to the room."""
        return any((its.worker, its.member) == (worker, member) and its.in_room for its in self.known)

    def entered(self, worker: str, member: str) -> None:
        self.leases[worker] = self.now + LEASE_S
        self.deadlines[member] = self.now + LIFE_S
        self.holders.setdefault(member, set()).add(worker)
        self.sweep()

    def left(self, worker: str, member: str, after_s: float) -> None:
        if worker in self.holders.get(member, ()) and not self.holds(worker, member):
            self.holders[member].discard(worker)
            if not self.holders[member]:
                if after_s:
                    self.deadlines[member] = min(self.deadlines[member], self.now + after_s)
                else:
                    self.remove(member, self.now)
        self.sweep()

    # -- what may happen -----------------------------------------------------------------------------------

    async def opened(self, name: str) -> Presence:
        opening = open_patient(self.valkey.url)
        wire: Valkey = await opening.__aenter__()
        self.wires.append(opening)
        return await self.started(wire, name)

    async def started(self, wire: Valkey, name: str) -> Presence:
        clock = Clock(monotonic=lambda: self.now)
        presence = Presence(
            wire, ttl=LIFE_S / 2.25, lease=LEASE_S, debounce=DEBOUNCE_S, worker=name, clock=clock
        )
        await presence.start()
        assert presence._keeper is not None
        presence._keeper.cancel()  # `renew` does what it does
        return presence

    @initialize()
    def begin(self) -> None:
        self.time.flush()
        self.workers = {name: self.run(self.opened(name)) for name in ("w0", "w1")}

    def teardown(self) -> None:
        async def close() -> None:
            for presence in self.workers.values():
                await presence.stop()
            for wire in self.wires:
                await wire.__aexit__(None, None, None)

        self.run(close())
        self.runner.close()

    @rule(target=connections, worker=WORKERS, names=DEVICES)
    def connect(self, worker: str, names: tuple[str, str]) -> Connection:
        device = self.run(self.workers[worker].connect(*names, rooms=["r"]))
        made = Connection(worker, device, self.now + LIFE_S)
        self.known.append(made)
        self.entered(worker, device.member)
        return made

    @rule(its=connections)
    def beat(self, its: Connection) -> None:
        self.run(its.device.beat())
        if its.open:
            its.gone_at = self.now + LIFE_S
            if its.in_room:
                self.entered(its.worker, its.member)

    @rule(its=connections)
    def join(self, its: Connection) -> None:
        self.run(its.device.join("r"))
        if its.open:
            its.in_room, its.gone_at = True, self.now + LIFE_S
            self.entered(its.worker, its.member)

    @rule(its=connections)
    def leave(self, its: Connection) -> None:
        self.run(its.device.leave("r"))
        if its.open and its.in_room:
            its.in_room = False
            self.left(its.worker, its.member, DEBOUNCE_S)

    @rule(its=connections, at_once=st.booleans())
    def close_device(self, its: Connection, at_once: bool) -> None:
        self.run(its.device.close(at_once=at_once))
        if its.open:
            self.forget(its)
            if its.in_room:
                self.left(its.worker, its.member, 0 if at_once else DEBOUNCE_S)

    def forget(self, its: Connection) -> None:
        its.open = False
        self.known.remove(its)

    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        presence = self.workers[worker]
        assert presence._rooms is not None
        self.run(presence._tick(presence._rooms))
        silent = [its for its in self.known if its.worker == worker and its.gone_at <= self.now]
        for its in silent:
            self.forget(its)
        for its in silent:
            if its.in_room:
                self.left(worker, its.member, DEBOUNCE_S)
        mine = {its.member for its in self.known if its.worker == worker and its.in_room}
        if mine or "r" in presence._lingering:
            held = worker in self.leases
            if held:
                self.leases[worker] = self.now + LEASE_S
            self.sweep()
            if not held:
                for member in mine:
                    self.entered(worker, member)

    @rule(worker=WORKERS, hand_over=st.booleans())
    def restart(self, worker: str, hand_over: bool) -> None:
        """A worker of the same name comes in its place."""
        old = self.workers[worker]
        assert old._rooms is not None
        self.run(old.stop(hand_over=hand_over))
        mine = [its for its in self.known if its.worker == worker]
        for its in mine:
            self.forget(its)
        for its in mine:
            if its.in_room:
                self.left(worker, its.member, LEASE_S if hand_over else 0)
        self.workers[worker] = self.run(self.started(old._rooms.valkey, worker))

    @rule(span_s=SPANS)
    def let_time_go(self, span_s: int) -> None:
        self.time.go_on(span_s)

    @rule()
    def flush(self) -> None:
        self.time.flush()
        self.deadlines.clear()
        self.holders.clear()
        self.leases.clear()
        self.seen.clear()

    @invariant()
    def what_is_told_is_true(self) -> None:
        self.sweep()
        here = Counter(member.partition("/")[0] for member in self.deadlines)
        for presence in self.workers.values():
            roster = self.run(presence.roster("r"))
            assert roster.known
            assert dict(roster.users) == here
        assert presence._rooms is not None
        for user in "ab":
            assert self.run(presence._rooms.standing("r", user)) == (here[user], self.seen.get(user))


def check(valkey: EmbeddedValkey, patch: pytest.MonkeyPatch, **options: Any) -> None:
    class Bound(Machine):
        pass

    Bound.valkey, Bound.time = valkey, ServerTime(valkey, patch)
    run_machine(Bound, settings=settings(deadline=None, suppress_health_check=list(HealthCheck), **options))


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_the_roster_is_what_the_model_says(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    check(valkey, monkeypatch, max_examples=150, stateful_step_count=30)
