"""Reading the map: asks nodes until one knows who serves every slot, and knows no less than was known before.

Design
    A node that was cut off goes on telling the map of that time. Whoever takes over slots does so with a config epoch
    above all others, so the highest one among the primaries of a map dates the map. Several nodes are asked at once and
    the newest map is followed. One that is older than what was followed before is not, unless that is all there is to
    be had time and again: then the cluster was made anew.

    Source: "Valkey Cluster specification", section "Configuration epoch".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from valtier.errors import NoPermissionError, ValkeyError
from valtier.wire.cluster.node import Node
from valtier.wire.cluster.nodes import Nodes
from valtier.wire.cluster.slotmap import SlotMap, best_of, parse_epochs, parse_slots
from valtier.wire.link import Status

log = logging.getLogger("valtier")

_AT_ONCE = 3
"""How many nodes are asked together."""
_GRACE_S = 0.02
"""How long the others are waited for when one has told a map that will do."""
_DOUBTS = 3
"""After so many refreshes in a row that found only older maps than the one followed, the newest of them is believed."""


class MapReader:
    """Asks known nodes, then the seeds. Guarded by the event loop."""

    def __init__(self, nodes: Nodes, *, patience_s: float) -> None:
        self._nodes = nodes
        self._patience_s = patience_s
        self._epoch = -1  # of the map that is followed
        self._older = 0  # refreshes in a row that found older ones only
        self._why = ""  # what is known of why there is none
        self._told = ""  # the same, as it was logged
        self.is_hearsay = False
        """Whether the map that is followed has one witness only, though there are more to be asked."""

    async def refresh(self) -> None:
        """Reads the map and follows it; without one, everything stays as it is. Two commands to each node asked.

        The newest map wins, and among equals that which covers most.
        """
        maps: list[SlotMap] = []
        asked: set[Node] = set()
        self._why = ""
        await self._ask_in_turn(self._nodes.ready(), asked, maps)
        if not maps:
            await self._ask_seeds(asked, maps)
        best, self._nodes.nowhere.why = best_of(maps), self._why
        if best is None:
            self._note_failure()
            return
        self._told = ""
        if best.epoch < self._epoch and self._older < _DOUBTS:
            self._older += 1
            log.debug("Only old slot maps are to be had; what is known is newer")
            return
        self._older, self._epoch = 0, best.epoch
        self.is_hearsay = len(maps) < min(2, len(best.primaries()))
        self._nodes.apply(best)

    def _will_do(self, maps: Iterable[SlotMap]) -> bool:
        return any(found.complete and found.epoch >= self._epoch for found in maps)

    async def _ask_in_turn(self, nodes: Iterable[Node], asked: set[Node], maps: list[SlotMap]) -> None:
        """Asks a few at once, and others if none of those knows enough."""
        left = [node for node in nodes if node not in asked]
        while left and not self._will_do(maps):
            few, left = left[:_AT_ONCE], left[_AT_ONCE:]
            await self._ask(few, asked, maps)

    async def _ask(self, nodes: Sequence[Node], asked: set[Node], maps: list[SlotMap]) -> None:
        asked.update(nodes)
        pending = {asyncio.ensure_future(self._question(node)) for node in nodes}
        try:
            while pending:
                grace_s = _GRACE_S if self._will_do(maps) else None
                done, pending = await asyncio.wait(
                    pending, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    return
                maps += [found for each in done if (found := each.result()) is not None]
        finally:
            for each in pending:
                each.cancel()

    async def _question(self, node: Node) -> SlotMap | None:
        try:
            slots, epochs = node.link.send("CLUSTER", "SLOTS"), node.link.send("CLUSTER", "NODES")
            told = await asyncio.gather(slots, epochs, return_exceptions=True)
            if isinstance(told[0], BaseException):
                raise told[0]
            # without permission for the second no map is dated, and all are as good as each other
            found = parse_slots(told[0], node.endpoint, parse_epochs(told[1]))
        except NoPermissionError as exc:
            self._why = f"; a client of a cluster needs the permission +cluster|slots: {exc}"
            return None
        except ValkeyError as exc:
            log.debug("%s gave no slot map: %s", node.endpoint, exc)
            return None
        return found if found.ranges else None

    async def _ask_seeds(self, asked: set[Node], maps: list[SlotMap]) -> None:
        """Asks each seed as soon as it is connected: one that is dead costs the others no time."""
        tries = {
            asyncio.create_task(node.link.wait_first_try(), name="valtier-cluster-seed"): node
            for node in self._nodes.add_seeds()
        }
        pending = set(tries)
        try:
            async with asyncio.timeout(self._patience_s):
                while pending and not maps:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    ready = [tries[each] for each in done if tries[each].link.status is Status.READY]
                    await self._ask_in_turn(ready, asked, maps)
        except TimeoutError:
            pass
        finally:
            for each in pending:
                each.cancel()

    def _note_failure(self) -> None:
        if self._told != (self._why or "nobody"):
            self._told = self._why or "nobody"
            log.warning(
                "No node of the Redis cluster tells who serves which slot; they are asked again and again%s",
                self._why,
            )
