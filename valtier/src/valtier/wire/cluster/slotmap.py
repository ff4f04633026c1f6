"""The slot map: who serves which slot, as a node tells it, and where a redirection points to. Pure.

`CLUSTER SLOTS` is asked, not `CLUSTER SHARDS`: every server and every managed service knows it, it leaves failed
replicas out, and it gives the endpoint and the port (of TLS or not) that fit the connection on which it was asked.
`CLUSTER NODES` adds the config epochs, by which maps are dated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from valtier.errors import ProtocolError, ReplyError
from valtier.wire.address import Endpoint
from valtier.wire.cluster.slots import SLOTS

_MAX_PORT = 65_535
_EPOCH_FIELD = 6
_NONE: Mapping[bytes, int] = {}


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Neighbouring slots, and who serves them."""

    first: int
    last: int
    primary: Endpoint
    replicas: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotMap:
    """What one node said of the whole cluster."""

    ranges: tuple[SlotRange, ...] = ()
    epoch: int = -1
    """The highest config epoch of a primary that serves slots: every change of who does raises it. -1: not told."""

    @property
    def covered(self) -> int:
        """How many slots are served by somebody."""
        return len({slot for part in self.ranges for slot in range(part.first, part.last + 1)})

    @property
    def complete(self) -> bool:
        return self.covered == SLOTS

    def primaries(self) -> set[Endpoint]:
        return {part.primary for part in self.ranges}

    def replicas(self) -> set[Endpoint]:
        return {endpoint for part in self.ranges for endpoint in part.replicas}


@dataclass(frozen=True, slots=True)
class Redirection:
    """What a MOVED or ASK error says."""

    slot: int
    endpoint: Endpoint


def parse_slots(reply: Any, asked: Endpoint, epochs: Mapping[bytes, int] = _NONE) -> SlotMap:
    """Reads the reply to `CLUSTER SLOTS`. A node that does not know its own endpoint is the one that was asked.

    Args:
        reply: what was answered.
        asked: who answered.
        epochs: the config epochs of the nodes by their ids.

    Raises:
        ProtocolError: it is not such a reply.
    """
    try:
        ranges = tuple(_parse_range(entry, asked) for entry in _listed(reply))
        return SlotMap(ranges, max((epochs.get(_id(entry) or b"", -1) for entry in reply), default=-1))
    except (IndexError, TypeError, ValueError) as exc:
        raise ProtocolError(f"{asked} answered CLUSTER SLOTS with something else: {exc}") from exc


def parse_epochs(reply: Any) -> dict[bytes, int]:
    """Reads the config epochs from the reply to `CLUSTER NODES`, by the nodes' ids; none where it is another one."""
    epochs: dict[bytes, int] = {}
    for line in reply.splitlines() if isinstance(reply, bytes) else ():
        fields = line.split(b" ")
        if len(fields) > _EPOCH_FIELD and fields[_EPOCH_FIELD].isdigit():
            epochs[fields[0]] = int(fields[_EPOCH_FIELD])
    return epochs


def parse_redirection(error: ReplyError, asked: Endpoint) -> Redirection | None:
    """Reads `MOVED 3999 host:port` or `ASK …`; without a host (or `?`) it means another port of the node asked.

    Returns `None` where it can't be read.
    """
    try:
        _, slot, target = str(error).split(" ")[:3]
        host, _, port = target.rpartition(":")
        return Redirection(_slot(int(slot)), _endpoint(host, int(port), asked))
    except ValueError:
        return None


def best_of(maps: Iterable[SlotMap]) -> SlotMap | None:
    """Returns the newest map, and of several such the one that covers most; the first of equals."""
    return max(maps, key=lambda each: (each.epoch, each.covered), default=None)


def _parse_range(entry: Any, asked: Endpoint) -> SlotRange:
    first, last, *nodes = _listed(entry)
    if _slot(first) > _slot(last) or not nodes:
        raise ValueError(f"a range from {first} to {last} with {len(nodes)} nodes")
    primary, *replicas = (_endpoint(node[0], node[1], asked) for node in map(_listed, nodes))
    return SlotRange(first, last, primary, tuple(dict.fromkeys(replicas)))


def _id(entry: Any) -> bytes | None:
    """Returns the id of a range's primary, behind its host and port; an old server does not tell it."""
    primary = entry[2]
    return primary[2] if len(primary) > 2 and isinstance(primary[2], bytes) else None


def _endpoint(host: Any, port: Any, asked: Endpoint) -> Endpoint:
    if isinstance(host, bytes):
        host = host.decode("ascii")
    if host is not None and not isinstance(host, str):
        raise TypeError(f"a host that is a {type(host).__name__}")
    if not isinstance(port, int) or not 0 < port <= _MAX_PORT:
        raise ValueError(f"port {port!r}")
    return Endpoint(asked.host if host in (None, "", "?") else host.strip("[]"), port)


def _slot(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < SLOTS:
        raise ValueError(f"slot {value!r}")
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} where a list belongs")
    return value
