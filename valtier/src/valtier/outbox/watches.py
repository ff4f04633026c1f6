"""Watches: templates of keys and tags over a table's columns, as SQL over the rows that a statement has changed."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from valtier.errors import ConfigurationError
from valtier.keys import Template

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A template, taken apart: literal texts and, in the odd places, columns."""

    parts: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.parts[1::2]

    def sql(self, rows: Sequence[str], encode: str, limit: int) -> str:
        """Returns a query for the names, once for each set of values in these tables, and a bit more than `limit`."""
        if not self.columns:
            some = " OR ".join(f"EXISTS (SELECT FROM {table})" for table in rows)
            return f"SELECT {_quoted(self.parts[0])} WHERE {some}"
        columns = ", ".join(f'c."{column}"' for column in self.columns)
        tables = " UNION ALL ".join(f"SELECT {columns} FROM {table} AS c" for table in rows)  # noqa: S608
        name = " || ".join(
            f'{encode}(d."{part}")' if index % 2 else _quoted(part)
            for index, part in enumerate(self.parts)
            if part
        )
        return f"SELECT {name} FROM (SELECT DISTINCT * FROM ({tables}) AS c LIMIT {limit + 1}) AS d"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Target:
    """A table to watch."""

    path: tuple[str, ...]

    @classmethod
    def parse(cls, table: str) -> Target:
        """Reads `table` or `schema.table`; without a schema it is found as any statement of the session finds it.

        Raises:
            ConfigurationError: it is no plain name.
        """
        path = tuple(table.split("."))
        if len(path) > 2 or not all(map(_IDENTIFIER.fullmatch, path)):
            raise ConfigurationError(f"a table is named as `table` or `schema.table`, not {table!r}")
        return cls(path)

    @property
    def sql(self) -> str:
        return ".".join(f'"{part}"' for part in self.path)

    @property
    def suffix(self) -> str:
        """What tells the trigger function of this table from others; it is short enough for PostgreSQL."""
        digest = hashlib.blake2b(".".join(self.path).encode(), digest_size=4).hexdigest()
        return f"{self.path[-1][:20]}_{digest}"

    def patterns(self, templates: Sequence[str]) -> tuple[Pattern, ...]:
        """Takes templates apart.

        Raises:
            ConfigurationError: one of them can't be a template.
        """
        if isinstance(templates, str):
            raise ConfigurationError(f"templates are a list: write [{templates!r}]")
        return tuple(map(_pattern, templates))


def _pattern(text: str) -> Pattern:
    if "$" in text or "{{" in text or "}}" in text:
        raise ConfigurationError(
            f"the template {text!r} holds a $ or a doubled brace, which can't be in a watch"
        )
    fields = {match[1] for match in _FIELD.finditer(text)}
    if not all(map(_IDENTIFIER.fullmatch, fields)):
        raise ConfigurationError(f"the template {text!r} takes plain {{column}} fields only")
    Template(text, names=fields)  # refuses whatever could make one name of different values
    parts: list[str] = []
    for literal, field, _, _ in string.Formatter().parse(text):
        parts += [literal] if field is None else [literal, field]
    return Pattern(tuple(parts))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def names_expression(patterns: Sequence[Pattern], rows: Sequence[str], encode: str, limit: int) -> str:
    """Returns an array of all names that the rows of these tables make; `NULL` is in it for what can't be a name."""
    if not patterns:
        return "'{}'::text[]"
    return " || ".join(f"ARRAY({pattern.sql(rows, encode, limit)})" for pattern in patterns)
