"""Libraries: each user's shapes, which several devices read and change without losing what others did.

A client says which version it knows, adds, changes and removes shapes by their ids, and is told what others have changed
since. Adding commutes; of two changes of a shape the later holds; what was removed stays removed, whoever sends it again
from before (an answer that was lost, a device that was offline), until somebody who knows of the removal adds it anew.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from asyncpg import Record

from fluxstudio.db.pool import Connection, Pool
from fluxstudio.http.answers import encode
from fluxstudio.library import queries
from fluxstudio.library.items import MAX_BYTES, MAX_ITEMS, parse_items
from fluxstudio.library.schemas import LibraryChange, RawLibrary
from fluxstudio.problems import conflict, not_found
from fluxstudio.staleness import NOTHING, Stale
from fluxstudio.writes import Writes

KEEP_REMOVED = 2 * MAX_ITEMS
"""Removals that are remembered. Who comes from before the oldest of them is told the whole library."""


class Libraries:
    """The libraries of users. None of it is cached: each device asks for what has changed since it asked last."""

    def __init__(self, pool: Pool, writes: Writes) -> None:
        self._pool = pool
        self._writes = writes

    async def read(self, user_id: int, account: int | None, since: int) -> bytes:
        """Returns a `Library` as JSON: what has changed after version `since`, or all of it. One transaction.

        Raises:
            Problem: 409, `account` is somebody else's.
        """
        _require_own(user_id, account)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await _tell(
                connection, user_id, await queries.fetch_library(connection, user_id), since, ()
            )

    async def change(self, user_id: int, form: LibraryChange) -> bytes:
        """Changes the library, and returns what others have changed after `form.since`: a `Library` as JSON.

        Sent twice it is carried out once.

        Raises:
            Problem: 409, `form.account` is somebody else's, or the library would have too much in it; 413 or 422, a shape
                can't be kept; 404, the account is gone.
        """
        _require_own(user_id, form.account)
        items = parse_items(form.put)

        async def change(connection: Connection) -> tuple[bytes, Stale]:
            library = await queries.lock_library(connection, user_id)
            if library is None:
                raise not_found("account")
            version = library["version"] + 1
            known = min(form.since, library["version"])  # it may be of before a backup was put back
            removed = await queries.remove_items(connection, user_id, version, known, form.remove)
            put = await queries.put_items(connection, user_id, version, known, items)
            if put:
                await _require_room(connection, user_id)
            if removed or put:
                await queries.set_version(connection, user_id, version, KEEP_REMOVED)
                library = await queries.fetch_library(connection, user_id)
            kept = {item.id for item in items}
            return await _tell(connection, user_id, library, form.since, kept), NOTHING

        return await self._writes.run(change)

    async def forget(self, connection: Connection, user_id: int) -> None:
        """Deletes a user's library, in the transaction that ends their account and has their row locked."""
        await queries.delete_library(connection, user_id)


def _require_own(user_id: int, account: int | None) -> None:
    if account not in (None, user_id):
        raise conflict("another-account", "Somebody else is signed in now: this library is not theirs.")


async def _require_room(connection: Connection, user_id: int) -> None:
    size = await queries.fetch_size(connection, user_id)
    if size["items"] > MAX_ITEMS or size["bytes"] > MAX_BYTES:
        raise conflict(
            "library-full",
            f"A library has {MAX_ITEMS} shapes and {MAX_BYTES // 2**20} MB at most: remove some first.",
        )


async def _tell(
    connection: Connection, user_id: int, library: Record | None, since: int, without: Collection[str]
) -> bytes:
    """Returns what has changed, without the shapes that the client itself has just put; or all of it, with them."""
    version = 0 if library is None else library["version"]
    if library is None or since > version or since < library["forgotten"]:
        since = 0
    rows = await queries.fetch_changes(connection, user_id, since)
    shapes = [
        msgspec.Raw(row["data"].encode())
        for row in rows
        if row["data"] is not None and not (since and row["item_id"] in without)
    ]
    removed = [row["item_id"] for row in rows if row["data"] is None]
    return encode(RawLibrary(version, since, shapes, removed))
