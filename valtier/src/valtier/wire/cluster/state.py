"""What the nodes add up to: the status of the whole, and the server that it looks like."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from valtier.wire.breaker import State
from valtier.wire.cluster.node import Node
from valtier.wire.handshake import Server
from valtier.wire.link import Status

log = logging.getLogger("valtier")


def condition(primaries: Sequence[Node], *, covered: bool, starting: bool) -> Status:
    """Returns the status of the cluster.

    Args:
        primaries: as they are known.
        covered: whether every slot has one.
        starting: whether there never was another status than CONNECTING, and there is still hope for the first one.
    """
    usable = sum(node.usable for node in primaries)
    if usable:
        return Status.READY if covered and usable == len(primaries) else Status.SLOW
    return Status.CONNECTING if starting else Status.DOWN


def is_hopeful(primaries: Sequence[Node]) -> bool:
    """Tells whether a primary is about to be usable: it is being connected to, or being prepared."""
    return any(node.link.status in (Status.CONNECTING, Status.READY) for node in primaries)


def log_status(status: Status, primaries: Sequence[Node]) -> None:
    """Logs a change of status, for the operator."""
    if status is Status.READY:
        log.info("Redis cluster: every slot can be reached (%d primaries)", len(primaries))
    elif status is Status.SLOW:
        lost = ", ".join(str(node.endpoint) for node in primaries if not node.usable)
        log.warning("Redis cluster: a part of the slots can't be reached (%s)", lost or "nobody has them")
    else:
        log.warning("Redis cluster: no primary can be reached; Continuing without cache")


def worst_breaker(primaries: Sequence[Node]) -> State:
    states = {node.link.breaker_state for node in primaries}
    return next((state for state in (State.OPEN, State.HALF_OPEN) if state in states), State.CLOSED)


def describe(primaries: Sequence[Node], *, protocol: int) -> Server:
    """Returns what the primaries have in common: the oldest version, and a run id that stands for all of theirs.

    The run id changes when a primary is replaced by its replica, restarts, or joins. A primary that was never reached
    is in it by its endpoint, so it changes once more when that one is.
    """
    servers = [node.link.server for node in primaries]
    known = [server for server in servers if server.version]
    if not known:
        return Server(protocol=protocol)
    ids = sorted(node.link.server.run_id or str(node.endpoint) for node in primaries)
    oldest = min(known, key=lambda server: server.version)
    permitted = any(server.run_id for server in known)
    return Server(
        name=oldest.name,
        version=oldest.version,
        run_id=hashlib.sha256(" ".join(ids).encode()).hexdigest()[:40] if permitted else None,
        protocol=min(server.protocol for server in known),
        role=oldest.role,
        mode=oldest.mode,
    )
