"""Counters of the outbox."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class OutboxStats:
    """What became of rows, since this process started."""

    written: int = 0
    """Rows that this process wrote, committed or not."""
    delivered: int = 0
    """Rows of its own that it delivered right after their commit."""
    drained: int = 0
    """Rows that it took from the table and delivered, its own or others'."""
    failures: int = 0
    """Deliveries that Valkey did not acknowledge, and connections to PostgreSQL that were lost or not to be had."""
    collapsed: int = 0
    """How often too many waiting rows became one of everything."""
