"""The search over projects and messages that the caller may see."""

from __future__ import annotations

from asyncpg import Record

from fluxstudio import keys
from fluxstudio.db.pool import Pool
from fluxstudio.http.answers import encode
from fluxstudio.search import queries
from fluxstudio.search.schemas import Found, SearchAuthor, SearchResult, Segment
from valtier import Cache


class Search:
    """Full-text search."""

    def __init__(self, pool: Pool, cache: Cache) -> None:
        self._pool = pool
        self._cache = cache

    async def search(self, user_id: int, query: str, limit: int) -> bytes:
        """Returns what the user finds, as JSON."""
        words = normalise(query)

        async def load() -> bytes:
            async with self._pool.acquire() as connection:
                rows = await queries.search(connection, user_id, words, limit)
            return encode(SearchResult(words, [_found(row) for row in rows]))

        return await self._cache.get_or_set(
            keys.search(user_id, words, limit), keys.SEARCH_TTL_S, load, tags=(keys.search_tag(user_id),)
        )


def normalise(query: str) -> str:
    """Returns one spelling for all queries that find the same."""
    return " ".join(query.lower().split())


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
    is_message = row["message_id"] is not None
    return Found(
        kind="message" if is_message else "project",
        project_id=row["project_id"],
        message_id=row["message_id"],
        author=SearchAuthor(row["author_id"], row["author_name"]) if is_message else None,
        title=segments(row["title"]),
        excerpt=segments(row["excerpt"]),
        rank=round(row["rank"], 4),
        created_at=row["created_at"],
    )
