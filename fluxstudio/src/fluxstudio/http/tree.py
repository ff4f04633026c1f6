"""A tree of path segments: finds what answers a path, whatever the number of routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class Placed(Protocol):
    """What has a path, with parameters in braces."""

    @property
    def path(self) -> str: ...


L = TypeVar("L", bound=Placed)


class _Node(Generic[L]):
    __slots__ = ("lane", "literals", "wildcard")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[L]] = {}
        self.wildcard: _Node[L] | None = None
        self.lane: L | None = None


class Tree(Generic[L]):
    """A tree of path segments over lanes. A literal segment wins over a parameter."""

    def __init__(self, lanes: Iterable[L]) -> None:
        self._root: _Node[L] = _Node()
        for lane in lanes:
            node = self._root
            for segment in lane.path.split("/")[1:]:
                if segment.startswith("{"):
                    node.wildcard = node.wildcard or _Node()
                    node = node.wildcard
                else:
                    node = node.literals.setdefault(segment, _Node())
            node.lane = lane

    def find(self, path: str) -> tuple[L, list[str]] | None:
        """Returns the lane of a path, and the segments that stand for its parameters. O(length of the path)."""
        node = self._root
        values: list[str] = []
        for segment in path.split("/")[1:]:
            child = node.literals.get(segment)
            if child is None:
                child = node.wildcard
                if child is None or not segment:
                    return None
                values.append(segment)
            node = child
        return None if node.lane is None else (node.lane, values)
