"""Tracked names: what a node will tell the changes of, by slot, so that a slot that moves away outdates its own names only."""

from __future__ import annotations

from collections.abc import Iterable

from valtier.wire.cluster.slots import slot_of

MOST = 100_000
"""So many names are remembered for each node. Of a slot that was read past that it is only known that it was."""


class TrackedNames:
    """The names that were read on one tracked connection and have not been told as changed. Guarded by the event loop.

    It grows as the server's own table of them does: what the server tells, or forgets, is forgotten here.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._count = 0
        self._by_slot: dict[int, set[bytes] | None] = {}  # `None`: too many to know

    def add(self, slot: int, names: Iterable[bytes]) -> None:
        """Notes that names of one slot were read."""
        known = self._by_slot.setdefault(slot, set())
        if known is None:
            return
        before = len(known)
        known.update(names)
        self._count += len(known) - before
        if self._count > self._most:
            self._count -= len(known)
            self._by_slot[slot] = None

    def discard(self, names: Iterable[bytes]) -> None:
        """Notes that the server has told these as changed: it will not do so again."""
        for name in names:
            known = self._by_slot.get(slot_of(name))
            if known is not None and name in known:
                known.remove(name)
                self._count -= 1

    def take(self, slots: Iterable[int]) -> list[bytes] | None:
        """Returns the names in these slots and forgets them; `None` if they are not all known."""
        taken: list[bytes] = []
        complete = True
        for slot in slots:
            if slot in self._by_slot:
                known = self._by_slot.pop(slot)
                if known is None:
                    complete = False
                else:
                    taken += known
                    self._count -= len(known)
        return taken if complete else None

    def take_all(self) -> list[bytes] | None:
        """Returns all names and forgets them; `None` if they are not all known."""
        return self.take(list(self._by_slot))
