"""Slots move, primaries fail over, freeze and die, while callers call: they notice as little as can be.

Counters prove that nothing runs twice: what was acknowledged is counted, and no more than what may have run.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from wires import PATIENT, open_cluster

from valtier.embedded import ClusterNode, EmbeddedCluster
from valtier.errors import OutcomeUnknownError, UnavailableError, ValkeyError
from valtier.testing import eventually, wait_until
from valtier.wire import Status, Valkey
from valtier.wire.cluster import Cluster, slot_of

QUICK = replace(PATIENT, deadline_s=0.25, connect_timeout_s=0.5, drop_after_s=1.0)


@dataclass
class Load:
    """Callers that count, each its own key, until they are told to stop."""

    wire: Cluster
    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    unsent: Counter[str] = field(default_factory=Counter)
    longest_s: dict[str, float] = field(default_factory=dict)
    stopped: bool = False

    async def count(self, key: str) -> None:
        while not self.stopped:
            began = time.monotonic()
            try:
                await self.wire.call("INCR", key)
                self.acknowledged[key] += 1
            except UnavailableError:
                self.unsent[key] += 1
            except OutcomeUnknownError:
                self.unknown[key] += 1
            self.longest_s[key] = max(self.longest_s.get(key, 0.0), time.monotonic() - began)
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self, keys: Iterable[str]) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(self.count(key))
            try:
                await eventually(lambda: all(self.acknowledged[key] for key in keys))
                yield
            finally:
                self.stopped = True

    async def counted(self, key: str) -> int:
        return int(await self.wire.call("GET", key) or 0)


def key_in(slots: Iterable[int] | range, prefix: str = "k") -> str:
    wanted = set(slots)
    return next(key for key in (f"{prefix}{n}" for n in range(1_000_000)) if slot_of(key) in wanted)


def keys_of_all_primaries(count: int) -> list[str]:
    return [f"counter{n}" for n in range(count)]


# -- slots that move ---------------------------------------------------------------------------------------


async def test_while_a_slot_is_moved_every_call_finds_its_key(own_cluster: EmbeddedCluster) -> None:
    """Half of the keys are here and half there: ASK, and TRYAGAIN where one call wants both."""
    slot = slot_of("{t}")
    source = own_cluster.primary_of(slot)
    target = next(node for node in own_cluster.primaries() if node is not source)
    names = [f"{{t}}{n}" for n in range(20)]
    async with open_cluster(own_cluster) as wire:
        moved: list[int] = []
        wire.on_slots_changed(moved.extend)
        await wire.call("MSET", *(word for name in names for word in (name, name)))
        own_cluster.begin_migration(slot, target)
        own_cluster.move_keys(slot, target, 10)
        for name in names:
            assert await wire.call("GET", name) == name.encode()
        assert await wire.call("SET", "{t}new", "v") == b"OK"
        assert await wire.call("GET", "{t}new") == b"v"
        assert source.port == (wire.link_for("{t}").endpoint or target).port
        assert not moved
        refused = wire.telemetry.total().reply_errors
        split = asyncio.ensure_future(wire.call("MGET", *names))
        await eventually(lambda: wire.telemetry.total().reply_errors > refused + 1)
        assert not split.done()  # the server can't say yet: TRYAGAIN, again and again
        await asyncio.to_thread(own_cluster.end_migration, slot, target)
        assert await split == [name.encode() for name in names]
        assert await wire.call("MGET", *names) == [name.encode() for name in names]
        assert moved == [slot]
        assert wire.link_for("{t}").endpoint is not None
        assert target.port == wire.link_for("{t}").endpoint.port  # type: ignore[union-attr]


async def test_a_call_that_wants_both_halves_of_a_moving_slot_ends_at_its_deadline(
    own_cluster: EmbeddedCluster,
) -> None:
    slot = slot_of("{t}")
    target = next(node for node in own_cluster.primaries() if node is not own_cluster.primary_of(slot))
    async with open_cluster(own_cluster, QUICK) as wire:
        await wire.call("MSET", "{t}a", 1, "{t}b", 2)
        own_cluster.begin_migration(slot, target)
        own_cluster.move_keys(slot, target, 1)
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="TRYAGAIN"):
            await wire.call("SUNION", "{t}a", "{t}b")
        assert time.monotonic() - began < QUICK.deadline_s + 0.2


def move_at_once(servers: EmbeddedCluster, source: ClusterNode, target: ClusterNode) -> None:
    """Valkey 9's own way: all keys and the slots change hands in one step."""
    source.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 0, 19, "NODE", target.id)
    wait_until(lambda: servers.primary_of(19) is target)
    servers.wait_until_healthy()


