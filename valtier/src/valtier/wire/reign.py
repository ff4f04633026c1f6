"""Reigns: what tells the time in which a server is a primary from its earlier ones, and from those of others."""

from __future__ import annotations

import hashlib

from valtier.errors import ReplyError
from valtier.wire.link import Link

SIZE = 12
"""Hexadecimal digits of a reign."""


async def reign_of(link: Link) -> tuple[str | None, str]:
    """Returns the run id of a primary and what tells its reign from its earlier ones and from others': 12 digits.

    A promotion gives a server a new replication id and makes the former its second one, with the offset up to which it
    was valid. That pair stays as it is for the whole reign, unless all replicas are gone for an hour: look at intervals.
    One round trip.

    Raises:
        ValkeyError: there was no answer.
    """
    run_id = link.server.run_id
    connection = link.connection
    if run_id is None or connection is None:
        return run_id, short_run_id(run_id)
    try:
        told = await connection.send("INFO", "replication")
    except ReplyError:  # not permitted
        return run_id, short_run_id(run_id)
    lines = told.decode("ascii", "replace").splitlines() if isinstance(told, bytes) else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    former, until = fields.get("master_replid2", ""), fields.get("second_repl_offset", "-1")
    if until == "-1" or not former.strip("0"):  # never promoted
        return run_id, short_run_id(run_id)
    digest = hashlib.blake2b(f"{run_id} {former} {until}".encode(), digest_size=SIZE // 2)
    return run_id, digest.hexdigest()


def short_run_id(run_id: str | None) -> str:
    """Returns the reign of a server that was never promoted, or of which nothing more is known."""
    return (run_id or "").ljust(SIZE, "0")[:SIZE]
