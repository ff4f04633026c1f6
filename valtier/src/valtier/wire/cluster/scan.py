"""Going through the keys of every server."""

from __future__ import annotations

from collections.abc import AsyncIterator

from valtier.wire.client import Valkey
from valtier.wire.connection import Argument


async def scan(
    valkey: Valkey, *, match: str | bytes | None = None, count: int = 1000, kind: str | None = None
) -> AsyncIterator[bytes]:
    """Yields every key that is there from beginning to end; in a cluster those of one primary after the other.

    A key that comes or goes meanwhile may be missing, and one may come twice (also when its slot moves meanwhile).
    One round trip for about `count` keys of the whole database, whatever matches.

    Args:
        valkey: standalone or cluster.
        match: a glob, such as `user:*`.
        count: about how many keys the server looks at in one step; it serves nobody else meanwhile.
        kind: only keys that hold this type, such as `hash`.

    Raises:
        UnavailableError: a server can't be reached now.
        OutcomeUnknownError: a connection was lost meanwhile; begin anew.
    """
    wishes: tuple[Argument, ...] = ("COUNT", count)
    if match is not None:
        wishes += ("MATCH", match)
    if kind is not None:
        wishes += ("TYPE", kind)
    for link in valkey.nodes():
        cursor = b"0"
        while True:
            cursor, keys = await link.send("SCAN", cursor, *wishes)
            for key in keys:
                yield key
            if cursor == b"0":
                break