def move_key_by_key(servers: EmbeddedCluster, source: ClusterNode, target: ClusterNode) -> None:
    servers.migrate_slots(range(20), source, target)


@pytest.mark.parametrize("move", [move_key_by_key, move_at_once])
async def test_resharding_under_load_is_no_error_to_anybody(
    own_cluster: EmbeddedCluster, move: Callable[[EmbeddedCluster, ClusterNode, ClusterNode], None]
) -> None:
    """Twenty slots change hands while counters in them are counted: every one is exact in the end."""
    source, target = own_cluster.primaries()[:2]
    keys = [key_in([slot]) for slot in range(20)] + keys_of_all_primaries(10)
    async with open_cluster(own_cluster) as wire:
        told: list[list[bytes] | None] = []
        wire.on_invalidate(told.append)
        await eventually(lambda: wire.tracking)
        read = {f"read:{{{key}}}": slot_of(key) for key in keys}
        for name in read:
            await wire.call_tracked("GET", name)
        told.clear()
        load = Load(wire)
        async with load.running(keys):
            await asyncio.to_thread(move, own_cluster, source, target)
        assert not load.unsent
        assert not load.unknown
        for key in keys:
            assert await load.counted(key) == load.acknowledged[key]
        await eventually(lambda: all(wire.link_for(key).endpoint.port == target.port for key in keys[:20]))  # type: ignore[union-attr]
        assert None not in told  # what the other slots hold stays as it is
        assert {name for names in told for name in names or ()} == {
            name.encode() for name, slot in read.items() if slot < 20
        }
        assert wire.telemetry.total().redirected > 0


@pytest.mark.parametrize(
    ("kind", "host"), [("hostname", "localhost"), ("unknown-endpoint", "127.0.0.1"), ("ip", "127.0.0.1")]
)
async def test_nodes_are_found_however_they_name_themselves(
    own_cluster: EmbeddedCluster, kind: str, host: str
) -> None:
    for node in own_cluster.nodes:
        node.call(
            "CONFIG", "SET", "cluster-announce-hostname", "localhost", "cluster-preferred-endpoint-type", kind
        )

    def all_know() -> bool:
        """The names spread among the nodes by and by."""
        told = [part[2][0] for node in own_cluster.nodes for part in node.call("CLUSTER", "SLOTS")]
        return kind != "hostname" or set(told) == {b"localhost"}

    await eventually(all_know)
    async with open_cluster(own_cluster) as wire:
        assert {link.endpoint.host for link in wire.nodes() if link.endpoint} == {host}
        await wire.call("MSET", *(word for n in range(100) for word in (f"k{n}", n)))
        slot = slot_of("k1")
        source = own_cluster.primary_of(slot)
        target = next(node for node in own_cluster.primaries() if node is not source)
        own_cluster.begin_migration(slot, target)
        own_cluster.move_keys(slot, target)
        assert await wire.call("GET", "k1") == b"1"  # by way of ASK
        own_cluster.end_migration(slot, target)
        assert await wire.call("GET", "k1") == b"1"  # by way of MOVED


# -- primaries that change ---------------------------------------------------------------------------------


