"""SQL of the search."""

from __future__ import annotations

from asyncpg import Record

from fluxstudio.db.pool import Connection

HIT_BEGIN, HIT_END = "\x02", "\x03"
"""What ts_headline puts around a hit: control characters, which are taken out of the text before."""

_MARKS = f"StartSel={HIT_BEGIN}, StopSel={HIT_END}"

_QUERY = "websearch_to_tsquery('english', $2)"
_BOARD = "board_search(b.title, b.folder, b.words)"  # as its index spells it
_MINE = "ANY (ARRAY(SELECT project_id FROM members WHERE user_id = $1))"
_ORDER = "rank DESC, message_id DESC NULLS FIRST, board_id DESC NULLS FIRST, project_id DESC"


def _clean(text: str) -> str:
    return f"translate({text}, '{HIT_BEGIN}{HIT_END}', '')"


_SEARCH = f"""
    WITH found AS (
        (SELECT p.id AS project_id, NULL::bigint AS message_id, NULL::bigint AS board_id,
                ts_rank(p.search, {_QUERY}) AS rank
           FROM projects p
          WHERE p.id = {_MINE} AND p.search @@ {_QUERY}
          ORDER BY rank DESC, p.id DESC LIMIT $3)
        UNION ALL
        (SELECT m.project_id, m.id, NULL, ts_rank(m.search, {_QUERY}) AS rank
           FROM messages m
          WHERE m.project_id = {_MINE} AND m.search @@ {_QUERY}
          ORDER BY rank DESC, m.id DESC LIMIT $3)
        UNION ALL
        (SELECT b.project_id, NULL, b.id, ts_rank({_BOARD}, {_QUERY}) AS rank
           FROM boards b
          WHERE b.project_id = {_MINE} AND {_BOARD} @@ {_QUERY}
          ORDER BY rank DESC, b.id DESC LIMIT $3)
    ), best AS MATERIALIZED (
        SELECT * FROM found ORDER BY {_ORDER} LIMIT $3
    )
    SELECT best.project_id, best.message_id, best.board_id, best.rank,
           author.id AS author_id, author.name AS author_name,
           coalesce(m.created_at, b.created_at, p.created_at) AS created_at,
           ts_headline('english', {_clean("p.title")}, {_QUERY}, 'HighlightAll=true, {_MARKS}') AS title,
           ts_headline('english', {_clean("CASE WHEN b.folder <> '' THEN b.folder || ' / ' ELSE '' END || b.title")},
                       {_QUERY}, 'HighlightAll=true, {_MARKS}') AS board_title,
           ts_headline('english', {_clean("coalesce(m.body, b.words, p.description)")}, {_QUERY},
                       'MaxWords=35, MinWords=15, {_MARKS}') AS excerpt
      FROM best
      JOIN projects p ON p.id = best.project_id
      LEFT JOIN messages m ON m.id = best.message_id
      LEFT JOIN boards b ON b.id = best.board_id
      LEFT JOIN users author ON author.id = m.author_id
     ORDER BY best.rank DESC, best.message_id DESC NULLS FIRST, best.board_id DESC NULLS FIRST, best.project_id DESC
"""  # noqa: S608 - nothing but constants is put in

_PLAN_ANEW = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL max_parallel_workers_per_gather = 0"


async def search(connection: Connection, user_id: int, query: str, limit: int) -> list[Record]:
    """Returns what the user may see of projects, messages and boards, the best match first.

    PostgreSQL's generic plan, made without the words, asks the index of all messages for them. That is quick for
    words to find; for words to leave out it walks through the whole index (100 ms among 300,000 messages). So a query
    with such words is planned by itself, within the transaction that this setting needs.
    """
    if not any(word.startswith("-") for word in query.split()):
        return await connection.fetch(_SEARCH, user_id, query, limit)
    async with connection.transaction(readonly=True):
        await connection.execute(_PLAN_ANEW)
        return await connection.fetch(_SEARCH, user_id, query, limit)
