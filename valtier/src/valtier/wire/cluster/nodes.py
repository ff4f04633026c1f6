"""The nodes: one for each server of the cluster that is talked to, and which of them serves which slot."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from valtier.wire.address import Endpoint
from valtier.wire.cluster.node import Make, Node, Nowhere
from valtier.wire.cluster.slotmap import SlotMap
from valtier.wire.cluster.slots import SLOTS
from valtier.wire.link import Status

_KEEP_S = 60.0


class Nodes:
    """Every node by its endpoint, and the table of slots. Guarded by the event loop: no method awaits halfway."""

    def __init__(
        self,
        make: Make,
        seeds: Sequence[Endpoint],
        *,
        with_replicas: bool,
        drain_s: float,
        on_moved: Callable[[Sequence[int], list[bytes] | None], None],
    ) -> None:
        """Prepares an empty table.

        Args:
            make: makes the node for an endpoint; it is started here.
            seeds: where the cluster is first asked for its map, and again when nobody else answers.
            with_replicas: whether replicas are connected to.
            drain_s: how long a node that has left the map may finish what it was sent.
            on_moved: told which slots have another primary now, and which names in them their former ones would have
                told the changes of; `None`: not known.
        """
        self.nowhere = Nowhere()
        self.table: list[Node | Nowhere] = [self.nowhere] * SLOTS
        self.primaries: list[Node] = []
        self._readers: dict[Node, tuple[Node, ...]] = {}  # of each primary
        self._by_endpoint: dict[Endpoint, Node] = {}
        self._make = make
        self._seeds = tuple(seeds)
        self._with_replicas = with_replicas
        self._drain_s = drain_s
        self._on_moved = on_moved
        self._leaving: dict[Node, asyncio.Task[None]] = {}
        self._turn = 0

    # -- who is there --------------------------------------------------------------------------------------

    def at(self, endpoint: Endpoint) -> Node:
        """Returns the node at an endpoint; a new one begins to connect."""
        node = self._by_endpoint.get(endpoint)
        if node is None:
            node = self._by_endpoint[endpoint] = self._make(endpoint)
            node.start()
        return node

    def add_seeds(self) -> list[Node]:
        return [self.at(endpoint) for endpoint in self._seeds]

    def importing(self, endpoint: Endpoint) -> Node:
        """Returns the node that an ASK points to; it is kept for a while, though it may be in no map yet."""
        node = self.at(endpoint)
        node.keep_until = asyncio.get_running_loop().time() + _KEEP_S
        return node

    def ready(self) -> list[Node]:
        """Returns the nodes that can be asked something now, in random order."""
        ready = [node for node in self._by_endpoint.values() if node.link.status is Status.READY]
        random.shuffle(ready)
        return ready

    def any(self) -> Node | Nowhere:
        """Returns a primary that can be used, each in its turn; one that can't if there is no other."""
        self._turn += 1
        count = len(self.primaries)
        for offset in range(count):
            node = self.primaries[(self._turn + offset) % count]
            if node.usable:
                return node
        return self.primaries[0] if self.primaries else self.nowhere

    def reader(self, slot: int) -> Node | Nowhere:
        """Returns a replica of the slot that can be used, each in its turn, or the primary if there is none."""
        primary = self.table[slot]
        readers = self._readers.get(primary, ()) if isinstance(primary, Node) else ()
        self._turn += 1
        for offset in range(len(readers)):
            node = readers[(self._turn + offset) % len(readers)]
            if node.link.status is Status.READY:
                return node
        return primary

    @property
    def covered(self) -> bool:
        """Whether every slot has a primary."""
        return self.nowhere not in self.table

    # -- changes -------------------------------------------------------------------------------------------

    def apply(self, slot_map: SlotMap) -> None:
        """Follows a map: connects to whom it names, lets go of whom it does not name."""
        before = self.table
        table: list[Node | Nowhere] = [self.nowhere] * SLOTS
        readers: dict[Node, tuple[Node, ...]] = {}
        for part in slot_map.ranges:
            primary = self.at(part.primary)
            table[part.first : part.last + 1] = [primary] * (part.last + 1 - part.first)
            if self._with_replicas:
                readers[primary] = tuple(map(self.at, part.replicas))
        changed = self._name_primaries(node for node in table if isinstance(node, Node))
        self.table, self._readers = table, readers
        named, now = set(self.primaries).union(*readers.values()), asyncio.get_running_loop().time()
        for endpoint, node in list(self._by_endpoint.items()):
            if node not in named and node.keep_until < now:
                del self._by_endpoint[endpoint]
                self._let_go(node)
        for node in changed:
            node.tell_change()
        if before != table:
            moved: dict[Node | Nowhere, list[int]] = {}  # by their former primary
            for slot, (old, new) in enumerate(zip(before, table, strict=True)):
                if old is not new:
                    moved.setdefault(old, []).append(slot)
            self._tell_moved(moved)

    def move(self, slot: int, endpoint: Endpoint) -> bool:
        """Follows a MOVED. Returns whether the slot's new primary was none before: a failover, or a new node."""
        node = self.at(endpoint)
        if self.table[slot] is node:
            return False
        changed = [] if node.is_primary else self._name_primaries([*self.primaries, node])
        before, self.table[slot] = self.table[slot], node
        for each in changed:
            each.tell_change()
        self._tell_moved({before: [slot]})
        return bool(changed)

    def _tell_moved(self, moved: Mapping[Node | Nowhere, list[int]]) -> None:
        slots = sorted(slot for several in moved.values() for slot in several)
        names: list[bytes] | None = []
        for old, several in moved.items():
            taken = old.names.take(several) if isinstance(old, Node) else []
            names = None if names is None or taken is None else names + taken
        self._on_moved(slots, names)

    def _name_primaries(self, primaries: Iterable[Node]) -> list[Node]:
        """Gives each node its part before anything is sent by the new table; returns those whose part is another now."""
        self.primaries = list(dict.fromkeys(primaries))
        named = set(self.primaries)
        return [node for node in self._by_endpoint.values() if node.become(is_primary=node in named)]

    def confirm_losses(self) -> None:
        """Notes of the nodes that can't be reached that the cluster was asked since."""
        for node in self._by_endpoint.values():
            if node.link.status is not Status.READY:
                node.confirmed_lost = True

    # -- the end -------------------------------------------------------------------------------------------

    def _let_go(self, node: Node) -> None:
        """Closes a node when all that it was sent has had its time."""
        task = asyncio.get_running_loop().create_task(self._drain(node), name="valtier-cluster-drain")
        self._leaving[node] = task

    async def _drain(self, node: Node) -> None:
        await asyncio.sleep(self._drain_s)
        await node.close()
        del self._leaving[node]

    async def close(self) -> None:
        for task in self._leaving.values():
            task.cancel()
        nodes = [*self._by_endpoint.values(), *self._leaving]
        self._by_endpoint, self._leaving, self._readers = {}, {}, {}
        self.table, self.primaries = [self.nowhere] * SLOTS, []
        for node in nodes:
            await node.close()
