"""The schema: the table, the functions and the triggers of an outbox, as SQL for any tool that migrates databases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from valtier.errors import ConfigurationError
from valtier.outbox.names import NAMES_IN_A_ROW
from valtier.outbox.watches import Target, names_expression

VERSION = 1
"""Of what `create` makes. Each version of it makes its own from any older one."""

MAX_NAMES = 10_000
"""A statement that makes more names stale than this writes one row that says: everything."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,29}")
_EVENTS = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}
_ROWS = {
    "INSERT": ("new_rows",),
    "UPDATE": ("old_rows", "new_rows"),
    "DELETE": ("old_rows",),
}


@dataclass(frozen=True, slots=True)
class OutboxSchema:
    """What an outbox is in the database: PostgreSQL 14 or newer. Nothing here talks to it.

    Each method returns statements to be run one by one, in one transaction. All may be run again, at any time.

    `name` is the table's, the channel's of its notifications, and the beginning of its functions' names. An outbox
    belongs to one cache: where two applications (or two prefixes) use one database, each needs a name of its own.
    """

    name: str = "valtier_outbox"
    schema: str = "public"

    def __post_init__(self) -> None:
        for what, name in (("an outbox", self.name), ("its schema", self.schema)):
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"the name of {what} has at most 30 of a–z, 0–9 and _ and begins with no digit, unlike {name!r}"
                )

    @property
    def table(self) -> str:
        """The table's full name, as SQL wants it."""
        return f'"{self.schema}"."{self.name}"'

    def function(self, suffix: str) -> str:
        return f'"{self.schema}"."{self.name}_{suffix}"'

    def create(self) -> tuple[str, ...]:
        """Returns what makes the table and its functions, or brings older ones to this version."""
        return (
            # Two that install at the same time would each find nothing and then both make it.
            f"SELECT pg_advisory_xact_lock(hashtextextended('valtier {self.table}', 0))",
            f"""
            CREATE TABLE IF NOT EXISTS {self.table} (
                id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                due        timestamptz NOT NULL DEFAULT clock_timestamp(),  -- until then its writer may deliver it
                keys       text[] NOT NULL DEFAULT '{{}}',
                tags       text[] NOT NULL DEFAULT '{{}}',
                everything boolean NOT NULL DEFAULT false
            ) WITH (
                autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
                autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000,
                vacuum_truncate = false
            )
            """,
            *self._encoders(),
            self._putter(),
            f"COMMENT ON TABLE {self.table} IS 'valtier outbox, version {VERSION}: cache invalidations to deliver'",
        )

    def drop(self) -> tuple[str, ...]:
        """Returns what removes table and functions. Remove the watches before."""
        kinds = ("text", "bigint", "boolean", "uuid", "bytea", "character", "anyenum")
        return (
            f"DROP TABLE IF EXISTS {self.table}",
            f"DROP FUNCTION IF EXISTS {self.function('put')}(text[], text[], boolean)",
            # anyenum's encoder uses text's
            *(f"DROP FUNCTION IF EXISTS {self.function('encode')}({kind})" for kind in reversed(kinds)),
        )

    def watch(self, table: str, *, keys: Sequence[str] = (), tags: Sequence[str] = ()) -> tuple[str, ...]:
        """Returns what installs triggers on a table (or replaces them): each change makes keys and tags stale.

        Templates take the table's columns as fields, such as `"project:{id}"`; old and new values count. Columns are
        text, integers, UUIDs, booleans or enums, and encoded as `Template` does it; or `bytea`, as hexadecimal digits.
        The first statement fails where a column does not exist or has another type.

        A statement writes a bounded number of rows, however many it changes: names are gathered, and more than
        10,000 of them, or a TRUNCATE, become one row that says: everything.

        Raises:
            ConfigurationError: a template can't be one, or there is none.
        """
        target = Target.parse(table)
        patterns = {"keys": target.patterns(keys), "tags": target.patterns(tags)}
        if not any(patterns.values()):
            raise ConfigurationError(f"a watch on {table} needs keys or tags to make stale")
        encode, function = self.function("encode"), self.function(target.suffix)
        columns = sorted(
            {column for all_ in patterns.values() for pattern in all_ for column in pattern.columns}
        )
        checked = ", ".join(f'length({encode}(c."{column}"))' for column in columns) or "1"
        branches = "\n            ELSIF ".join(
            f"""TG_OP = '{event}' THEN
                PERFORM {self.function("put")}(
                    {names_expression(patterns["keys"], rows, encode, MAX_NAMES)},
                    {names_expression(patterns["tags"], rows, encode, MAX_NAMES)},
                    false);"""
            for event, rows in _ROWS.items()
        )
        body = f"""
        BEGIN
            IF current_setting('valtier.watches', true) = 'off' THEN
                RETURN NULL;
            END IF;
            IF {branches}
            ELSE
                PERFORM {self.function("put")}('{{}}', '{{}}', true);
            END IF;
            RETURN NULL;
        END
        """
        return (
            f"SELECT {checked} FROM {target.sql} AS c WHERE false",  # noqa: S608 - checked identifiers
            # Whoever may change the table need not have rights on the outbox.
            f"""
            CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $valtier${body}$valtier$
            """,
            *(
                f'CREATE OR REPLACE TRIGGER "{self._trigger(event)}" AFTER {event} ON {target.sql} {rows} '
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
                for event, rows in _EVENTS.items()
            ),
        )

    def unwatch(self, table: str) -> tuple[str, ...]:
        """Returns what removes the triggers of a table."""
        target = Target.parse(table)
        return (
            *(f'DROP TRIGGER IF EXISTS "{self._trigger(event)}" ON {target.sql}' for event in _EVENTS),
            f"DROP FUNCTION IF EXISTS {self.function(target.suffix)}()",
        )

    def _trigger(self, event: str) -> str:
        return f"{self.name}_{event.lower()}"

    def _encoders(self) -> tuple[str, ...]:
        """One function for each type that can be a part of a key: `valtier.keys.encode` in SQL.

        What has more than 512 characters becomes NULL, and the name with it: no key is so long.
        """
        name = self.function("encode")
        text = """
            SELECT CASE
                WHEN value IS NULL THEN '!null'
                WHEN value COLLATE "C" ~ '^[A-Za-z0-9_.~-]*$' THEN value
                WHEN length(value) <= 512 THEN (
                    SELECT string_agg(
                               CASE WHEN byte BETWEEN 48 AND 57 OR byte BETWEEN 65 AND 90
                                      OR byte BETWEEN 97 AND 122 OR byte IN (45, 46, 95, 126) THEN chr(byte)
                                    ELSE '%' || upper(lpad(to_hex(byte), 2, '0')) END, '' ORDER BY place)
                      FROM (SELECT place, get_byte(bytes, place) AS byte
                              FROM convert_to(value, 'UTF8') AS bytes,
                                   generate_series(0, octet_length(bytes) - 1) AS place) AS spelt)
            END
        """
        bodies = {
            "text": text,
            "bigint": "SELECT coalesce(value::text, '!null')",
            "boolean": "SELECT CASE value WHEN true THEN '!true' WHEN false THEN '!false' ELSE '!null' END",
            "uuid": "SELECT coalesce(value::text, '!null')",
            "bytea": "SELECT coalesce(encode(value, 'hex'), '!null')",
            "anyenum": f"SELECT {name}(value::text)",
        }
        return (
            *(
                f"CREATE OR REPLACE FUNCTION {name}(value {kind}) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE "
                f"AS $valtier${body}$valtier$"
                for kind, body in bodies.items()
            ),
            # char(n) is padded in the one place and not in the other: it has no length, so that `watch` refuses it.
            f"CREATE OR REPLACE FUNCTION {name}(value character) RETURNS void LANGUAGE sql IMMUTABLE AS ''",
        )

    def _putter(self) -> str:
        """The function that triggers call: writes names as rows of at most 1,000, and wakes whoever listens."""
        body = f"""
        DECLARE
            names integer;
        BEGIN
            SELECT count(*) INTO names FROM (
                SELECT unnest(stale_keys) UNION ALL SELECT unnest(stale_tags)) AS all_of_them;
            IF everything OR names > {MAX_NAMES} THEN
                INSERT INTO {self.table} (everything) VALUES (true);
            ELSIF names = 0 THEN
                RETURN;
            ELSE
                INSERT INTO {self.table} (keys, tags)
                SELECT coalesce(array_agg(name) FILTER (WHERE NOT is_tag), '{{}}'),
                       coalesce(array_agg(name) FILTER (WHERE is_tag), '{{}}')
                  FROM (SELECT name, is_tag, row_number() OVER () / {NAMES_IN_A_ROW} AS part
                          FROM (SELECT unnest(stale_keys) AS name, false AS is_tag
                                 UNION SELECT unnest(stale_tags), true) AS distinct_names
                         WHERE length(name) <= 512) AS parts
                 GROUP BY part;
            END IF;
            IF current_setting('valtier.watches', true) IS DISTINCT FROM 'quiet' THEN
                PERFORM pg_notify('{self.name}', '');
            END IF;
        END
        """  # noqa: S608 - checked identifiers
        return (
            f"CREATE OR REPLACE FUNCTION {self.function('put')}"
            "(stale_keys text[], stale_tags text[], everything boolean) "
            f"RETURNS void LANGUAGE plpgsql AS $valtier${body}$valtier$"
        )
