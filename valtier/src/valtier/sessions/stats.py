"""Counters of sessions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SessionStats:
    """What became of tokens and sessions, since this process started."""

    local_reads: int = 0
    """Tokens that this process's own memory answered."""
    valkey_reads: int = 0
    """Reads of Valkey."""
    durable_reads: int = 0
    """Reads of PostgreSQL."""
    malformed: int = 0
    """Tokens without the form of one: refused without a lookup."""
    unknown: int = 0
    """Tokens whose session is not there: never adopted."""
    forged: int = 0
    """Tokens that name a session and don't open it, or don't any more."""
    renewed_late: int = 0
    """Tokens that were renewed a moment ago, and stood for their session once more."""
    created: int = 0
    ended: int = 0
    """Sessions that this process has ended."""
    rotated: int = 0
    touched: int = 0
    written: int = 0
    outages: int = 0
    """Reads and changes that Valkey did not answer."""
    durable_outages: int = 0
    """Reads and changes that PostgreSQL did not answer."""
    delivered: int = 0
    """Copies that were removed from Valkey because somebody had noted that they are stale."""
