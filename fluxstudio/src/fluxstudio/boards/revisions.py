"""Revisions: older states of a board, by name on request and by themselves while people work."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import zstandard
from asyncpg import Record

from fluxstudio.boards import queries
from fluxstudio.boards.elements import MAX_NONCE, Element, erased, from_scene, restored
from fluxstudio.boards.schemas import Revision
from fluxstudio.db.pool import Connection

EVERY_S = 300.0
KEEP = 100
"""How many of those that are made by themselves."""
MAX_NAMED = 500
_MAX_SCENE = 256 * 2**20


def pack(elements: Sequence[Element]) -> tuple[bytes, list[str]]:
    """Returns the scene of a revision, without what was deleted, and the images that it names."""
    alive = [element for element in elements if not element.is_deleted]
    scene = b"[" + b",".join(element.data for element in alive) + b"]"
    files = sorted({element.file_id for element in alive if element.file_id is not None})
    return zstandard.ZstdCompressor().compress(scene), files


def unpack(packed: bytes) -> bytes:
    """Returns the scene as JSON."""
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MAX_SCENE)


async def write(
    connection: Connection, board_id: int, version: int, name: str | None, user_id: int | None
) -> Revision:
    """Keeps the board as it is. Its row is locked."""
    elements = await queries.fetch_elements(connection, board_id)
    scene, files = pack(elements)
    alive = sum(not element.is_deleted for element in elements)
    row = await queries.insert_revision(connection, board_id, version, name, alive, scene, files, user_id)
    await queries.thin_revisions(connection, board_id, KEEP)
    return as_revision(row)


def as_revision(row: Record) -> Revision:
    return Revision(
        row["id"], row["version"], row["name"], row["elements"], row["created_by"], row["created_at"]
    )


def back_to(scene: bytes, now: Sequence[Element]) -> list[Element]:
    """Returns the states that make a board what it was: old ones that hold against today's, and deletions. Pure but
    for its nonces."""
    today = {element.id: element for element in now}
    old = {element.id: element for element in from_scene(scene)}
    changed = [
        restored(element, today.get(element.id), secrets.randbelow(MAX_NONCE))
        for element in old.values()
        if element != today.get(element.id)
    ]
    gone = [
        erased(element, secrets.randbelow(MAX_NONCE))
        for element in today.values()
        if element.id not in old and not element.is_deleted
    ]
    return changed + gone