async def test_a_failover_by_command_under_load_loses_and_repeats_nothing(
    own_cluster: EmbeddedCluster,
) -> None:
    keys = keys_of_all_primaries(30)
    primary = own_cluster.primaries()[0]
    async with open_cluster(own_cluster) as wire:
        run_ids: list[str | None] = []

        async def hook(valkey: Valkey) -> None:
            run_ids.append(valkey.server.run_id)

        wire.on_ready(hook)
        before = wire.server.run_id
        load = Load(wire)
        async with load.running(keys):
            await asyncio.to_thread(own_cluster.failover, own_cluster.replicas(primary)[0])
        assert not load.unsent
        for key in keys:
            counted = await load.counted(key)
            assert load.acknowledged[key] <= counted <= load.acknowledged[key] + load.unknown[key]
        await eventually(lambda: wire.status is Status.READY)
        assert wire.server.run_id not in (before, None)
        assert run_ids[-1] == wire.server.run_id


async def test_a_primary_that_is_killed_under_load(own_cluster: EmbeddedCluster) -> None:
    """Its callers are told, at the latest at their deadline, until the replica has taken over; others notice nothing.

    The last acknowledged writes may be lost: replication is asynchronous. Nothing is ever counted twice.
    """
    keys = keys_of_all_primaries(30)
    async with open_cluster(own_cluster, QUICK) as wire:
        load = Load(wire)
        async with load.running(keys):
            killed = own_cluster.kill_primary_of(slot_of(keys[0]))
            hit = {key for key in keys if (wire.link_for(key).endpoint or killed).port == killed.port}
            await asyncio.to_thread(own_cluster.wait_until_healthy)
            await eventually(lambda: wire.status is Status.READY)
            acknowledged = load.acknowledged.copy()
            await eventually(lambda: all(load.acknowledged[key] > acknowledged[key] for key in keys))
        assert hit
        assert hit < set(keys)
        assert {key for key in keys if load.unsent[key]} >= {keys[0]}
        assert max(load.longest_s.values()) < QUICK.deadline_s + 0.5
        for key in keys:
            counted = await load.counted(key)
            assert counted <= load.acknowledged[key] + load.unknown[key]
            if key not in hit and not load.unsent[key]:
                assert counted >= load.acknowledged[key]


async def test_a_frozen_primary_costs_its_callers_a_deadline_and_others_nothing(
    own_cluster: EmbeddedCluster,
) -> None:
    """After the first missed deadline calls fail at once; when a replica has taken over they go there."""
    async with open_cluster(own_cluster, QUICK) as wire:
        frozen, well = own_cluster.primaries()[:2]
        to_frozen = next(
            key for key in keys_of_all_primaries(99) if own_cluster.primary_of(slot_of(key)) is frozen
        )
        to_well = next(
            key for key in keys_of_all_primaries(99) if own_cluster.primary_of(slot_of(key)) is well
        )
        frozen.freeze()
        try:
            began = time.monotonic()
            calls = [wire.call("SET", to_frozen, "v") for _ in range(50)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, ValkeyError) for result in results)
            assert time.monotonic() - began < QUICK.deadline_s + 0.2
            began = time.monotonic()
            assert await wire.call("SET", to_well, "v") == b"OK"
            assert time.monotonic() - began < 0.1

            async def is_served() -> bool:
                began = time.monotonic()
                try:
                    await wire.call("SET", to_frozen, "new")
                except ValkeyError:
                    assert time.monotonic() - began < QUICK.deadline_s + 0.3
                    return False
                return True

            await eventually(is_served, 20.0)
            assert await wire.call("GET", to_frozen) == b"new"
        finally:
            frozen.thaw()


async def test_reads_fall_back_to_the_primary_when_the_replica_dies(own_cluster: EmbeddedCluster) -> None:
    """A new cluster names its replicas only when it knows how far they are."""
    await eventually(
        lambda: all(len(part) == 4 for node in own_cluster.nodes for part in node.call("CLUSTER", "SLOTS"))
    )
    async with open_cluster(own_cluster, read_from_replicas=True) as wire:
        await asyncio.gather(*(wire.call("SET", f"k{n}", n) for n in range(30)))
        for replica in own_cluster.replicas():
            replica.kill()
        for _ in range(20):
            values = await asyncio.gather(*(wire.call("GET", f"k{n}") for n in range(30)))
            assert values == [b"%d" % n for n in range(30)]
        assert wire.status is Status.READY
