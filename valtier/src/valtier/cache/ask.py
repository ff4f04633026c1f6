"""A read, as it goes through the cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from valtier.cache.policy import Rules
from valtier.cache.spaces import Space


def in_order(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Returns tags as they lie in Valkey, each once: out of a set they come in another order in each process."""
    return tags if len(tags) < 2 else tuple(sorted(set(tags)))


class Ask:
    """A read, with all that it was asked with."""

    __slots__ = (
        "asked_ttl_s",
        "began",
        "given",
        "is_part",
        "key",
        "loader",
        "renews",
        "rules",
        "space",
        "tags",
        "ttl_s",
        "type",
    )

    def __init__(
        self,
        key: str,
        tags: tuple[str, ...],
        ttl_s: float,
        loader: Callable[[], Awaitable[object]],
        type_: Any,
        rules: Rules,
        space: Space,
        began: int,
    ) -> None:
        self.key = key
        self.given = tags  # as the caller has them
        self.tags = in_order(tags)
        self.ttl_s = ttl_s
        self.asked_ttl_s = ttl_s  # without what an operator has set in its place
        self.loader = loader
        self.type = type_
        self.rules = rules
        self.space = space
        self.began = began  # its place in the order of all reads, loads and invalidations of the process
        self.is_part = False  # of a batch
        self.renews = False  # what still lies there
