"""Nodes of a cluster that say what a test tells them: maps that lie, redirections in circles, nodes that can't just now."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from scripted import Command, ScriptedServer, info

from valtier.wire import Address, Backoff, Endpoint, Topology, WireOptions
from valtier.wire.cluster import Cluster
from valtier.wire.cluster.slots import SLOTS, slot_of

QUICK = WireOptions(
    deadline_s=0.3,
    connect_timeout_s=1.0,
    drop_after_s=1.0,
    backoff=Backoff(base_s=0.01, cap_s=0.05, probe_s=0.1),
)

_HELLO = b"%3\r\n+server\r\n+valkey\r\n+mode\r\n+cluster\r\n+role\r\n+master\r\n"


class ScriptedNode(ScriptedServer):
    """One node. `slots` is its answer to CLUSTER SLOTS, made anew each time."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.run_id = name
        self.slots: Callable[[], bytes | None] = lambda: b"*0\r\n"
        self.nodes: Callable[[], bytes | None] = lambda: b"-ERR not told\r\n"
        """Its answer to CLUSTER NODES."""
        self.asked_for_slots = 0

    @property
    def endpoint(self) -> Endpoint:
        return self.address.endpoints[0]

    def got(self, *names: str) -> list[Command]:
        """Returns the commands of these names, in order."""
        return [command for command in self.received if command[0].decode() in names]

    def _handle(self, command: Command, writer: asyncio.StreamWriter) -> None:
        if command[0] == b"HELLO":
            writer.write(_HELLO)
        elif command[0] == b"INFO":
            writer.write(info(f"valkey_version:9.1.2\r\nredis_mode:cluster\r\nrun_id:{self.run_id}\r\n"))
        elif command[0] == b"READONLY":
            writer.write(b"+OK\r\n")
        elif command[:2] == (b"CLUSTER", b"NODES"):
            if (told := self.nodes()) is not None:
                writer.write(told)
        elif command[:2] == (b"CLUSTER", b"SLOTS"):
            self.asked_for_slots += 1
            if (parts := self.slots()) is not None:
                writer.write(parts)
        else:
            super()._handle(command, writer)


def slots_reply(*parts: tuple[int, int, Endpoint] | tuple[int, int, Endpoint, Endpoint]) -> bytes:
    """Encodes a reply to CLUSTER SLOTS: first and last slot, the primary, and a replica if there is one."""
    entries = [
        b"*%d\r\n:%d\r\n:%d\r\n%s" % (2 + len(nodes), first, last, b"".join(map(_node, nodes)))
        for first, last, *nodes in parts
    ]
    return b"*%d\r\n%s" % (len(entries), b"".join(entries))


def _node(endpoint: Endpoint) -> bytes:
    return b"*3\r\n%s:%d\r\n%s" % (info(endpoint.host), endpoint.port, info(f"id-{endpoint.port}"))


def nodes_reply(**epochs: int) -> bytes:
    """Encodes a reply to CLUSTER NODES: config epochs by `port_…`, what else is in it is of no interest."""
    lines = [
        f"id-{port.removeprefix('port_')} 127.0.0.1:1@2 master - 0 0 {epoch} connected"
        for port, epoch in epochs.items()
    ]
    return info("\n".join(lines) + "\n")


class ScriptedCluster:
    """Two nodes that agree at first: each has half of the slots."""

    def __init__(self) -> None:
        self.one, self.two = ScriptedNode("run-one"), ScriptedNode("run-two")
        self.low = _key(lambda slot: slot < SLOTS // 2)
        """A key in the first node's half."""
        self.high = _key(lambda slot: slot >= SLOTS // 2)

    def honest(self) -> bytes:
        half = SLOTS // 2
        return slots_reply((0, half - 1, self.one.endpoint), (half, SLOTS - 1, self.two.endpoint))

    @property
    def address(self) -> Address:
        seeds = (self.one.endpoint, self.two.endpoint)
        return replace(self.one.address, endpoints=seeds, topology=Topology.CLUSTER)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ScriptedCluster"]:
        async with AsyncExitStack() as stack:
            for node in (self.one, self.two):
                await stack.enter_async_context(node.serving())
                node.slots = self.honest
            yield self


def moved(key: str, to: Endpoint) -> bytes:
    return b"-MOVED %d %s\r\n" % (slot_of(key), str(to).encode())


def ask(key: str, to: Endpoint) -> bytes:
    return b"-ASK %d %s\r\n" % (slot_of(key), str(to).encode())


def _key(fits: Callable[[int], bool]) -> str:
    return next(name for name in map(str, range(1000)) if fits(slot_of(name)))


@asynccontextmanager
async def client(
    nodes: ScriptedCluster, options: WireOptions = QUICK, *, replica_reads: bool = False
) -> AsyncIterator[Cluster]:
    made = Cluster(replace(nodes.address, read_from_replicas=replica_reads), options)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
