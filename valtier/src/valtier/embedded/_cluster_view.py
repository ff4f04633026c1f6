"""What a node of a cluster says about the cluster: CLUSTER NODES, read and compared."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

SLOTS = 16384


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as another sees it."""

    id: str
    primary_id: str | None
    """Whose replica it is; `None` for a primary."""
    flags: frozenset[str]
    is_connected: bool
    slots: frozenset[int]

    @property
    def is_well(self) -> bool:
        """Tells whether it is known, reached, and not suspected to be gone."""
        return self.is_connected and self.flags.isdisjoint({"handshake", "noaddr", "fail", "fail?"})


View = Mapping[str, NodeView]
"""The nodes that one node knows, by id."""


def parse_view(text: str) -> View:
    """Reads a reply of CLUSTER NODES."""
    views = map(_parse_node, text.splitlines())
    return {view.id: view for view in views}


def find_trouble(views: Mapping[str, View]) -> str | None:
    """Tells why the nodes that run, each with its view by its id, are no whole cluster; `None` if they are one.

    They are one if all of them see all of them, agree on who is whose replica and which slots are whose, and own
    every slot between them. Nodes that do not run are left out.
    """
    running = views.keys()
    first = next(iter(views), None)
    if first is None:
        return "no node runs"
    for observer, view in views.items():
        unwell = [node for node in running if node not in view or not view[node].is_well]
        if unwell:
            return f"{observer[:8]} does not see {unwell[0][:8]}"
        if _layout(view, running) != _layout(views[first], running):
            return f"{observer[:8]} and {first[:8]} do not agree on roles and slots"
    missing = SLOTS - sum(len(views[first][node].slots) for node in running)
    return f"{missing} slots have no primary that runs" if missing else None


def _layout(view: View, nodes: Collection[str]) -> dict[str, tuple[str | None, frozenset[int]]]:
    return {node: (view[node].primary_id, view[node].slots) for node in nodes}


def _parse_node(line: str) -> NodeView:
    name, _address, flags, primary, _ping, _pong, _epoch, link, *slots = line.split()
    return NodeView(
        id=name,
        primary_id=None if primary == "-" else primary,
        flags=frozenset(flags.split(",")),
        is_connected=link == "connected",
        slots=_parse_slots(slots),
    )


def _parse_slots(words: Iterable[str]) -> frozenset[int]:
    slots: set[int] = set()
    for word in words:
        if not word.startswith("["):  # [slot->-id] is one under migration, listed as its owner's besides
            first, _, last = word.partition("-")
            slots.update(range(int(first), int(last or first) + 1))
    return frozenset(slots)
