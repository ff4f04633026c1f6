"""What is in the seeded database, as far as a request needs to know it: who sees which ids."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from fluxstudio.benchmark.options import BenchError

COOKIE = "flux"
"""The session's cookie over plain http."""

_WORD = re.compile(r"[A-Za-z]{4,}")
_PAGE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """A user's place in a project."""

    project_id: int
    role: str

    @property
    def may_write(self) -> bool:
        return self.role in ("owner", "editor")


@dataclass(frozen=True, kw_only=True)
class World:
    """Who is there and what each may see. Sequences are in order of popularity: rank 1 first."""

    users: Sequence[int]
    memberships: Mapping[int, Sequence[Membership]]
    """By user."""
    members: Mapping[int, Sequence[int]]
    """By project."""
    assets: Mapping[int, Sequence[int]]
    """By project."""
    cursors: Mapping[int, Sequence[int]]
    """By project: the first message ids of its newest pages, to scroll back from."""
    newest: Mapping[int, int]
    """By project: its newest message."""
    words: Mapping[int, Sequence[str]]
    """By project: words of its title."""
    slugs: Sequence[str]


def rank(values: Iterable[int]) -> list[int]:
    """The same popularity order on each run, unrelated to age, so that rank 1 is not also the busiest account."""
    return sorted(values, key=lambda value: hashlib.sha256(str(value).encode()).digest())


async def read_world(connection: asyncpg.Connection) -> World:
    """Reads the ids. Raises BenchError when there is nothing to ask for."""
    memberships: dict[int, list[Membership]] = defaultdict(list)
    members: dict[int, list[int]] = defaultdict(list)
    for row in await connection.fetch(
        "SELECT project_id, user_id, role FROM members ORDER BY project_id, user_id"
    ):
        memberships[row["user_id"]].append(Membership(project_id=row["project_id"], role=row["role"]))
        members[row["project_id"]].append(row["user_id"])
    pages = await connection.fetch("SELECT project_id, slug FROM showcase_pages ORDER BY project_id")
    slugs = {row["project_id"]: row["slug"] for row in pages}
    if not memberships or not slugs:
        raise BenchError("The database has no members or no showcase pages: seed it with `fluxstudio seed`.")
    return World(
        users=rank(memberships),
        memberships=memberships,
        members=members,
        assets=await _read_assets(connection),
        cursors=await _read_cursors(connection),
        newest=await _read_newest(connection),
        words=await _read_words(connection),
        slugs=[slugs[project_id] for project_id in rank(slugs)],
    )


async def _read_assets(connection: asyncpg.Connection) -> dict[int, list[int]]:
    rows = await connection.fetch(
        "SELECT project_id, array_agg(id ORDER BY id) AS ids FROM assets GROUP BY 1"
    )
    return {row["project_id"]: row["ids"] for row in rows}


async def _read_cursors(connection: asyncpg.Connection) -> dict[int, list[int]]:
    rows = await connection.fetch(
        """
        SELECT project_id, array_agg(id ORDER BY id DESC) AS ids
        FROM (
            SELECT project_id, id, row_number() OVER (PARTITION BY project_id ORDER BY id DESC) AS place FROM messages
        ) AS placed
        WHERE place % $1 = 0 AND place <= 5 * $1
        GROUP BY project_id
        """,
        _PAGE,
    )
    return {row["project_id"]: row["ids"] for row in rows}


async def _read_newest(connection: asyncpg.Connection) -> dict[int, int]:
    rows = await connection.fetch("SELECT project_id, max(id) AS id FROM messages GROUP BY project_id")
    return {row["project_id"]: row["id"] for row in rows}


async def _read_words(connection: asyncpg.Connection) -> dict[int, list[str]]:
    rows = await connection.fetch("SELECT id, title FROM projects ORDER BY id")
    return {row["id"]: [word.lower() for word in _WORD.findall(row["title"])] for row in rows}


def cookie_headers(tokens: Mapping[int, str]) -> dict[int, str]:
    """Each user's Cookie header."""
    return {user_id: f"{COOKIE}={token}" for user_id, token in tokens.items()}
