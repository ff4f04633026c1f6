"""The statements of durable sessions, each one atomic step. Built once for each schema."""

from __future__ import annotations

from valtier.sessions.schema import SessionSchema

CLOCK = "statement_timestamp()"
"""PostgreSQL's own time. Tests put another expression in its place."""


class Statements:
    """SQL for one schema."""

    def __init__(self, schema: SessionSchema, clock: str = CLOCK) -> None:
        self.schema = schema
        table, stale, now = schema.table, schema.stale, clock
        alive = f"name = $1 AND ends_at > {now}"
        owns = f"(token_hash = $2 OR (old_hash = $2 AND old_until > {now}))"
        seconds = "make_interval(secs => {})".format
        columns = f"""
            name, token_hash, subject,
            extract(epoch FROM {now} - created_at)::float8 AS created_ago,
            extract(epoch FROM {now} - seen_at)::float8 AS seen_ago,
            extract(epoch FROM {now} - issued_at)::float8 AS issued_ago,
            extract(epoch FROM ends_at - {now})::float8 AS ends_in,
            extract(epoch FROM ends_at_most - {now})::float8 AS ends_at_most_in,
            extract(epoch FROM sudo_until - {now})::float8 AS sudo_in,
            extract(epoch FROM idle)::float8 AS idle_s,
            old_hash, old_nonce, extract(epoch FROM old_until - {now})::float8 AS old_in,
            remembered, user_agent, address, data::text AS data
        """
        self.load = f"SELECT {columns} FROM {table} WHERE {alive}"  # noqa: S608 - checked identifiers, here and below
        self.list = (
            f"SELECT {columns} FROM {table} WHERE subject = $1 AND ends_at > {now} ORDER BY seen_at DESC"  # noqa: S608
        )
        self.create = f"""
            WITH replaced AS (DELETE FROM {table} WHERE name = $11 RETURNING name),
                 expired AS (DELETE FROM {table} WHERE subject = $3 AND ends_at <= {now} AND name IS DISTINCT FROM $11)
            INSERT INTO {table} (name, token_hash, subject, created_at, seen_at, issued_at, idle, ends_at,
                                 ends_at_most, sudo_until, remembered, user_agent, address, data)
            VALUES ($1, $2, $3, {now}, {now}, {now}, {seconds("$4")}, {now} + least({seconds("$4")}, {seconds("$5")}),
                    {now} + {seconds("$5")}, {now} + {seconds("$6")}, $7, $8, $9, $10::text::jsonb)
            RETURNING (SELECT name FROM replaced) AS replaced
        """  # noqa: S608
        changed = "(data || $3::text::jsonb) - $4::text[]"
        self.write = f"""
            WITH changed AS (
                UPDATE {table} SET data = {changed}
                 WHERE {alive} AND {owns}
                   AND (SELECT coalesce(sum(octet_length(key) + octet_length(decode(value, 'base64'))), 0)
                          FROM jsonb_each_text({changed})) <= $5
                RETURNING name)
            SELECT (SELECT count(*) FROM changed) AS changed,
                   (SELECT count(*) FROM {table} WHERE {alive} AND {owns}) AS found
        """  # noqa: S608
        # Rows that somebody else is changing are left out: two batches never wait for each other, and a touch that is lost
        # is made up for by the next request.
        self.touch = f"""
            WITH due AS (
                SELECT name FROM {table}
                 WHERE name = ANY($1::text[]) AND ends_at > {now} AND seen_at <= {now} - {seconds("$2")}
                   FOR NO KEY UPDATE SKIP LOCKED)
            UPDATE {table} AS row SET seen_at = {now}, ends_at = least({now} + row.idle, row.ends_at_most)
              FROM due WHERE row.name = due.name
            RETURNING row.name
        """  # noqa: S608
        self.rotate = f"""
            WITH changed AS (
                UPDATE {table}
                   SET token_hash = $3, issued_at = {now}, seen_at = {now}, ends_at = least({now} + idle, ends_at_most),
                       old_hash = CASE WHEN $4::float8 > 0 THEN token_hash END,
                       old_nonce = CASE WHEN $4::float8 > 0 THEN $5::bytea END,
                       old_until = CASE WHEN $4::float8 > 0 THEN {now} + {seconds("$4")} END,
                       sudo_until = CASE WHEN $6::float8 >= 0 THEN {now} + {seconds("$6")} ELSE sudo_until END
                 WHERE {alive} AND token_hash = $2
                RETURNING name)
            SELECT (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM {table} WHERE {alive}) AS found
        """  # noqa: S608
        self.end = f"DELETE FROM {table} WHERE name = ANY($1::text[]) AND ends_at > {now} RETURNING name"  # noqa: S608
        self.end_all = f"DELETE FROM {table} WHERE subject = $1 AND ends_at > {now} AND name <> ALL($2::text[]) RETURNING name"  # noqa: S608
        self.end_one = (
            f"DELETE FROM {table} WHERE subject = $1 AND name = $2 AND ends_at > {now} RETURNING name"  # noqa: S608
        )
        self.look = f"SELECT seq, name, ended FROM {stale} WHERE seq > $1 ORDER BY seq LIMIT $2"  # noqa: S608
        self.forget = f"DELETE FROM {stale} WHERE seq = ANY($1::bigint[])"  # noqa: S608
        self.forget_old = f"DELETE FROM {stale} WHERE at < clock_timestamp() - {seconds('$1')}"  # noqa: S608
        self.purge = f"""
            DELETE FROM {table} WHERE name IN (SELECT name FROM {table} WHERE ends_at <= {now} LIMIT $1)
        """  # noqa: S608
        self.check = f"SELECT obj_description('{table}'::regclass)"
