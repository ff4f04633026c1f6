"""ClusterNode: one server of an embedded cluster, and how a slot is moved from one to another."""

from collections.abc import Mapping
from pathlib import Path

from valtier.embedded._cluster_view import View, parse_view
from valtier.embedded._errors import EmbeddedServerError
from valtier.embedded._ports import free_port, port_is_free
from valtier.embedded._resp import ServerConnection
from valtier.embedded._valkey_config import ServerTls, Value
from valtier.embedded.valkey import EmbeddedValkey

_MOVE_TIMEOUT_MS = 5000
_BATCH = 100


class ClusterNode(EmbeddedValkey):
    """A Valkey in cluster mode, with a second port for the talk among nodes.

    Args:
        ports: the port for clients and the one for nodes, to be tried first.
    """

    _NAME = "Valkey node"

    def __init__(
        self,
        data_dir: Path,
        *,
        ports: tuple[int, int],
        password: str,
        settings: Mapping[str, Value],
        binary: Path | None,
        tls: ServerTls | None = None,
    ) -> None:
        super().__init__(data_dir, password=password, settings=settings, binary=binary, tls=tls)
        self._port, self._bus_port = ports
        self._id = ""  # known from the first start on, and kept in nodes.conf

    @property
    def id(self) -> str:
        """The id by which the nodes know it."""
        if not self._id:
            self._id = self.call("CLUSTER", "MYID").decode()
        return self._id

    @property
    def bus_port(self) -> int:
        """The port on which the other nodes reach it."""
        return self._bus_port

    def start(self) -> None:
        super().start()
        self._port_is_given = True  # the other nodes know it by its ports

    def view(self) -> View:
        """Returns what it knows of all nodes, itself included, by their ids."""
        return parse_view(self.call("CLUSTER", "NODES", timeout_s=2.0).decode())

    def trouble(self) -> str | None:
        """Tells what keeps it from doing its part; `None` if nothing does."""
        with self.connect(timeout_s=2.0) as connection:
            state = _field(connection, ("CLUSTER", "INFO"), "cluster_state")
            link = _field(connection, ("INFO", "replication"), "master_link_status", default="up")
        if state != "ok":
            return f"{self.id[:8]} says cluster_state:{state}"
        return None if link == "up" else f"{self.id[:8]} has not caught up with its primary"

    def _choose_port(self) -> None:
        super()._choose_port()
        while not port_is_free(self._bus_port) or self._bus_port == self.port:
            if self._port_is_given:
                raise EmbeddedServerError(
                    f"port {self._bus_port}, by which the other nodes reach this one, is taken; "
                    "stop what listens there, or start a new cluster"
                )
            self._bus_port = free_port()

    def _own_directives(self) -> dict[str, Value]:
        return super()._own_directives() | {
            **({"tls-cluster": "yes", "tls-replication": "yes"} if self._tls is not None else {}),
            "cluster-enabled": "yes",
            "cluster-port": str(self._bus_port),
            "cluster-announce-ip": "127.0.0.1",
            "masterauth": self._password,
        }


def begin_migration(slot: int, source: ClusterNode, target: ClusterNode) -> None:
    """From now on the source sends clients on for keys of the slot that it has not (ASK)."""
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)


def move_keys(slot: int, source: ClusterNode, target: ClusterNode, count: int | None) -> int:
    """Moves so many keys of the slot, by default all, and returns how many there were."""
    moved = 0
    with source.connect() as connection:
        while (wanted := _BATCH if count is None else min(_BATCH, count - moved)) > 0:
            keys = [key.decode() for key in connection.call("CLUSTER", "GETKEYSINSLOT", slot, wanted)]
            if not keys:
                break
            address = ("127.0.0.1", target.port, "", 0, _MOVE_TIMEOUT_MS)
            connection.call("MIGRATE", *address, "AUTH", target.password, "KEYS", *keys)
            moved += len(keys)
    return moved


def assign(slot: int, owner: ClusterNode, others: list[ClusterNode]) -> None:
    """Makes the slot the owner's, who says so to all; then tells the other primaries, who would hear of it anyway."""
    for node in (owner, *others):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", owner.id)


def _field(connection: ServerConnection, command: tuple[str, ...], name: str, default: str = "") -> str:
    lines = connection.call(*command).decode().splitlines()
    found = [line.partition(":")[2] for line in lines if line.startswith(f"{name}:")]
    return found[0] if found else default
