"""The search over projects, messages and boards that the caller may see."""

from __future__ import annotations

import re

import asyncpg
from asyncpg import Record

from fluxstudio import keys
from fluxstudio.db.pool import Pool
from fluxstudio.http.answers import Made, encode
from fluxstudio.problems import FieldError, Problem, invalid
from fluxstudio.search import queries
from fluxstudio.search.schemas import Found, SearchAuthor, SearchResult, Segment
from valtier import Cache

_NEGATIONS = re.compile(r"(?<![^\s!&|()])-[-\s!&|()]+")
"""A hyphen that negates, and what PostgreSQL skips, or negates once more, before it comes to a word."""


class Search:
    """Full-text search."""

    def __init__(self, pool: Pool, cache: Cache) -> None:
        self._pool = pool
        self._cache = cache

    async def search(self, user_id: int, query: str, limit: int) -> Made:
        """Returns what the user finds, as JSON.

        Raises:
            Problem: 422, PostgreSQL finds the query too intricate.
        """
        words = normalise(query)

        async def load() -> bytes:
            async with self._pool.acquire() as connection:
                try:
                    rows = await queries.search(connection, user_id, words, limit)
                except asyncpg.InternalServerError as exc:
                    if "tsquery" not in str(exc):
                        raise
                    raise _too_intricate() from exc
            return encode(SearchResult(words, [_found(row) for row in rows]))

        names = keys.of_search(user_id)
        body = await self._cache.get_or_set(
            keys.search(user_id, words, limit), keys.SEARCH_TTL_S, load, tags=names
        )
        return Made(body, names)


def normalise(query: str) -> str:
    """Returns one spelling for all queries that find the same.

    A run of hyphens before a word is one hyphen: each would be a negation on PostgreSQL's small stack. What is quoted
    stays as it is.

    >>> normalise('Red - -- door  "a -- b"  well--known')
    'red -door "a -- b" well--known'
    """
    parts = " ".join(query.lower().split()).split('"')
    return '"'.join(part if index % 2 else _NEGATIONS.sub("-", part) for index, part in enumerate(parts))


def _too_intricate() -> Problem:
    return invalid([FieldError("query.q", "is too intricate; look for fewer words, with fewer operators")])


def segments(headline: str) -> list[Segment]:
    """Splits what ts_headline returns at its marks.

    >>> segments("a \\x02red\\x03 door")
    [Segment(text='a ', hit=False), Segment(text='red', hit=True), Segment(text=' door', hit=False)]
    """
    first, *rest = headline.split(queries.HIT_BEGIN)
    parts = [Segment(first, hit=False)]
    for piece in rest:
        hit, _, after = piece.partition(queries.HIT_END)
        parts += [Segment(hit, hit=True), Segment(after, hit=False)]
    return [part for part in parts if part.text]


def _found(row: Record) -> Found:
    is_message, is_board = row["message_id"] is not None, row["board_id"] is not None
    return Found(
        kind="message" if is_message else "board" if is_board else "project",
        project_id=row["project_id"],
        message_id=row["message_id"],
        board_id=row["board_id"],
        author=SearchAuthor(row["author_id"], row["author_name"]) if is_message else None,
        title=segments(row["title"]),
        board_title=segments(row["board_title"]) if is_board else None,
        excerpt=segments(row["excerpt"]),
        rank=round(row["rank"], 4),
        created_at=row["created_at"],
    )
