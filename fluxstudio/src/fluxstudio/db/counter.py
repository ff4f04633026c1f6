"""The query counter: how many statements were sent to PostgreSQL, told apart by what they do."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

Kind = Literal["reads", "writes", "other"]


class Nature(NamedTuple):
    """What a statement is, as far as the pool has to know."""

    kind: Kind
    leaves_state: bool  # in the session, past the end of the transaction


@dataclass(slots=True)
class QueryCounter:
    """Statements since the pool was made. Guarded by the event loop: it only changes between awaits."""

    reads: int = 0
    writes: int = 0
    other: int = 0  # BEGIN, COMMIT, SET and what else only steers the session

    def count(self, query: str, times: int = 1) -> Nature:
        """Counts a statement and says what it is. Costs about 0.3 µs."""
        nature = nature_of(query)
        if nature.kind == "reads":
            self.reads += times
        elif nature.kind == "writes":
            self.writes += times
        else:
            self.other += times
        return nature


_FIRST_WORD: Final = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*([a-z]+)", re.IGNORECASE | re.DOTALL)
_READS: Final = frozenset({"SELECT", "TABLE", "VALUES", "EXPLAIN", "FETCH"})
_WRITES: Final = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE", "CREATE", "ALTER", "DROP", "COMMENT", "GRANT"}
    | {"REVOKE", "REFRESH", "REINDEX", "CLUSTER", "VACUUM", "ANALYZE", "CALL", "DO", "LOCK"}
)
# A WITH query writes if any of its parts does. FOR UPDATE is not such a part, hence more than the bare words.
_WRITING_PART: Final = re.compile(
    r"\b(?:INSERT\s+INTO|DELETE\s+FROM|MERGE\s+INTO|UPDATE\s+(?:ONLY\s+)?[\w.\"]+(?:\s+(?:AS\s+)?\w+)?\s+SET)\b",
    re.IGNORECASE,
)
_STATEFUL: Final = frozenset({"SET", "LISTEN", "PREPARE", "LOAD", "DECLARE"})
_ENDS_WITH_TRANSACTION: Final = re.compile(r"\s*SET\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)\b", re.IGNORECASE)
_STATEFUL_CALL: Final = re.compile(
    r"\bset_config\s*\(|\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(", re.IGNORECASE
)
# The first words of what asyncpg sends to clean a session.
_RESET: Final = "SELECT pg_advisory_unlock_all()"


@lru_cache(maxsize=2048)
def nature_of(query: str) -> Nature:
    """Tells by its first word what a statement does: a guess, but one that needs no parser.

    Several statements in one string count as one, by the first of them. A function that is called by a SELECT may
    write without being noticed; FOR UPDATE counts as a read.
    """
    match = _FIRST_WORD.match(query)
    word = match.group(1).upper() if match else ""
    if word in _READS:
        if query.startswith(_RESET):
            return Nature("other", leaves_state=False)
        return Nature("reads", leaves_state=_STATEFUL_CALL.search(query) is not None)
    if word == "WITH":
        kind: Kind = "writes" if _WRITING_PART.search(query) else "reads"
        return Nature(kind, leaves_state=_STATEFUL_CALL.search(query) is not None)
    if word in _WRITES:
        return Nature("writes", leaves_state=False)
    return Nature("other", leaves_state=word in _STATEFUL and not _ENDS_WITH_TRANSACTION.match(query))
