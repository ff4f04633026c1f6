"""The schema: the tables, the triggers and the grants of durable sessions, as SQL for any tool that migrates databases."""

from __future__ import annotations

import re
from dataclasses import dataclass

from valtier.errors import ConfigurationError

VERSION = 1
"""Of what `create` makes. Each version of it makes its own from any older one."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,29}")
_ROLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")


@dataclass(frozen=True, slots=True)
class SessionSchema:
    """What sessions are in the database: PostgreSQL 14 or newer. Nothing here talks to it.

    `create`, `drop` and `grants` return statements to be run one by one, in one transaction; they may be run again. In
    Alembic: `op.get_bind().exec_driver_sql(statement)` for each.

    Whoever changes or deletes a session's row, also with psql or by a cascade, is heard: triggers note it in a second
    table, from which the workers remove it as soon as Valkey's copy is gone. `TRUNCATE` is not heard; use `DELETE`.
    """

    name: str = "valtier_sessions"
    schema: str = "public"

    def __post_init__(self) -> None:
        for what, name in (("the table of sessions", self.name), ("its schema", self.schema)):
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"the name of {what} has at most 30 of a–z, 0–9 and _ and begins with no digit, unlike {name!r}"
                )

    @property
    def table(self) -> str:
        """The table's full name, as SQL wants it."""
        return f'"{self.schema}"."{self.name}"'

    @property
    def stale(self) -> str:
        """The full name of the table of what Valkey has to forget."""
        return f'"{self.schema}"."{self.name}_stale"'

    @property
    def channel(self) -> str:
        """The channel of its notifications."""
        return self.name

    @property
    def _function(self) -> str:
        return f'"{self.schema}"."{self.name}_note"'

    def _trigger(self, what: str, event: str, when: str) -> str:
        return (
            f'CREATE OR REPLACE TRIGGER "{self.name}_{what}" AFTER {event} ON {self.table} '
            f"FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {self._function}()"
        )

    def create(self) -> tuple[str, ...]:
        """Returns what makes the tables and triggers, or brings older ones to this version."""
        return (
            f"SELECT pg_advisory_xact_lock(hashtextextended('valtier {self.table}', 0))",
            f"""
            CREATE TABLE IF NOT EXISTS {self.table} (
                name         text COLLATE "C" PRIMARY KEY,
                token_hash   bytea NOT NULL,          -- SHA-256; the token itself is nowhere
                subject      text,                    -- whose; NULL: nobody has signed in
                created_at   timestamptz NOT NULL DEFAULT now(),
                seen_at      timestamptz NOT NULL DEFAULT now(),
                issued_at    timestamptz NOT NULL DEFAULT now(),
                idle         interval NOT NULL,
                ends_at      timestamptz NOT NULL,
                ends_at_most timestamptz NOT NULL,
                sudo_until   timestamptz,
                old_hash     bytea,                   -- for some seconds after a timed renewal
                old_nonce    bytea,
                old_until    timestamptz,
                remembered   boolean NOT NULL DEFAULT false,
                user_agent   text NOT NULL DEFAULT '',
                address      text NOT NULL DEFAULT '',
                data         jsonb NOT NULL DEFAULT '{{}}' -- each value msgpack, in base64
            ) WITH (fillfactor = 80)
            """,
            f'CREATE INDEX IF NOT EXISTS "{self.name}_subject" ON {self.table} (subject) WHERE subject IS NOT NULL',
            f'CREATE INDEX IF NOT EXISTS "{self.name}_ends_at" ON {self.table} (ends_at)',
            f"""
            CREATE TABLE IF NOT EXISTS {self.stale} (
                seq   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                name  text COLLATE "C" NOT NULL,
                ended boolean NOT NULL,
                at    timestamptz NOT NULL DEFAULT clock_timestamp()
            )
            """,
            f"""
            CREATE OR REPLACE FUNCTION {self._function}() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $valtier$
            BEGIN
                INSERT INTO {self.stale} (name, ended) VALUES (OLD.name, TG_OP = 'DELETE');
                PERFORM pg_notify('{self.channel}', CASE TG_OP WHEN 'DELETE' THEN 'e' ELSE 'c' END || OLD.name);
                RETURN NULL;
            END
            $valtier$
            """,  # noqa: S608 - checked identifiers
            self._trigger("ended", "DELETE", "OLD.ends_at > statement_timestamp()"),
            self._trigger(
                "changed",
                "UPDATE",
                "(OLD.token_hash, OLD.subject, OLD.ends_at_most, OLD.sudo_until, OLD.data) IS DISTINCT FROM "
                "(NEW.token_hash, NEW.subject, NEW.ends_at_most, NEW.sudo_until, NEW.data) OR NEW.ends_at < OLD.ends_at",
            ),
            f"COMMENT ON TABLE {self.table} IS 'valtier sessions, version {VERSION}'",
        )

    def drop(self) -> tuple[str, ...]:
        """Returns what removes tables and functions."""
        return (
            f"DROP TABLE IF EXISTS {self.table}",
            f"DROP TABLE IF EXISTS {self.stale}",
            f"DROP FUNCTION IF EXISTS {self._function}()",
        )

    def grants(self, role: str) -> tuple[str, ...]:
        """Returns what the application's role needs, and no more.

        Raises:
            ConfigurationError: `role` can't be a role's name.
        """
        if not _ROLE.fullmatch(role):
            raise ConfigurationError(f"this can't be a role's name: {role!r}")
        return (
            f'GRANT USAGE ON SCHEMA "{self.schema}" TO "{role}"',
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON {self.table} TO "{role}"',
            f'GRANT SELECT, DELETE ON {self.stale} TO "{role}"',
        )
