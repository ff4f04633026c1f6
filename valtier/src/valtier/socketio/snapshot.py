"""Snapshot: what an operator wants to know of Socket.IO in one process, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The numbers at one moment; what counts events counts from the start of the process."""

    host: str
    """The name of this worker on the bus."""
    workers: int
    """Workers that were heard of lately, this one included."""
    sockets: int
    """Clients of this process, one for each namespace that they are in."""
    rooms: int
    bus_lag_s: float | None
    """How long the last pulse took through the bus; `None` before the first."""
    sent: int
    """Messages that Valkey took."""
    received: int
    """Messages that came from Valkey."""
    outbox: int
    """Messages that wait for Valkey."""
    outbox_bytes: int
    resent: int
    """Messages that were sent again because Valkey had lost them."""
    gaps: int
    """Messages of others that never came."""
    duplicates: int
    """Messages that came again, and were dropped."""
    locally: int
    """Messages that this process's clients got while the bus was away."""
    deaf: int
    """How often this process did not hear its own pulse, and read on a new connection."""
    read_failures: int
    rewinds: int
    """How often a stream was read from the beginning."""
    volatile_sent: int
    volatile_lost: int
    """Volatile events that could not be published."""
    volatile_dropped: int
    """Volatile events that did not go to a client, because it was still busy."""
    evictions: int
    """Clients that read too slowly and were disconnected."""
    recovered: int
    """Clients that came back and missed nothing."""
    not_recovered: int
    """Clients that came back and have to load everything anew."""
    refused: int
    """Packets and requests of clients that were refused."""
    state_failures: int
    """Writes of clients' states that failed."""

    def as_dict(self) -> dict[str, float | int | str | None]:
        return asdict(self)
