"""Reading the map: asks the nodes one after the other until one knows who serves every slot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from valtier.errors import ValkeyError
from valtier.wire.cluster.node import Node
from valtier.wire.cluster.nodes import Nodes
from valtier.wire.cluster.slotmap import SlotMap, best_of, parse_slots
from valtier.wire.link import Status

log = logging.getLogger("valtier")


class MapReader:
    """Asks known nodes, then the seeds. Guarded by the event loop."""

    def __init__(self, nodes: Nodes, *, patience_s: float) -> None:
        self._nodes = nodes
        self._patience_s = patience_s
        self._failing = False  # logged once

    async def refresh(self) -> None:
        """Reads the map and follows it; without one, everything stays as it is. One round trip to each node asked.

        The first complete map wins; without one, that which covers most.
        """
        maps: list[SlotMap] = []
        asked: set[Node] = set()
        await self._ask(self._nodes.ready(), asked, maps)
        if not maps:
            await self._ask_seeds(asked, maps)
        best = best_of(maps)
        if best is None:
            self._note(failing=True)
            return
        self._note(failing=False)
        self._nodes.apply(best)

    async def _ask(self, nodes: Iterable[Node], asked: set[Node], maps: list[SlotMap]) -> None:
        for node in nodes:
            if node in asked:
                continue
            asked.add(node)
            try:
                found = parse_slots(await node.link.send("CLUSTER", "SLOTS"), node.endpoint)
            except ValkeyError as exc:
                log.debug("%s gave no slot map: %s", node.endpoint, exc)
                continue
            if found.ranges:
                maps.append(found)
            if found.complete:
                return

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
                    await self._ask(ready, asked, maps)
        except TimeoutError:
            pass
        finally:
            for each in pending:
                each.cancel()

    def _note(self, *, failing: bool) -> None:
        if failing and not self._failing:
            log.warning(
                "No node of the Redis cluster tells who serves which slot; they are asked again and again"
            )
        self._failing = failing
