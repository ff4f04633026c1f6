"""SentinelProcess: one of the servers that watch over a primary and its replicas."""

from collections.abc import Sequence
from pathlib import Path

from valtier.embedded._resp import pairs
from valtier.embedded._valkey_config import ServerTls
from valtier.embedded.valkey import EmbeddedValkey

# Its clockwork at about ten times its usual pace: what takes half a minute in production takes seconds in a test.
_PACE = {
    "info-period": 500,
    "ping-period": 400,  # what it knows of a replica counts for five of these, and INFO comes each second
    "publish-period": 200,
    "ask-period": 100,
    "min-link-reconnect-period": 500,
    "slave-reconf-timeout": 2000,
    "election-timeout": 1000,
    "tilt-period": 1000,
}


class SentinelProcess(EmbeddedValkey):
    """A Valkey in sentinel mode. What it learns it writes into its own configuration, and a restart keeps it.

    Args:
        service: what it calls the primary that it watches over.
        primary_port: where that primary listens at first.
        primary_password: the password of the primary and of its replicas.
        password: its own and the other sentinels' password; empty for none.
    """

    _NAME = "Sentinel"

    def __init__(
        self,
        data_dir: Path,
        *,
        service: str,
        primary_port: int,
        primary_password: str,
        quorum: int,
        down_after_ms: int,
        failover_timeout_ms: int,
        password: str,
        binary: Path | None,
        tls: ServerTls | None = None,
    ) -> None:
        replication = {"tls-replication": "yes"} if tls is not None else {}
        settings = {"save": "", **replication}
        super().__init__(data_dir, password=password, settings=settings, binary=binary, tls=tls)
        self._service = service
        self._watch: list[Sequence[str]] = [
            ("sentinel", "monitor", service, "127.0.0.1", str(primary_port), str(quorum)),
            ("sentinel", "down-after-milliseconds", service, str(down_after_ms)),
            ("sentinel", "failover-timeout", service, str(failover_timeout_ms)),
        ]
        if primary_password:
            self._watch.append(("sentinel", "auth-pass", service, primary_password))

    def start(self) -> None:
        super().start()
        self._port_is_given = True  # the other sentinels know it by this port
        for name, milliseconds in _PACE.items():
            self.call("SENTINEL", "DEBUG", name, milliseconds)

    def primary_port(self) -> int:
        """Returns the port of the primary as this sentinel knows it."""
        _host, port = self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service, timeout_s=2.0)
        return int(port)

    def trouble(self, *, replicas: int, sentinels: int) -> str | None:
        """Tells what it lacks to lead a failover among that many replicas and sentinels, itself included."""
        with self.connect(timeout_s=2.0) as connection:
            primary = pairs(connection.call("SENTINEL", "MASTER", self._service))
            known = [pairs(each) for each in connection.call("SENTINEL", "REPLICAS", self._service)]
        if primary["flags"] != "master":
            return f"sentinel {self.port} says of the primary: {primary['flags']}"
        ready = sum(each["flags"] == "slave" and each["master-link-status"] == "ok" for each in known)
        met = int(primary["num-other-sentinels"]) + 1
        if ready < replicas or met < sentinels:
            return f"sentinel {self.port} knows {ready} replicas that are well, and {met} sentinels"
        return None

    def _write_config(self) -> None:
        if not self._port_is_given:  # afterwards it is the sentinel's own, with whom it has met
            super()._write_config()

    def _lines(self) -> list[Sequence[str]]:
        return super()._lines() + self._watch

    def _command(self) -> list[str]:
        return [*super()._command(), "--sentinel"]
